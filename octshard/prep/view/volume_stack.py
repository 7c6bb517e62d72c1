"""A stored volume as pictures in so many bytes: evenly spaced B-scans, as many as fit, and en face."""

from octshard.dataset import stored_scale
from octshard.dataset.stored_volumes import StoredVolume
from octshard.dataset.tables import SampleRow
from octshard.prep.report import thumbnails
from octshard.report import page
from octshard.report.numbers import dimensions
from octshard.report.slider import Stack

AROUND = 20  # bytes beside a picture


def draw(volume: StoredVolume, most_bytes: int) -> Stack:
    """At least the B-scan in the middle; an OctshardError names a bad sample."""
    row, voxels_DHW = volume.row, stored_scale.grey_uint8(volume.read())

    def picture(number: int) -> str:
        return page.jpeg(thumbnails.small(voxels_DHW[number]), row.key)

    still = thumbnails.draw(row, voxels_DHW)
    en_face = page.jpeg(still.en_face_DW, row.key)
    total = len(voxels_DHW)
    middle = total // 2
    uris = {middle: picture(middle)}
    room = most_bytes - len(en_face)
    step = max(1, -(-total * (len(uris[middle]) + AROUND) // max(1, room)))
    while True:
        numbers = range(middle % step, total, step)
        for d in numbers:
            uris[d] = uris.get(d) or picture(d)
        if step >= total or sum(len(uris[d]) + AROUND for d in numbers) <= room:
            break
        step += 1
    frames = [(d, uris[d]) for d in numbers]
    return Stack(row.key, _facts(row), frames, en_face, total, (still.bscan_aspect, still.en_face_aspect))


def _facts(row: SampleRow) -> str:
    spacing_mm = row.spacing_out or ()
    voxel = dimensions([round(mm * 1000, 1) for mm in (spacing_mm[1:] if row.slice_axis else spacing_mm)])
    scale = "spacing assumed, drawn with square pixels" if row.assumed_spacing else f"{voxel} µm"
    scale += f", no stack ({row.geometry})" if row.slice_axis else ""
    flags = ", ".join(row.flags) or "none"
    return (
        f"{row.device}, {row.protocol}, eye {row.eye or 'unknown'}: {dimensions(row.shape_out)} voxels, "
        f"{scale}. Flags: {flags}."
    )
