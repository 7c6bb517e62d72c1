"""JSON of ours, read back: the object, or one line that names the file."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from octshard.storage import json_object, store
from octshard.storage.json_object import DamagedJson


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"null", "JSON of a NoneType, want an object"),
        (b"[1]", "JSON of a list"),
        (b"7", "JSON of a int"),
        (b'{"a": 1', "not JSON"),
        (bytes(4000), "not JSON"),
        (b"\xff\xfe\x00\x80", "not JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"a": "\\ud800"}', "not JSON"),
        (b'{"\\udfff": 1}', "not JSON"),
        (b"[" * 100_000, "brackets in brackets"),
        (b'{"a":' * 100_000, "brackets in brackets"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_anything_else_is_one_line(tmp_path: Path, data: bytes, text: str) -> None:
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(DamagedJson, match=rf"^{tmp_path}/a\.json: {text}") as caught:
        json_object.read(str(tmp_path / "a.json"))
    assert "\n" not in str(caught.value)


def test_any_whole_character_comes_back() -> None:
    value = {"é": "\N{GRINNING FACE} \N{OCR HOOK}"}
    for ascii_only in (True, False):
        text = json.dumps(value, ensure_ascii=ascii_only)
        assert json_object.parse(text, "a") == json_object.parse(text.encode(), "a") == value


def test_what_is_no_file_is_one_line_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, text in (("pipe", "a pipe or a device, want a file"), ("folder", "Is a directory")):
        with pytest.raises(store.NotAFile, match=f"^{tmp_path}/{name}: {text}$"):
            json_object.read(str(tmp_path / name))
    with pytest.raises(FileNotFoundError):
        json_object.read(str(tmp_path / "absent"))


@dataclass(frozen=True)
class Record:
    name: str
    count: int
    loss: float | None
    whole: bool


SOUND = {"name": "a", "count": 1, "loss": None, "whole": True}


def test_a_record_comes_back(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(SOUND))
    values = json_object.read(str(tmp_path / "a.json"))
    assert json_object.as_record(values, Record, "a") == Record("a", 1, None, True)
    assert json_object.as_record({**values, "loss": 0.5}, Record, "a").loss == 0.5


@pytest.mark.parametrize(
    "change",
    [
        {"name": None},
        {"count": "1"},
        {"count": True},
        {"loss": []},
        {"whole": 1},
        {"more": 1},
        {"count": 1.5},
    ],
    ids=str,
)
def test_a_field_of_another_type_is_one_line(change: dict[str, object]) -> None:
    (name,) = change
    with pytest.raises(DamagedJson, match=f"^here: .*{name}"):
        json_object.as_record({**SOUND, **change}, Record, "here")


@pytest.mark.parametrize("name", SOUND)
def test_a_missing_field_is_one_line(name: str) -> None:
    values = {key: value for key, value in SOUND.items() if key != name}
    with pytest.raises(DamagedJson, match=f"^here: missing or unknown fields .'{name}'"):
        json_object.as_record(values, Record, "here")


def test_a_missing_field_that_has_a_default_takes_it() -> None:
    @dataclass(frozen=True)
    class Grown:
        name: str
        score: float | None = None

    assert json_object.as_record({"name": "a"}, Grown, "here") == Grown("a")
    assert json_object.as_record({"name": "a", "score": 0.5}, Grown, "here") == Grown("a", 0.5)
    with pytest.raises(DamagedJson, match="score = 'x'"):
        json_object.as_record({"name": "a", "score": "x"}, Grown, "here")
