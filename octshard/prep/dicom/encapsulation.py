"""Frames of encapsulated pixel data: which fragments make which frame (PS3.5 A.4)."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from octshard.prep.dicom.elements import ParsedFile, Pixels, Span
from octshard.prep.refusals import Refused
from octshard.storage.checksum import Buffer

CODESTREAM_STARTS = (
    b"\xff\x4f\xff\x51",  # JPEG 2000 and HTJ2K: SOC, SIZ
    b"\0\0\0\x0cjP  ",  # the same in a JP2 box, which some exporters leave on
    b"\xff\xd8\xff",  # JPEG and JPEG-LS: SOI and the next marker
    b"\1\0\0\0\x40\0\0\0",  # RLE of 8 bits: one segment, at byte 64
    b"\2\0\0\0\x40\0\0\0",  # RLE of 16 bits
)
CODESTREAM_END = b"\xff\xd9"  # EOC of JPEG 2000 and EOI of JPEG; neither occurs inside their data


def begins_with_codestream(parsed: ParsedFile) -> bool:
    """True if the pixels are a plain value that is the codestream of a codec."""
    pixels = parsed.pixels
    if pixels is None or pixels.fragments is not None:
        return False
    return bool(_marked(parsed.body, [(pixels.start, pixels.start + pixels.nbytes)]))


def encapsulated_frames(parsed: ParsedFile, expected: int) -> int | None:
    """Frames in the fragments: codestream starts where the codec has them, else offsets, else fragments.

    None if there are more fragments than frames `expected`, and nothing tells which belong together.
    """
    if parsed.pixels is None or parsed.pixels.fragments is None:
        return 0
    fragments = parsed.pixels.fragments
    if known := len(_marked(parsed.body, fragments)) or len(parsed.pixels.offsets):
        return expected if len(_firsts(parsed.body, fragments)) == expected else known
    return len(fragments) if len(fragments) <= expected else None


def frame_spans(body: Buffer, pixels: Pixels, frames: int) -> tuple[tuple[Span, ...], ...]:
    """The fragments of every frame; Refused `decoder_error` if it is unclear where frames begin.

    The first of these that fits decides: extended offset table, codestream starts, these and what follows a
    codestream's end, basic offset table, one fragment for each frame. A table that leads nowhere is passed
    over, one that leads astray is not.
    """
    fragments = pixels.fragments or ()
    extended = [(pixels.start + at + 8, pixels.start + at + 8 + n) for at, n in _extended(pixels)]
    ends = dict(fragments)
    if len(extended) == frames and all(start in ends for start, _ in extended):
        starts = {start for start, _ in extended}
        if len(starts) < frames or not all(start < stop <= ends[start] for start, stop in extended):
            raise Refused("decoder_error", "the extended offset table contradicts its fragments")
        return tuple((span,) for span in extended)
    fragment_at = {start - 8 - pixels.start: i for i, (start, _) in enumerate(fragments)}
    for firsts in (
        _marked(body, fragments),
        _firsts(body, fragments),
        [fragment_at.get(offset, -1) for offset in pixels.offsets],
        range(len(fragments)),
    ):
        if len(firsts) == frames and firsts[0] == 0 and all(a < b for a, b in pairwise(firsts)):
            return tuple(fragments[a:b] for a, b in pairwise([*firsts, len(fragments)]))
    raise Refused(
        "decoder_error",
        f"{len(fragments)} fragments, {len(pixels.offsets)} offsets that do not lead to {frames} frames",
    )


def _marked(body: Buffer, fragments: Sequence[Span]) -> list[int]:
    """The fragments that begin with a codestream's first bytes."""
    return [
        i
        for i, (start, stop) in enumerate(fragments)
        if bytes(body[start : min(stop, start + 12)]).startswith(CODESTREAM_STARTS)
    ]


def _firsts(body: Buffer, fragments: Sequence[Span]) -> list[int]:
    """The marked fragments, and those behind the end of a codestream: frames whose beginning is damaged."""
    tails = [bytes(body[max(start, stop - 3) : stop]).rstrip(b"\0") for start, stop in fragments]
    behind = {i + 1 for i, tail in enumerate(tails[:-1]) if tail.endswith(CODESTREAM_END)}
    starts = {*_marked(body, fragments), *behind}
    return sorted({0, *starts}) if starts else []


def _extended(pixels: Pixels) -> Iterator[tuple[int, int]]:
    return zip(pixels.offsets, pixels.lengths, strict=False)
