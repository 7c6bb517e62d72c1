"""A stored volume as pictures in so many bytes: evenly spaced B-scans, as many as fit, and en face.

Where not even one of each fits, they are drawn smaller.
"""

from octshard.dataset import stored_scale
from octshard.dataset.stored_volumes import StoredVolume
from octshard.dataset.tables import SampleRow
from octshard.prep.report import thumbnails
from octshard.report import page
from octshard.report.numbers import dimensions
from octshard.report.slider import Stack

AROUND = 20  # bytes beside a picture
SIDES_PX = (thumbnails.LARGEST_PX, 320, 160)  # of pictures, the first that fits


def draw(volume: StoredVolume, most_bytes: int) -> Stack:
    """At least the B-scan in the middle; an OctshardError names a bad sample."""
    row, voxels_DHW = volume.row, stored_scale.grey_uint8(volume.read())
    still, total = thumbnails.draw(row, voxels_DHW), len(voxels_DHW)

    def picture(number: int) -> str:
        return page.jpeg(thumbnails.small(voxels_DHW[number], most_px), row.key)

    middle = total // 2
    for most_px in SIDES_PX:
        en_face = page.jpeg(thumbnails.small(still.en_face_DW, most_px), row.key)
        uris = {middle: picture(middle)}
        room = most_bytes - len(en_face)
        if len(uris[middle]) + AROUND <= room:
            break
    step = max(1, -(-total * (len(uris[middle]) + AROUND) // max(1, room)))
    while True:
        numbers = range(middle % step, total, step)
        for d in numbers:
            uris[d] = uris.get(d) or picture(d)
        if step >= total or sum(len(uris[d]) + AROUND for d in numbers) <= room:
            break
        step += 1
    frames = [(d, uris[d]) for d in numbers]
    facts = " ".join(filter(None, (_facts(row), _left_out(len(frames), total))))
    return Stack(row.key, facts, frames, en_face, total, (still.bscan_aspect, still.en_face_aspect))


def _left_out(shown: int, total: int) -> str:
    if shown == total:
        return ""
    return f"{shown} of its {total} B-scans fit on this page; with fewer volumes (--key, --count) more do."


def _facts(row: SampleRow) -> str:
    spacing_mm, shape = row.spacing_out or (), row.shape_out or ()
    voxel = dimensions([round(mm * 1000, 1) for mm in (spacing_mm[1:] if row.slice_axis else spacing_mm)])
    extent = dimensions([round(n * mm, 2) for n, mm in zip(shape, spacing_mm, strict=True)])
    scale = f"{voxel} µm" if row.slice_axis else f"{voxel} µm, {extent} mm"
    if row.assumed_spacing:
        scale = "spacing assumed, drawn with square pixels"
    scale += f", no stack ({row.geometry})" if row.slice_axis else ""
    flags = ", ".join(row.flags) or "none"
    return (
        f"{row.device}, {row.protocol}, eye {row.eye or 'unknown'}: {dimensions(shape)} voxels, "
        f"{scale}. Flags: {flags}."
    )
