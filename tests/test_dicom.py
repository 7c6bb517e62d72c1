"""DICOM both ways: what is written is read back, what pydicom decodes comes out, what is wrong is named."""

import dataclasses
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pydicom
import pytest
from made_release import RASTER, scan
from pydicom.encaps import encapsulate, fragment_frame
from pydicom.uid import JPEG2000Lossless, RLELossless

from octshard.prep import dicom
from octshard.volume import Refused

LIMIT = 10**9


def frames(data: bytes) -> np.ndarray:
    return np.stack(list(dicom.read_frames(data, dicom.read_header(data, LIMIT))))


def edited(data: bytes, change: Callable[[Any], None]) -> bytes:
    """The file with its dataset changed by pydicom."""
    ds = pydicom.dcmread(io.BytesIO(data))
    change(ds)
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=False)
    return out.getvalue()


def setting(**values: Any) -> Callable[[Any], None]:
    def change(ds: Any) -> None:
        for name, value in values.items():
            setattr(ds, name, value)

    return change


def refusal(data: bytes, limit: int = LIMIT) -> str:
    with pytest.raises(Refused) as caught:
        list(dicom.read_frames(data, dicom.read_header(data, limit)))
    assert "\n" not in caught.value.detail
    return caught.value.reason


def wide(**values: Any) -> bytes:
    """A native 12-in-16-bit file of 3 frames."""
    voxels = np.arange(3 * 20 * 24, dtype="<u2").reshape(3, 20, 24) * 2
    made = dataclasses.replace(scan(), voxels_DHW=scan().voxels_DHW[:3], locations=RASTER[:3])
    return edited(
        dicom.write(made),
        setting(
            BitsAllocated=16,
            BitsStored=12,
            HighBit=11,
            PixelData=voxels.tobytes(),
            NumberOfFrames=3,
            **values,
        ),
    )


@pytest.mark.parametrize("encoding", ["native", "j2k", "j2k_lossy"])
def test_what_is_written_is_read_and_twice_the_same(encoding: str) -> None:
    made = dataclasses.replace(scan(), encoding=encoding)
    data = dicom.write(made)
    assert dicom.write(made) == data
    difference = np.abs(frames(data).astype(int) - made.voxels_DHW)
    assert difference.mean() <= (0 if encoding != "j2k_lossy" else 20)  # sorted noise: hard to compress
    header = dicom.read_header(data, LIMIT)
    assert (header.shape, header.eye, header.model) == ((6, 20, 24), "L", "Triton")
    assert header.sop_instance_uid == made.sop_instance_uid
    assert all(np.array_equal(a, b) for a, b in zip(header.locations, RASTER, strict=True))


def test_the_lossy_encoding_is_about_five_to_one() -> None:
    ramp = np.add.outer(np.arange(256), np.arange(256)) / 2
    noise = np.random.default_rng(0).integers(0, 60, (3, 256, 256))
    voxels = np.clip(ramp + noise, 0, 255).astype(np.uint8)
    made = dataclasses.replace(scan(), voxels_DHW=voxels, locations=(), encoding="j2k_lossy")
    assert 4 < voxels.nbytes / len(dicom.write(made)) < 6


@pytest.mark.parametrize("measures", ["shared", "per_frame", "none"])
def test_spacing_is_found_where_it_stands(measures: str) -> None:
    header = dicom.read_header(dicom.write(dataclasses.replace(scan(), measures=measures)), LIMIT)
    told = {m.source: (m.pixel_mm, m.thickness_mm) for m in header.measures}
    nothing = (None, None)
    assert list(told) == ["per_frame", "shared", "top_level"]
    for source, value in told.items():
        assert value == (((0.01, 0.02), 0.04) if source == measures else nothing)


def test_spacing_that_differs_between_frames_is_the_median_and_marked() -> None:
    def spread(ds: Any) -> None:
        for i, group in enumerate(ds.PerFrameFunctionalGroupsSequence):
            group.PixelMeasuresSequence[0].PixelSpacing = [0.01, 0.02 + 0.001 * i]

    data = edited(dicom.write(dataclasses.replace(scan(), measures="per_frame")), spread)
    measures = dicom.read_header(data, LIMIT).measures[0]
    assert measures.pixel_mm == pytest.approx((0.01, 0.022))
    assert measures.varies


