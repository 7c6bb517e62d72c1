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
