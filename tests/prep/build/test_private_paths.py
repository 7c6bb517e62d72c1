"""Under pseudonyms nothing beside the manifest names anybody: not by a path, not by a file's own words."""

import dataclasses
import io
import re
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pyarrow.parquet as pq
import pytest
import zstandard
from click.testing import CliRunner

from octshard.cli.main import cli
from octshard.dataset import tables
from octshard.errors import UsageError
from octshard.prep.convert import private_path
from octshard.prep.index import pseudonym
from octshard.prep.refusals import Refused
from octshard.prep.release import aireadi
from tests.support import array_files
from tests.support.device_files import (
    bioptigen_oct,
    heidelberg_e2e,
    heidelberg_vol,
    optovue_oct,
    topcon_fda,
    zeiss_img,
)
from tests.support.image_files import below, encoded
from tests.support.log_lines import log_lines
from tests.support.made_release import scan
from tests.support.memory_source import entry
from tests.support.scan_folder import dicom, write
from tests.support.scan_parts import UID, concatenation

SALT = bytes(range(32))
HOME = "Meierhans_19500231/visit"
VOXELS = scan().voxels_DHW
SPACING = 0.04, 0.01, 0.02
# of folders and names, of headers as the writers of tests and this file plant them, and of arrays
WORDS = (
    "Meierhans",
    "19500231",
    "MRN4711",
    "P4711",
    "2.25.70001",
    "PATIENT-ID",
    "JANE",
    "Huberfranz",
    "Vogelanna",
    UID,
)


def voxels(number: int) -> np.ndarray:
    """Of which no two are alike."""
    return np.roll(VOXELS, number, axis=2)


def named_nifti(number: int) -> bytes:
    image = nibabel.Nifti1Image(voxels(number).transpose(2, 1, 0), np.diag([0.02, 0.01, 0.04, 1.0]))
    for field in ("descrip", "db_name", "aux_file", "intent_name"):
        image.header[field] = b"Meierhans"
    return image.to_bytes()


def named_npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def metaimage(values: str) -> bytes:
    d, h, w = VOXELS.shape
    return (
        f"ObjectType = Image\nComment = Meierhans\nNDims = 3\nDimSize = {w} {h} {d}\n"
        f"ElementSpacing = 0.02 0.01 0.04\nElementType = MET_UCHAR\nElementDataFile = {values}\n"
    ).encode()


def npy(number: int) -> bytes:
    return array_files.npy(voxels(number), SPACING)["a.npy"]


def files() -> dict[str, bytes]:
    """One of every format, and what is refused for words that it holds. p and q change later."""
    made = [dataclasses.replace(scan(1, "MRN4711"), voxels_DHW=voxels(n)) for n in (11, 12)]
    lines = heidelberg_vol.lines_of(made[0])
    series = [heidelberg_e2e.Series(n, heidelberg_vol.reflectance(voxels(n)), lines) for n in (3, 5)]
    wide = np.resize(VOXELS, (10, 1024, 16))
    return {
        "a_Meierhans_2.25.70001.dcm": dicom("MRN4711", number=1),
        "b_Meierhans_again.dcm": dicom("MRN4711", number=1),
        "c_Meierhans_cut.dcm": dicom("MRN4711", number=2)[:-500],
        "d_Meierhans.npy": npy(1),
        "e_Meierhans.npz": named_npz(oct_bscans=voxels(2), patient=np.array("Meierhans")),
        "f_Meierhans.npz": named_npz(Huberfranz=VOXELS, Huberfranz2=VOXELS),
        "g_Meierhans.nii": named_nifti(4),
        "h_Meierhans.tif": array_files.tiff(voxels(6), SPACING, description="Meierhans")["a.tif"],
        "i_Meierhans.mhd": metaimage("i_Meierhans.raw"),
        "i_Meierhans.raw": voxels(7).tobytes(),
        "j_Meierhans.mhd": metaimage("Vogelanna.raw"),
        "k_Meierhans.nrrd": array_files.nrrd(voxels(8), SPACING)["a.nrrd"].replace(b"value: x", b"Meierhans"),
        "l_Meierhans.vol": heidelberg_vol.write(heidelberg_vol.Vol(made[0], lines)),
        "m_Meierhans.e2e": heidelberg_e2e.write(series),
        "n_Meierhans.fda": topcon_fda.write(topcon_fda.Fda(made[1])),
        "o_Meierhans.OCT": bioptigen_oct.write(
            bioptigen_oct.Oct(voxels(13).astype("<u2"), (0.24, 0.2, 0.48))
        ),
        zeiss_img.name(16, 10): zeiss_img.write(wide),
        **{f"u_Meierhans_{i}.dcm": part for i, part in enumerate(concatenation(scan(5, "MRN4711"), 2, 1, 3))},
        "t_Meierhans.zip": zipped({"Huberfranz/a.npy": npy(16), "Huberfranz/Vogelanna.npy": npy(17)}),
        "v_Meierhans.zip": zipped({"Huberfranz/b.npy": npy(18)}),
        "w_Meierhans.mat": array_files.mat(voxels(19), SPACING)["a.mat"].replace(
            b"Created on", b"Meierhans "
        ),
        optovue_oct.OCT: optovue_oct.numbers(voxels(20)),
        optovue_oct.TEXT: optovue_oct.text(VOXELS.shape, SPACING),
        "p_Meierhans.npy": npy(9),
        "q_Meierhans.npy": npy(10),
    }


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def damage(folder: Path) -> None:
    """What changes between index and shards: other bytes, a file that is gone, and ZIPs that break."""
    (folder / "p_Meierhans.npy").write_bytes(b"Huberfranz, Vogelanna, 19500231")
    (folder / "q_Meierhans.npy").unlink()
    members = (folder / "t_Meierhans.zip").read_bytes()
    at = members.rindex(npy(17)[-100:])
    (folder / "t_Meierhans.zip").write_bytes(members[:at] + bytes(100) + members[at + 100 :])
    (folder / "v_Meierhans.zip").write_bytes((folder / "v_Meierhans.zip").read_bytes()[:-30])