def test_top_level_spacing_and_blanks() -> None:
    data = edited(
        dicom.write(dataclasses.replace(scan(), measures="none")),
        setting(PixelSpacing=[0.003, 0.012], SliceThickness=None, SpacingBetweenSlices=0.05),
    )
    top = dicom.read_header(data, LIMIT).measures[2]
    assert (top.pixel_mm, top.thickness_mm, top.between_mm) == ((0.003, 0.012), None, 0.05)


@pytest.mark.parametrize("text", ["1e308", "1e999", "1e-300", "-1"])
def test_an_absurd_length_counts_as_not_reported(text: str) -> None:
    data = edited(
        dicom.write(dataclasses.replace(scan(), measures="none")),
        setting(PixelSpacing=[text, text], SliceThickness=text, SpacingBetweenSlices=text),
    )
    top = dicom.read_header(data, LIMIT).measures[2]
    assert (top.pixel_mm, top.thickness_mm, top.between_mm) == (None, None, None)


def test_circles_are_written_as_nonlinear_paths() -> None:
    turn = np.linspace(0, 2 * np.pi, 60)
    paths = (*RASTER[:5], 500 + 100 * np.stack([np.sin(turn), np.cos(turn)], axis=1))
    data = dicom.write(dataclasses.replace(scan(), locations=paths))
    kinds = [
        group.OphthalmicFrameLocationSequence[0].OphthalmicImageOrientation
        for group in pydicom.dcmread(io.BytesIO(data)).PerFrameFunctionalGroupsSequence
    ]
    assert kinds == ["LINEAR"] * 5 + ["NONLINEAR"]
    assert dicom.read_header(data, LIMIT).locations[5].shape == (60, 2)


def test_a_missing_or_empty_location_is_an_empty_path() -> None:
    paths = (np.empty((0, 2)), *RASTER[1:])
    header = dicom.read_header(dicom.write(dataclasses.replace(scan(), locations=paths)), LIMIT)
    assert [len(path) for path in header.locations] == [0, 2, 2, 2, 2, 2]
    bare = dicom.read_header(dicom.write(dataclasses.replace(scan(), locations=())), LIMIT)
    assert [len(path) for path in bare.locations] == [0] * 6


def rle(data: bytes) -> bytes:
    return edited(data, lambda ds: ds.compress(RLELossless))


def in_fragments(data: bytes, *, offsets: bool) -> bytes:
    """JPEG 2000 with three fragments a frame."""

    def split(ds: Any) -> None:
        encoded = [dicom._j2k(frame, lossy=False) for frame in scan().voxels_DHW]
        ds.PixelData = encapsulate(encoded, fragments_per_frame=3, has_bot=offsets)
        ds["PixelData"].is_undefined_length = True
        ds.file_meta.TransferSyntaxUID = JPEG2000Lossless

    return edited(data, split)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(rle(dicom.write(scan())), id="rle"),
        pytest.param(in_fragments(dicom.write(scan()), offsets=True), id="fragments, offset table"),
        pytest.param(in_fragments(dicom.write(scan()), offsets=False), id="fragments"),
        pytest.param(wide(), id="16 bit"),
        pytest.param(
            edited(
                dicom.write(scan()),
                lambda ds: setattr(ds.file_meta, "TransferSyntaxUID", "1.2.840.10008.1.2.1.99"),
            ),
            id="deflated",
        ),
    ],
)
def test_frames_equal_pydicoms_pixel_array(data: bytes) -> None:
    wanted = pydicom.dcmread(io.BytesIO(data)).pixel_array
    found = frames(data)
    assert found.dtype == wanted.dtype
    assert (found == wanted).all()


def test_rescale_and_monochrome1_come_after_decoding() -> None:
    stored = pydicom.dcmread(io.BytesIO(wide())).pixel_array.astype(int)
    assert (frames(wide(PhotometricInterpretation="MONOCHROME1")) == 4095 - stored).all()
    assert (frames(wide(RescaleSlope=2, RescaleIntercept=5)) == 2 * stored + 5).all()


