"""The animation: every B-scan, one palette, within its limit of bytes."""

import io

import numpy as np
import pytest
from PIL import Image

from octshard.errors import UsageError
from octshard.pictures import sweep
from tests.support.model_views import made_up


def test_one_frame_for_each_b_scan_and_the_same_bytes_twice() -> None:
    gif = sweep.render(made_up())
    assert gif == sweep.render(made_up())
    with Image.open(io.BytesIO(gif)) as image:
        assert (image.format, image.n_frames, image.size[0]) == ("GIF", 6, 700)
        assert image.info["loop"] == 0


def test_frames_show_the_scan_and_the_lines() -> None:
    """The line in the en face view goes up, as the volume is reversed."""
    with Image.open(io.BytesIO(sweep.render(made_up()))) as image:
        heights = []
        for frame in range(image.n_frames):
            image.seek(frame)
            pixels = np.asarray(image.convert("RGB")).astype(int)[70:205, :200]
            yellow = pixels[..., :2].min(axis=2) - pixels[..., 2] > 80
            heights.append(np.flatnonzero(yellow.sum(axis=1) > 15).mean())
    assert heights == sorted(heights, reverse=True)
    assert heights[0] - heights[-1] > 50


def test_what_is_too_large_is_drawn_with_fewer_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "LIMIT_BYTES", 50_000)
    monkeypatch.setattr(sweep, "TRIES", ((6, 32), (3, 8)))
    with Image.open(io.BytesIO(sweep.render(made_up()))) as image:
        assert image.n_frames == 3


def test_another_suffix_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"x\.png: want a name that ends in \.gif"):
        sweep.check("x.png")
