"""What a detail keeps where paths are private, whoever wrote it."""

import ast
import dataclasses
import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from octshard import prep
from octshard.config.prep import PrepConfig
from octshard.imaging.volume import SampleKey
from octshard.prep.convert import private_path, sample
from octshard.prep.convert.public_words import WORDS
from octshard.prep.convert.sample import ConvertTask
from octshard.prep.plan import Member
from tests.support.memory_source import MemorySource, entry

LISTED = dataclasses.replace(entry("Li/40817263/visit 7.npy"), source_id="s1")


def named_npz(name: str) -> bytes:
    file = io.BytesIO()
    np.savez(file, **{name: np.zeros((4, 8, 8)), f"{name}1": np.zeros((4, 8, 8))})
    return file.getvalue()


@pytest.mark.parametrize("name", ["Meyer", "Li", "40817299", "Meyer_Anna", "Müller", "19500231", "O'Neil"])
@pytest.mark.parametrize(
    "text",
    [
        "in /data/{0}/e.zip: a ZIP",
        "overlaps {0}/scan.npy",
        "in e.zip:{0}/scan.npy",
        "{0}.npy is there twice",
        "array '{0}' is damaged",
        "at C:\\{0}\\a.npy",
        "beside {0}_001.png",
        "a name like P-{0}, which",
    ],
)
def test_no_name_in_a_path_or_in_quotes_is_kept(name: str, text: str) -> None:
    public = private_path.public(text.format(name), LISTED)
    assert not set(re.findall(r"\w+", name)) & set(re.findall(r"[^\W_]+|\w+", public)), public


@pytest.mark.parametrize("name", ["Meyer", "Li", "Müller", "Anna Meyer", "MEYER^ANNA", "p4711", "40817263"])
def test_no_word_is_kept_that_is_not_ours_and_no_number_of_the_own_path(name: str) -> None:
    assert private_path.public(f"the file of {name} is damaged", LISTED) == "the file of ... is damaged"


@pytest.mark.parametrize(
    "text",
    [
        "ends at byte 4017, inside (7FE0,0010), which ends at 6000",
        "(8, 512, 512) voxels declared, want at most 2000000",
        "in-plane 0.0039 x 0.0117 mm (shared), 4e-05 x 1 mm (manifest)",
        "no decoder for transfer syntax 1.2.840.10008.1.2.4.90",
        "tifffile is not installed, want the extra octshard[tiff]",
        "its CRC-32 is 12345678; 3 B-scans, a ZIP's directory",
        "twice: its process ended by SIGSEGV",
        "no object; a folder that is one scan has a / at its end",
        "no chunk @IMG_JPEG, want a .mat",
        "values -1.5 to 3.4e+38 became 0 to 65535",
        "2 arrays could be the scan: ...; call it oct_bscans",
    ],
)
def test_our_words_and_numbers_are_kept(text: str) -> None:
    assert private_path.public(text, LISTED) == text


def test_the_path_becomes_its_source_id_and_bytes_are_no_numbers() -> None:
    assert private_path.public(f"no object at {LISTED.path}; want it", LISTED) == "no object at s1; want it"
    assert private_path.public("begins with 34 30 38 31, want SOI", LISTED) == "begins with ..., want SOI"
    assert private_path.public("/data/Li/40817263/x, /data/y", LISTED) == "..."


NUMBER = "40817299"
MHD = "ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_UCHAR\nElementDataFile = "


@pytest.mark.parametrize(
    ("files", "detail"),
    [
        ({"a.npz": named_npz(NUMBER)}, "2 arrays could be the scan: ...; call it oct_bscans"),
        ({"a.txt": f"{NUMBER} {NUMBER}".encode()}, "beginning with ...; it looks like text"),
        ({"a.mhd": (MHD + NUMBER + "\n").encode()}, "said to lie in ..., which is not there"),
        ({f"d/{NUMBER}.png": b"1", "d/Li.png": b"1"}, "images are not numbered alike: ..."),
        ({f"d/{NUMBER}_{n}_{n}.png": b"1" for n in range(5)}, "in 2 numbers, as ... and ...; want one"),
        ({f"d/{NUMBER}_{n}.png": NUMBER.encode() for n in range(5)}, "...: no image: 8 bytes without DICM"),
        ({}, "no object at s1"),
    ],
)
def test_a_number_in_a_file_or_in_its_names_is_in_no_row(files: dict[str, bytes], detail: str) -> None:
    path = next(iter(files), "a")
    listed = dataclasses.replace(entry("d/" if path.startswith("d/") else path), source_id="s1")
    task = ConvertTask(Member(SampleKey("1", "device", "macula", "L", "0"), listed), "t.tar", "train")
    row, _ = sample.convert(task, PrepConfig(), MemorySource(files))
    assert detail in row.detail
    assert not re.search(rf"{NUMBER}|34 30 38|Li\b", repr(row))


def test_every_word_of_a_refusal_is_listed() -> None:
    """Else it is left out where it should not be: add it to public_words.py, if it names nobody."""
    missing = {word for path in Path(prep.__file__).parent.rglob("*.py") for word in refusal_words(path)}
    assert missing - WORDS == set()


def refusal_words(path: Path) -> Iterator[str]:
    """Of texts that stand in a call of Refused."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    for call in calls:
        if isinstance(call.func, ast.Name) and call.func.id == "Refused":
            for node in ast.walk(ast.Tuple(call.args[1:2])):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield from re.findall(r"[^\W\d]\w+", node.value)