def test_only_listed_fields_leave_the_file() -> None:
    secret = setting(
        PatientName="Doe^Jane", PatientBirthDate="19600101", PatientSex="F", PatientComments="secret",
        StudyDate="20240102", InstitutionName="Hospital", OperatorsName="Smith", StudyDescription="secret",
    )  # fmt: skip

    def change(ds: Any) -> None:
        secret(ds)
        ds.add_new(0x00091001, "LO", "secret private")

    text = repr(dicom.read_header(edited(dicom.write(scan()), change), LIMIT))
    for word in ("Doe", "1960", "secret", "2024", "Hospital", "Smith", "1001"):
        assert word not in text


@pytest.mark.parametrize("wrong", [1, 5, 7, 4000])
@pytest.mark.parametrize("encode", ["native", "j2k", "rle"])
def test_a_wrong_number_of_frames_is_refused(wrong: int, encode: str) -> None:
    data = dicom.write(dataclasses.replace(scan(), encoding="native" if encode == "rle" else encode))
    data = rle(data) if encode == "rle" else data
    assert refusal(edited(data, setting(NumberOfFrames=wrong))) == "frame_count"


def test_an_absent_number_of_frames_is_one() -> None:
    assert refusal(edited(dicom.write(scan()), lambda ds: ds.pop("NumberOfFrames"))) == "frame_count"


def test_a_frame_that_the_decoder_cannot_find_is_refused_not_dropped() -> None:
    """pydicom leaks StopIteration here, which would end a generator of frames in silence."""

    def shorten(ds: Any) -> None:
        encoded = [
            next(fragment_frame(frame))
            for frame in pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=6)
        ]
        table = encapsulate(encoded[:5], has_bot=False)
        ds.PixelData = (
            table[:4] + (24).to_bytes(4, "little") + bytes(24) + table[8:]
        )  # 6 offsets, 5 fragments
        ds["PixelData"].is_undefined_length = True

    assert refusal(edited(rle(dicom.write(scan())), shorten)) in ("decoder_error", "frame_count")


def test_refusals_by_header() -> None:
    sound = dicom.write(scan())
    assert refusal(edited(sound, lambda ds: ds.pop("PixelData"))) == "no_pixel_data"
    assert refusal(edited(sound, setting(PixelData=b""))) == "no_pixel_data"
    assert refusal(edited(sound, setting(SOPClassUID="1.2.840.10008.5.1.4.1.1.7"))) == "not_oct"
    assert refusal(edited(sound, setting(SamplesPerPixel=3, NumberOfFrames=2))) == "not_oct"
    assert refusal(edited(sound, setting(PhotometricInterpretation="PALETTE COLOR"))) == "not_oct"
    assert refusal(edited(sound, setting(Rows=0))) == "empty"
    assert refusal(edited(sound, lambda ds: ds.pop("Rows"))) == "unreadable"
    assert refusal(edited(sound, setting(BitsStored=12))) == "unreadable"
    assert refusal(sound, limit=100) == "too_large"
    assert refusal(sound[: len(sound) // 2]) == "truncated"
    assert refusal(b"\0" * 200) == "not_dicom"


def test_a_syntax_without_decoder_is_named() -> None:
    mpeg = edited(
        dicom.write(dataclasses.replace(scan(), encoding="j2k")),
        lambda ds: setattr(ds.file_meta, "TransferSyntaxUID", "1.2.840.10008.1.2.4.100"),
    )
    assert refusal(mpeg) == "unsupported_syntax"


def test_a_broken_codestream_is_a_decoder_error_and_says_which_frame() -> None:
    data = bytearray(dicom.write(dataclasses.replace(scan(), encoding="j2k")))
    second = data.index(b"\xff\x4f\xff\x51", data.index(b"\xff\x4f\xff\x51") + 4)
    data[second + 4 : second + 60] = bytes(56)
    header = dicom.read_header(bytes(data), LIMIT)
    with pytest.raises(Refused, match="decoder_error: frame 2") as caught:
        list(dicom.read_frames(bytes(data), header))
    assert "\n" not in caught.value.detail


def test_encapsulated_pixels_under_a_native_syntax_are_not_relabelled() -> None:
    data = edited(
        dicom.write(dataclasses.replace(scan(), encoding="j2k")),
        lambda ds: setattr(ds.file_meta, "TransferSyntaxUID", JPEG2000Lossless),
    )
    native = data.replace(b"1.2.840.10008.1.2.4.90", b"1.2.840.10008.1.2.1\0\0\0")
    assert refusal(native) == "unreadable"
