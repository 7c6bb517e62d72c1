"""The pixels of a DICOM file: bytes and Header -> frames one by one, exact or at reduced resolution.

Exact means bits equal to pydicom's `pixel_array`. Native pixels are views of the bytes; a compressed frame
goes to a pinned decoder, so that no other installed one can change a pixel. A failure is a `Refused`.
"""

import logging
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from octshard.imaging.volume import Spacing
from octshard.prep.dicom import codestream, compressed_frame, elements, encapsulation, file_kind
from octshard.prep.dicom.header import Header
from octshard.prep.refusals import Refused
from octshard.storage.checksum import Buffer

STRETCH = 1.25  # a level may be left out while its spacing is at most this much of the target's


def level_for(data: Buffer, header: Header, spacing_mm: Spacing, target_mm: Spacing) -> int:
    """How many JPEG 2000 resolution levels may be left out: those that every frame has and both axes allow.

    A level halves rows and columns, so level r is allowed while in-plane spacing * 2^r <= 1.25 * target.
    """
    ratio = min(STRETCH * target_mm[axis] / spacing_mm[axis] for axis in (1, 2))
    level = 0
    while 2 ** (level + 1) <= ratio and level < 32:
        level += 1
    if level == 0 or header.transfer_syntax not in file_kind.JPEG_2000 or header.pixel_transform.signed:
        return 0
    try:
        declared = [codestream.jpeg_2000(code) for code in _codestreams(data, header)]
    except (codestream.BadCodestream, Refused):
        return 0  # the decoder will say what is wrong
    if any(frame.signed or frame.bits != header.pixel_transform.bits_stored for frame in declared):
        return 0
    level = min(level, *(frame.levels for frame in declared))
    while level and not all(_pillow_agrees(n, level) for n in (header.rows, header.cols)):
        level -= 1
    return level


def frames(data: Buffer, header: Header, level: int = 0, order: Sequence[int] = ()) -> Iterator[np.ndarray]:
    """Grey levels (H, W), uint8 or uint16, of exactly header.frames frames, or Refused.

    order: the file's index of each frame, in the order in which they are wanted; empty: as filed.
    With a `level` of `level_for`: (ceil(H / 2^level), ceil(W / 2^level)), and sample k of an axis lies at the
    centre of voxel k * 2^level, where the low-pass samples of both JPEG 2000 wavelets sit. Native frames may
    be read-only views of `data`.
    """
    expected = tuple(-(-n >> level) for n in (header.rows, header.cols))
    transform = header.pixel_transform
    if not transform.is_identity and transform.scan_range is None:
        transform = replace(transform, bits_stored=range_bits(data, header))
    order = order or range(header.frames)
    for index, frame_HW in zip(order, stored_pixels(data, header, level, order), strict=True):
        if frame_HW.shape != expected:
            raise Refused("decoder_error", f"frame {index + 1}: {frame_HW.shape}, want {expected}")
        yield transform.apply(frame_HW, index)


def range_bits(data: Buffer, header: Header) -> int:
    """What the range of levels must hold: pydicom keeps all bits of a codestream."""
    declared = _declared_frames(data, header)
    return max([header.pixel_transform.bits_stored, *(frame.bits for frame in declared)])


def bits_differ(data: Buffer, header: Header) -> bool:
    """True if a frame's codestream has other bits than BitsStored, or, where it knows one, another sign."""
    transform = header.pixel_transform
    knows_sign = header.transfer_syntax in file_kind.JPEG_2000
    return any(
        frame.bits != transform.bits_stored or (knows_sign and frame.signed != transform.signed)
        for frame in _declared_frames(data, header)
    )


def stored_pixels(
    data: Buffer, header: Header, level: int = 0, order: Sequence[int] = ()
) -> Iterator[np.ndarray]:
    """The stored numbers, in `order`: what pydicom's `pixel_array` is before RescaleSlope and MONOCHROME1."""
    order = order or range(header.frames)
    if header.pixels.fragments is None:
        yield from _native(_body(data, header), header, order)
        return
    for index, code in zip(order, _codestreams(data, header, order), strict=True):
        with _quiet:
            try:
                frame_HW = compressed_frame.decode(code, header, level)
                if header.transfer_syntax == file_kind.RLE:
                    frame_HW = _stored_bits(frame_HW, header, index)
            except Refused:
                raise
            except Exception as error:  # codecs are foreign code on hostile bytes: they raise anything
                raise Refused("decoder_error", f"frame {index + 1}: {_one_line(error)}") from error
        yield frame_HW


def jpeg_2000(code: bytes, rows: int, cols: int, index: int) -> np.ndarray:
    """Grey levels (H, W), uint8 or uint16, of frame `index` of a file of another format; Refused."""
    with _quiet:
        try:
            return compressed_frame.jpeg_2000(code, rows, cols)
        except Exception as error:  # as above
            raise Refused("decoder_error", f"frame {index + 1}: {_one_line(error)}") from error


