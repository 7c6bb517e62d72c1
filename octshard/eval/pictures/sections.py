"""All pictures of an evaluation, section by section; what cannot be drawn is left out."""

from octshard.eval.pictures import attention, near_scans, scan_reader, token_maps, wrong_people
from octshard.eval.pictures.request import PictureRequest, Pictures
from octshard.progress import OnProgress, no_progress

KINDS = (token_maps.pictures, attention.pictures, near_scans.pictures, wrong_people.pictures)


def pictures(request: PictureRequest, on_progress: OnProgress = no_progress) -> Pictures:
    """Sections of the page, and PNG and CSV files that go beside it."""
    reader, made = scan_reader.open_reader(request.scans), Pictures()
    for i, kind in enumerate(KINDS):
        on_progress(i, len(KINDS), "pictures")
        made += kind(request, reader)
    on_progress(len(KINDS), len(KINDS), "pictures")
    return made
