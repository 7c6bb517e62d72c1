"""Damaged DICOM files of every encoding, by structure: case i of a seed is the very same file everywhere."""

import dataclasses
import io
from functools import lru_cache

import imagecodecs
import numpy as np
import pydicom
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless

from octshard.prep.dicom import writer
from octshard.prep.refusals import REASONS
from octshard.rng import rng_for
from tests.support.damage import (
    byte_damage,
    dicom_envelope,
    dicom_structure,
    dicom_tree,
    fragments,
    sound_dicoms,
    values,
)
from tests.support.damage.case import OK, Case, Damage, Rng, pick
from tests.support.made_release import scan

LITTLE, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
SHAPE = (4, 32, 24)
WIDE = {  # name: syntax, bits allocated, bits stored, signed, MONOCHROME1, encoder of a frame
    "signed": (LITTLE, 16, 12, True, False, None),
    "big wide": (BIG, 16, 16, False, True, None),
    "j2k signed": ("1.2.840.10008.1.2.4.90", 16, 12, True, False, "j2k"),
    "j2k wide": ("1.2.840.10008.1.2.4.91", 16, 16, False, False, "j2k"),
    "jpegls wide": ("1.2.840.10008.1.2.4.80", 16, 12, False, False, "jpegls"),
    "near-lossless": ("1.2.840.10008.1.2.4.81", 8, 8, False, True, "jpegls near"),
    "jpeg 12": ("1.2.840.10008.1.2.4.51", 16, 12, False, False, "jpeg"),
    "jpeg lossless wide": ("1.2.840.10008.1.2.4.57", 16, 16, False, False, "jpeg lossless"),
    "htj2k wide": ("1.2.840.10008.1.2.4.202", 16, 12, False, False, "htj2k"),
    "rle wide": ("1.2.840.10008.1.2.5", 16, 12, True, False, "rle"),
}  # fmt: skip
ENCODINGS = (*sound_dicoms.ENCODINGS, *WIDE)
PLAIN = ("native", "wide", "signed", "deflated")  # explicit little endian, native
ENCAPSULATED = tuple(name for name in ENCODINGS if name not in (*PLAIN, "implicit", "big_endian", "big wide"))
MUTATORS = {**dicom_structure.MUTATORS, **dicom_envelope.MUTATORS, **fragments.MUTATORS, **values.MUTATORS}
KINDS = (*MUTATORS, "two at once", "bytes")
ANY = frozenset((OK, *REASONS))


def sound(encoding: str) -> bytes:
    """A sound file of 4 x 32 x 24 voxels."""
    return _wide(encoding) if encoding in WIDE else sound_dicoms.sound(encoding, sound_dicoms.uid_of(0, 0))


def case(seed: int, i: int) -> Case:
    """Damaged file i of a seed; kinds in turn."""
    rng = rng_for(seed, "structured dicom", i)
    kind = KINDS[i % len(KINDS)]
    encodings = ENCAPSULATED if kind in fragments.MUTATORS else PLAIN if kind == "deflated" else ENCODINGS
    encoding = pick(rng, encodings)
    tree = dicom_tree.read(sound(encoding))
    if kind == "bytes":
        damage = Damage(*pick(rng, list(byte_damage.KINDS.values()))(sound(encoding), rng), ANY)
    elif kind == "two at once":
        damage = _two(tree, rng, encoding in ENCAPSULATED)
    else:
        damage = MUTATORS[kind](tree, rng)
    return Case(kind, f"dicoms.case({seed}, {i}), {encoding}: {damage.text}", sound(encoding), damage)


def _two(tree: dicom_tree.Tree, rng: Rng, encapsulated: bool) -> Damage:
    """One damage after the other; what the first did to the tree stays."""
    names = [name for name in MUTATORS if encapsulated or name not in fragments.MUTATORS]
    first, second = (names[i] for i in rng.choice(len(names), 2, replace=False))
    before = MUTATORS[first](tree, rng)
    try:
        after = MUTATORS[second](tree, rng)
    except Exception:  # the first left nothing that the second understands
        return before._replace(outcomes=ANY)
    return Damage(f"{before.text}; {after.text}", after.data, ANY)


@lru_cache
def _wide(encoding: str) -> bytes:
    syntax, allocated, bits, signed, inverted, codec = WIDE[encoding]
    rng = rng_for("structured voxels", encoding)
    low = -(2 ** (bits - 1)) if signed else 0
    kind = np.dtype(f"{'i' if signed else 'u'}{allocated // 8}")
    voxels = np.sort(rng.integers(low, low + 2**bits, SHAPE), axis=1).astype(kind)
    content = dataclasses.replace(
        scan(), voxels_DHW=np.zeros(SHAPE, np.uint8), locations=scan().locations[: SHAPE[0]]
    )
    ds = pydicom.dcmread(io.BytesIO(writer.write(content)))
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = (
        allocated,
        bits,
        bits - 1,
        int(signed),
    )
    ds.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    order = ">" if syntax == BIG else "<"
    ds.PixelData = voxels.astype(kind.newbyteorder(order)).tobytes()
    ds["PixelData"].VR = "OW" if allocated == 16 else "OB"
    out = io.BytesIO()
    if codec == "rle":
        ds.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    elif codec:
        ds.PixelData = encapsulate([_encoded(frame, codec, bits) for frame in voxels])
        ds["PixelData"].is_undefined_length = True
        ds["PixelData"].VR = "OB"
    if codec != "rle":
        ds.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(out, ds, implicit_vr=False, little_endian=syntax != BIG, force_encoding=True)
    return out.getvalue()


def _encoded(frame_HW: np.ndarray, codec: str, bits: int) -> bytes:
    match codec:
        case "j2k":
            return bytes(
                imagecodecs.jpeg2k_encode(
                    frame_HW, level=0, reversible=True, codecformat="j2k", bitspersample=bits
                )
            )
        case "jpegls":
            return bytes(imagecodecs.jpegls_encode(frame_HW))
        case "jpegls near":
            return bytes(imagecodecs.jpegls_encode(frame_HW, level=2))
        case "jpeg":
            return bytes(imagecodecs.jpeg8_encode(frame_HW, level=90, bitspersample=bits))
        case "jpeg lossless":
            return bytes(imagecodecs.jpeg8_encode(frame_HW, lossless=True, predictor=6, bitspersample=bits))
        case _:
            return bytes(imagecodecs.htj2k_encode(frame_HW, reversible=True))