def folders() -> dict[str, bytes]:
    """Of B-scans: one beside a photograph that is none, and one that is refused."""
    return {
        **below("r_Meierhans/", {f"Huberfranz_{n}.png": encoded(voxels(14)[n]) for n in range(6)}),
        "r_Meierhans/Vogelanna.png": encoded(VOXELS[0]),
        **below("s_Meierhans/", {f"Huberfranz_{n}.png": encoded(voxels(15)[n, n:]) for n in range(6)}),
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `in`, its manifest under pseudonyms, shards of it, both pages, and `log` of the run."""
    place = tmp_path_factory.mktemp("private")
    (place / "salt").write_bytes(SALT)
    write(place / "Meierhans", {f"{HOME}/{name}": data for name, data in files().items()})
    words = ["--pattern", "{person}/**/*", "--pseudonymise", str(place / "salt"), "--dates"]
    run("prep", "index", str(place / "Meierhans"), "--out", str(place / "key" / "m.tsv"), *words)
    damage(place / "Meierhans" / HOME)
    write(place / "Meierhans", {f"{HOME}/{name}": data for name, data in folders().items()})
    complete(place / "key" / "m.tsv")
    (place / "log").write_text(run(*shard(place)))
    return place


def complete(manifest: Path) -> None:
    """Rows of the folders; one device, which spares starting workers; a spacing, where files tell none."""
    head, *lines = manifest.read_text().splitlines()
    columns, rows = head.split("\t"), [line.split("\t") for line in lines]
    scans = [dict(zip(columns, cells, strict=True)) for cells in rows]
    for name in ("r", "s"):
        path = f"{HOME}/{name}_Meierhans/"
        of_folder = {"filepath": path, "parts": "", "source_id": pseudonym.of_path(path, SALT)}
        scans.append({**scans[-1], **of_folder})
    more = {"device": "study", "pixel_spacing": "[0.01, 0.02]", "slice_thickness": "0.04"}
    table = ["\t".join([*columns, "pixel_spacing", "slice_thickness"])]
    table += ["\t".join({**scan, **more}.values()) for scan in scans]
    manifest.write_text("\n".join(table) + "\n")


def shard(place: Path) -> list[str]:
    words = ["--manifest", str(place / "key" / "m.tsv"), "--device", "all", "--workers", "1"]
    return ["prep", "shard", str(place / "Meierhans"), str(place / "out"), *words]


def run(*words: str) -> str:
    """What a command prints and logs."""
    with log_lines() as lines:
        done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    return "\n".join([done.output, *lines])


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below `folder` by its path; tars, zstd frames and Parquet taken apart."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        yield f"{path}", str(path.relative_to(folder)).encode() + b"\n" + data
        if path.suffix == ".parquet":
            yield f"{path} as text", str(pq.read_table(path).to_pylist()).encode()
        elif path.suffix == ".tar":
            with tarfile.open(path) as tar:
                for member in tar:
                    inside = tar.extractfile(member).read()  # type: ignore[union-attr]
                    yield f"{path} {member.name}", member.name.encode() + inside
                    if member.name.endswith(".zst"):
                        yield f"{path} {member.name} unpacked", zstandard.decompress(inside)


def spellings(word: str) -> list[bytes]:
    return [word.lower().encode(), word.encode().hex(" ").encode(), word.encode("utf-16-le").lower()]


def assert_silent(name: str, data: bytes) -> None:
    """Pictures within a page hold no text, but letters by chance."""
    data = re.sub(rb"base64,[A-Za-z0-9+/=]+", b"", data)
    said = [word for word in WORDS for form in spellings(word) if form in data.lower()]
    assert not said, f"{name}: {said}"


def rows(place: Path) -> tuple[tables.SampleRow, ...]:
    return tables.open_dataset(str(place / "out" / "study")).rows


def test_no_byte_of_the_output_has_a_planted_word(place: Path) -> None:
    """And refused files are drawn all the same, with the manifest, which alone tells where they are."""
    (source,) = [row.source for row in rows(place) if row.reason == "duplicate"]
    page = place / "out" / "report.html"
    view, told = page.with_name("view.html"), ["--source", str(place / "key" / "m.tsv")]
    log = [(place / "log").read_text(), run("prep", "report", str(place / "out"), *told)]
    log.append(run("view", str(place / "out"), "--out", str(view), "--count", "1", *told))
    for html in (page, view):
        assert f"Frame of {source}, refused: duplicate" in html.read_text()
    for name, data in [*contents(place / "out"), ("log", without_src(place, "\n".join(log)))]:
        assert_silent(name, data)


def without_src(place: Path, text: str) -> bytes:
    """The folder that a user names is named again, and may be called like anybody."""
    return text.replace(str(place / "Meierhans"), "SRC").encode()


def test_every_file_is_a_row_under_its_source_id(place: Path) -> None:
    entries = {e.source_id: e for e in aireadi.parse_manifest((place / "key" / "m.tsv").read_text(), "")}
    # two series of the .e2e, two members of a ZIP, two folders; not the .raw, and three parts are one
    assert len(entries) == len(files()) + 1 + 1 + 2 - 1 - 2 - 1  # and a text beside a scan
    assert {row.source for row in rows(place)} == entries.keys()
    by_letter = {entries[row.source].path.removeprefix(f"{HOME}/")[0]: row for row in rows(place)}
    refused = {entries[row.source].path.removeprefix(f"{HOME}/")[0]: row for row in rows(place) if row.reason}
    assert {letter: row.reason for letter, row in refused.items()} == {
        "b": "duplicate",
        "c": "truncated",
        "f": "several_volumes",
        "j": "no_pixel_data",
        "p": "not_dicom",
        "q": "missing_file",
        "s": "unreadable",
        "t": "unreadable_member",
        "v": "unreadable_member",
    }
    assert refused["t"].detail.startswith("...: its CRC-32 is ")
    assert refused["v"].detail.startswith("in no ZIP that can be read: ...: not a whole ZIP")
    detail = {letter: by_letter[letter].detail for letter in "bfjpqrs"}
    assert detail["b"] == f"same SOPInstanceUID or path as {by_letter['a'].source}"
    assert detail["f"] == "2 arrays could be the scan: ...; call it oct_bscans"
    assert detail["j"].startswith("its pixels are said to lie in ..., which is not there")
    assert detail["p"] == "31 bytes without DICM at byte 128, beginning with ...; it looks like text"
    assert detail["r"] == "images left out: 1"
    assert detail["s"] == "... is 19 x 24 of uint8, ... is 20 x 24 of uint8; want images that are alike"
    assert detail["q"] == f"no object at {by_letter['q'].source}"


def test_uids_are_hashed_and_those_of_one_scan_alike(place: Path) -> None:
    of_scans = [row.sop_instance_uid for row in rows(place) if row.format == "dicom"]
    assert (len(of_scans), len(set(of_scans))) == (4, 3)
    assert all(re.fullmatch(r"2\.25\.\d{20,39}", uid) for uid in of_scans)
    assert not any("uid_differs_from_manifest" in row.flags for row in rows(place))


def test_the_same_again_keeps_all_and_a_changed_file_is_made_again(place: Path) -> None:
    times = {str(path.stat().st_mtime_ns) for path in (place / "Meierhans" / HOME).iterdir()}
    assert not [each for each in times if each in (place / "out" / ".study.sources.json").read_text()]
    before = {
        name: data for name, data in contents(place / "out") if name.endswith(("tar", "samples.parquet"))
    }
    assert "made again" not in run(*shard(place))
    path = place / "Meierhans" / HOME / "h_Meierhans.tif"
    old = path.read_bytes()
    path.write_bytes(array_files.tiff(VOXELS[::-1], SPACING, description="Meierhans")["a.tif"])
    told = run(*shard(place))
    assert "1 stored files have changed, the first is s" in told
    assert_silent("log", without_src(place, told))
    path.write_bytes(old)
    run(*shard(place))
    assert {n: d for n, d in contents(place / "out") if n.endswith(("tar", "samples.parquet"))} == before
    assert "study: whole" in run("prep", "verify", str(place / "out" / "study"), "--deep")


def test_a_manifest_with_paths_may_not_lie_beside_the_shards(place: Path, tmp_path: Path) -> None:
    table = write(tmp_path, {"out/m.tsv": (place / "key" / "m.tsv").read_bytes()}) / "out" / "m.tsv"
    words = ["prep", "shard", str(place / "Meierhans"), str(tmp_path / "out"), "--manifest", str(table)]
    result = CliRunner().invoke(cli, [*words, "--device", "all"])
    assert isinstance(result.exception, UsageError)
    assert "tells which path each source_id stands for; move it" in str(result.exception)


def test_details_lose_paths_and_the_words_of_files() -> None:
    listed = dataclasses.replace(entry("Meier_Hans/scan of 7/exam.e2e#3"), source_id="s1")
    refusal = Refused(
        "unreadable", "at Meier_Hans/scan of 7/exam.e2e#3: Hans in exam.e2e of 7 bytes, 'x'", ("'x'",)
    )
    assert private_path.public(refusal.public, listed) == "at s1: ... in ... of 7 bytes, ..."
