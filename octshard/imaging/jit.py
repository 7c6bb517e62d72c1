"""Loops compiled by numba: on first use, and cached on disk if a cache folder is writable."""

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., None]) -> Any:
    """`function` as machine code that releases the GIL. Without fast-math: IEEE results everywhere."""
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # numba finds no writable cache folder
        return numba.njit(nogil=True)(function)


def cache_folder() -> str:
    """Where machine code is kept between runs; empty where no folder can be written."""
    return compiled(_nothing).stats.cache_path or ""


def _nothing() -> None:
    """What `cache_folder` asks about; it is never compiled."""
