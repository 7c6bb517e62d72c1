"""Loops compiled by numba: on first use, kept on disk where a cache can be written."""

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., None]) -> Any:
    """`function` as machine code that lets go of the GIL. No fast-math: IEEE results everywhere."""
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # numba finds no folder that it may write its cache to
        return numba.njit(nogil=True)(function)


def cache_folder() -> str:
    """Where machine code is kept between runs; empty where no folder can be written."""
    return compiled(_nothing).stats.cache_path or ""


def _nothing() -> None:
    """What `cache_folder` asks about; it is never compiled."""
