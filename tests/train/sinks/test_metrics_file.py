"""metrics.jsonl: appended line by line, cut back on resume, also in a remote store."""

import json
from pathlib import Path

import pytest

from octshard.errors import OctshardError
from octshard.storage import store
from octshard.storage.errors import StoreError
from octshard.train.sinks import metrics_file
from octshard.train.sinks.metrics_file import MetricsFile
from tests.support.log_lines import log_lines


def open_file(place: str) -> MetricsFile:
    return MetricsFile(place, metrics_file.truncate_after(place, 0))


def test_a_line_stands_as_soon_as_it_is_written(tmp_path: Path) -> None:
    file = open_file(str(tmp_path / "metrics.jsonl"))
    nan, inf = float("nan"), float("inf")
    file.write({"step": 1, "loss": nan, "scores": [0.5, inf], "of": {"a": (nan, 1)}})
    text = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(text) == {"step": 1, "loss": None, "scores": [0.5, None], "of": {"a": [None, 1]}}
    file.close(0)


def test_a_late_line_stays_if_its_own_step_does(tmp_path: Path) -> None:
    """Probes of steps 2 and 4 came at steps 5 and 6; the checkpoint is of step 3."""
    url = str(tmp_path / "metrics.jsonl")
    file = open_file(url)
    for step in (1, 3, 5, 2, 6, 4):
        file.write({"step": step})
    file.close(0)
    metrics_file.truncate_after(url, 3)
    assert [line["step"] for line in metrics_file.read(url)] == [1, 3, 2]


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    url = store.join(str(tmp_path), "metrics.jsonl")
    store.write(url, b'{"step": 1}\n{"step": 2}\n{"st')
    assert metrics_file.truncate_after(url, 7) == ['{"step": 1}', '{"step": 2}']
    assert store.read(url) == b'{"step": 1}\n{"step": 2}\n'


DAMAGE = (
    b"",
    bytes(40),
    b"{",
    b"[" * 100_000,
    b"null",
    b"[1]",
    b'{"loss": 1}',
    b'{"step": "2"}',
    b"\xff\xfe",
)


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda data: repr(data[:12]))
def test_a_damaged_line_is_named_and_left_out(tmp_path: Path, damage: bytes) -> None:
    url = store.join(str(tmp_path), "metrics.jsonl")
    store.write(url, b'{"step": 1}\n' + damage + b'\n{"step": 2}\n{"step": 3}\n' + bytes(512))
    with pytest.raises(OctshardError, match=f"^{url} line 2: ") as caught:
        metrics_file.read(url)
    assert "\n" not in str(caught.value)
    with log_lines() as lines:
        assert metrics_file.truncate_after(url, 2) == ['{"step": 1}', '{"step": 2}']
    (line,) = lines
    assert line.startswith(f"WARNING {url} line 2: ")
    assert line.endswith("; left out, as are 0 more")
    assert store.read(url) == b'{"step": 1}\n{"step": 2}\n'


def test_a_full_disk_is_one_clear_line_and_the_file_can_be_closed() -> None:
    file = MetricsFile("/dev/full", [])
    with pytest.raises(StoreError, match=r"^/dev/full: the disk is full"):
        file.write({"step": 1})
    file.close(0)
