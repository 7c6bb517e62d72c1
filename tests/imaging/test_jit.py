"""Where compiled loops are kept."""

from pathlib import Path
from typing import Any

import numba
import pytest
from numba.core import config

from octshard.imaging import jit


def test_the_cache_folder_is_numba_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    assert Path(jit.cache_folder()).is_relative_to(tmp_path)


def test_there_is_none_where_no_folder_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    njit = numba.njit

    def unwritable(cache: bool = False, **options: Any) -> Any:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return njit(**options)

    monkeypatch.setattr(numba, "njit", unwritable)
    assert jit.cache_folder() == ""
