"""The pictures of the page: a sample of volumes, and the worst refused files and flagged volumes."""

from collections.abc import Mapping, Sequence

from octshard.dataset.tables import SampleRow
from octshard.prep.report import remedies, retina
from octshard.prep.report.refused_frames import Frame
from octshard.prep.report.thumbnails import Thumbnail
from octshard.report import page
from octshard.report.numbers import dimensions
from octshard.report.page import Content, Html

SAMPLE = (
    "A seeded sample of up to {} volumes per device, protocols in turn. Above: the central B-scan "
    "as it is stored. Below: en face, the mean over depth stretched to the full range of greys, the first "
    "B-scan on top. Both to scale."
)
REFUSED = (
    "Refused files, the gravest first, up to two of each reason: the frame in the middle of the "
    "file, as it is filed."
)
FLAGGED = (
    "Stored volumes with flags that ask for a look, those with most of them first: the central B-scan, and "
    "en face below it."
)
UNREACHED = (
    "Pictures of refused files are drawn where their source can be reached: octshard prep report SHARDS "
    "--source SRC."
)


def sample(previews: Sequence[Thumbnail], most: int) -> tuple[Content, ...]:
    """Of each device."""
    if not previews:
        return ("No volume is stored, so there is nothing to see.",)
    cards = [_card(thumbnail, f"{thumbnail.row.device}, ") for thumbnail in previews]
    has_lines = any(thumbnail.band_Q2 is not None for thumbnail in previews)
    return (SAMPLE.format(most), *((retina.key(), retina.NOTE) if has_lines else ()), page.columns(cards))


def worst(
    refused: Sequence[SampleRow], frames: Mapping[tuple[str, str], Frame] | None, flagged: Sequence[Thumbnail]
) -> tuple[Content, ...]:
    """Both; a sentence where there is nothing of a kind, or no picture of it."""
    if not refused and not flagged:
        return ("No file that could be drawn was refused, and no volume has a flag that asks for a look.",)
    parts: list[Content] = [*refused_files(refused, frames)]
    if flagged:
        cards = [
            _card(thumbnail, ", ".join(remedies.to_look_at(thumbnail.row)) + ": ", thumbnail.row.detail)
            for thumbnail in flagged
        ]
        parts += [page.heading("Flagged volumes"), FLAGGED, page.columns(cards)]
    return tuple(parts)


def refused_files(
    refused: Sequence[SampleRow], frames: Mapping[tuple[str, str], Frame] | None
) -> tuple[Content, ...]:
    """A frame of each; a sentence where there is no picture, nothing where nothing was refused."""
    cards = [
        _refused_card(row, frames[row.device, row.source])
        for row in refused
        if frames and (row.device, row.source) in frames
    ]
    if cards:
        return page.heading("Refused files"), REFUSED, page.columns(cards)
    if not refused:
        return ()
    return (UNREACHED if frames is None else "Of no refused file a frame can be decoded.",)


def _refused_card(row: SampleRow, frame: Frame) -> Html:
    alt = f"Frame of {row.source}, refused: {row.reason}"
    caption = f"{row.reason}: {row.source}. {row.detail}"
    return page.group([page.picture(frame.image_HW, alt, "", frame.aspect)], caption)


def _card(thumbnail: Thumbnail, lead: str, end: str = "") -> Html:
    row, spacing_mm, shape = thumbnail.row, thumbnail.row.spacing_out or (), thumbnail.row.shape_out or ()
    alt = f"of {row.key}, {row.protocol}, eye {row.eye or 'unknown'}"
    bscan = thumbnail.bscan_HW
    if thumbnail.band_Q2 is not None and row.shape_out is not None:
        bscan = retina.with_lines(bscan, thumbnail.band_Q2, row.shape_out)
    images = [
        page.picture(bscan, f"Central B-scan {alt}", "", thumbnail.bscan_aspect),
        page.picture(thumbnail.en_face_DW, f"En-face mean {alt}", "", thumbnail.en_face_aspect),
    ]
    voxel = dimensions([round(mm * 1000, 1) for mm in (spacing_mm[1:] if row.slice_axis else spacing_mm)])
    extent = dimensions([round(n * mm, 2) for n, mm in zip(shape, spacing_mm, strict=True)])
    scale = "spacing assumed, drawn with square pixels" if row.assumed_spacing else f"{voxel} µm, {extent} mm"
    if row.slice_axis:
        scale = f"no stack ({row.geometry}){'' if row.assumed_spacing else f', {voxel} µm'}"
    caption = f"{lead}{row.key}: {dimensions(shape)} voxels (D × H × W), {scale}"
    return page.group(images, ". ".join(filter(None, (caption, end))))