def _native(data: Buffer, header: Header, order: Sequence[int]) -> Iterator[np.ndarray]:
    """Views of the bytes, unless byte order or unused bits need a copy."""
    transform, pixels = header.pixel_transform, header.pixels
    byte_order = ">" if header.transfer_syntax == elements.EXPLICIT_BIG else "<"
    dtype = np.dtype(f"{byte_order}{'i' if transform.signed else 'u'}{transform.bits_allocated // 8}")
    size = header.rows * header.cols
    swapped = byte_order == ">" and transform.bits_allocated == 8 and pixels.vr == b"OW"
    if swapped and pixels.nbytes % 2:
        raise Refused(
            "decoder_error", f"{pixels.nbytes} bytes of pixels in 16-bit words, want an even number"
        )
    for index in order:
        start = pixels.start + index * size * dtype.itemsize
        if swapped:  # pairs of 8-bit pixels written as 16-bit words; a frame may begin inside one
            first, last = index * size // 2, -(-(index + 1) * size // 2)
            words = np.frombuffer(data, ">u2", last - first, pixels.start + 2 * first)
            flat = words.astype("<u2").view(dtype)[index * size % 2 :][:size]
        else:
            flat = np.frombuffer(data, dtype, size, start)
        frame_HW = flat.astype(dtype.newbyteorder("="), copy=not flat.flags.aligned).reshape(
            header.rows, header.cols
        )
        yield _stored_bits(frame_HW, header, index)


def _stored_bits(frame_HW: np.ndarray, header: Header, index: int) -> np.ndarray:
    """The frame without its unused high bits; Refused `unreadable` where these must be a part of the numbers.

    They may be anything (PS3.5 §8.1.1), but then they are the same everywhere, or repeat the sign. If they
    differ from pixel to pixel, BitsStored is wrong, and cutting them off would wrap bright into dark.
    """
    stored = header.pixel_transform.bits_stored
    unused = header.pixel_transform.bits_allocated - stored
    if not unused:
        return frame_HW
    high_HW = frame_HW.view(f"u{frame_HW.itemsize}") >> stored
    used_HW = compressed_frame.used_bits(frame_HW, unused)
    if (high_HW != high_HW[0, 0]).any() and not (
        header.pixel_transform.signed and np.array_equal(used_HW, frame_HW)
    ):
        bits = stored + int(high_HW.max()).bit_length()
        raise Refused("unreadable", f"frame {index + 1}: BitsStored is {stored}, its pixels hold {bits} bits")
    return used_HW


def _pillow_agrees(n: int, level: int) -> bool:
    """True if Pillow expects as many samples as there are: it rounds n / 2^level, JPEG 2000 rounds up."""
    return (n + (1 << level >> 1)) >> level == -(-n >> level)


def _declared_frames(data: Buffer, header: Header) -> list[codestream.Frame]:
    """What the codestreams declare, without those that are none: decoding them says what is wrong."""
    if header.transfer_syntax not in file_kind.JPEG | file_kind.JPEG_2000:
        return []
    read = codestream.jpeg if header.transfer_syntax in file_kind.JPEG else codestream.jpeg_2000
    frames = []
    for code in _codestreams(data, header):
        with suppress(codestream.BadCodestream):
            frames.append(read(code))
    return frames


def _codestreams(data: Buffer, header: Header, order: Sequence[int] = ()) -> Iterator[bytes]:
    """The compressed bytes of frame after frame."""
    spans_by_frame = encapsulation.frame_spans(data, header.pixels, header.frames)
    for index in order or range(header.frames):
        yield b"".join(data[start:stop] for start, stop in spans_by_frame[index])


def _body(data: Buffer, header: Header) -> Buffer:
    return data if header.inflated is None else header.inflated


class _Quiet:
    """pydicom warns and logs about defects that become rows here: a block in which it does neither.

    Both settings are the process's. The first thread that enters turns them off, the last one that leaves
    puts back what was there: each thread on its own would put back what another has turned off.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._logger, self._was_disabled = logging.getLogger("pydicom"), False
        self._warnings = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._was_disabled, self._logger.disabled = self._logger.disabled, True
                self._warnings = warnings.catch_warnings()
                self._warnings.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._warnings.__exit__(None, None, None)
                self._logger.disabled = self._was_disabled


_quiet = _Quiet()


def _one_line(error: BaseException) -> str:
    name = "" if isinstance(error, codestream.BadCodestream) else f"{type(error).__name__}: "
    text = str(error).rsplit("raised by all available plugins:", 1)[-1]  # pydicom's, of the only one we ask
    return f"{name}{' '.join(text.split())}"[:200]
