"""The manifest in every spelling that releases and copies use."""

from pathlib import Path

import pytest

from octshard.errors import UsageError
from octshard.prep.release import aireadi
from octshard.prep.release.entry import Entry
from tests.support.made_release import HEAD, sound, unpacked

PATH = "/retinal_oct/structural_oct/zeiss_cirrus/7001/7001_cirrus_mac_oct_r_1.2.276.0.75.3.dcm"
VALUES = dict(
    zip(
        HEAD,
        [
            "7001", "Zeiss", "Cirrus", "Macula", "OCT", "R", "1024", "512", "128", "[0.00195, 0.0117]",
            "0.0117", "1.2.276.0.75.3", PATH,
        ],
        strict=True,
    )
)  # fmt: skip


def table(*rows: dict[str, str], heads: list[str] | None = None) -> str:
    heads = heads or HEAD
    return "\n".join(["\t".join(heads), *("\t".join(row.get(h, "") for h in heads) for row in rows)]) + "\n"


def only(text: str) -> Entry:
    (entry,) = aireadi.parse_manifest(text, "manifest.tsv")
    return entry


def test_a_row_is_read_whole() -> None:
    assert only("\ufeff" + table(VALUES)) == Entry(
        participant="7001", device="zeiss_cirrus", manufacturer="Zeiss", model="Cirrus",
        protocol="cirrus_mac", region="Macula", eye="R", frames=128, rows=1024, cols=512,
        pixel_mm=(0.00195, 0.0117), slice_mm=0.0117, sop_instance_uid="1.2.276.0.75.3", path=PATH[1:],
        eye_in_name="R",
    )  # fmt: skip


def test_columns_may_be_reordered_renamed_or_missing() -> None:
    renamed = {**VALUES, "person_id": VALUES["participant_id"]}
    heads = ["person_id", *reversed(HEAD[1:])]
    assert only(table(renamed, heads=heads)) == only(table(VALUES))
    bare = only(table(VALUES, heads=["filepath", "participant_id"]))
    assert (bare.device, bare.sop_instance_uid, bare.eye, bare.frames) == (
        "zeiss_cirrus",
        "1.2.276.0.75.3",
        "",
        None,
    )


@pytest.mark.parametrize("path", ["", "/", ".dcm", "a/.dcm", "_"])
def test_a_row_may_name_neither_file_nor_uid(path: str) -> None:
    assert only(table({**VALUES, "filepath": path, "sop_instance_uid": ""})).sop_instance_uid == ""


@pytest.mark.parametrize("head", ["participant_id", "filepath"])
def test_without_person_or_file_the_table_is_refused(head: str) -> None:
    with pytest.raises(UsageError, match=r"manifest\.tsv: no column"):
        aireadi.parse_manifest(table(VALUES, heads=[h for h in HEAD if h != head]), "manifest.tsv")


@pytest.mark.parametrize("word", ["Not reported", "Not Reported", "Not Provided", "", "Varies by frame"])
def test_every_spelling_of_missing(word: str) -> None:
    entry = only(
        table({**VALUES, "pixel_spacing": word, "slice_thickness": word, "laterality": word, "height": word})
    )
    assert (entry.pixel_mm, entry.slice_mm, entry.eye, entry.rows) == (None, None, "", None)


@pytest.mark.parametrize("text", ["[0.0, 0.0117]", "[0.1]", "[-0.1, 0.2]", "0.1,0.2,0.3", "abc"])
def test_spacing_that_is_no_pair_of_lengths_is_missing(text: str) -> None:
    assert only(table({**VALUES, "pixel_spacing": text})).pixel_mm is None


@pytest.mark.parametrize("prefix", ["", "/", "dataset/", "/dataset/", "./", "//"])
def test_paths_are_relative_to_the_root_whatever_their_prefix(prefix: str) -> None:
    assert only(table({**VALUES, "filepath": prefix + PATH[1:]})).path == PATH[1:]


@pytest.mark.parametrize(
    "path", ["../x.dcm", "/a/../../x.dcm", "C:/x.dcm", "a\\..\\..\\x.dcm", "s3://b/x.dcm"]
)
def test_a_path_that_leaves_the_release_is_an_error(path: str) -> None:
    with pytest.raises(UsageError, match="leaves the release"):
        only(table({**VALUES, "filepath": path}))


def test_the_eye_is_the_manifests_whatever_the_name_says() -> None:
    entry = only(table({**VALUES, "laterality": "L"}))
    assert (entry.eye, entry.eye_in_name) == ("L", "R")
    entry = only(table({**VALUES, "laterality": "Not reported"}))
    assert (entry.eye, entry.eye_in_name) == ("", "R")


def test_angiography_rows_are_not_structural_oct() -> None:
    kinds = ["OCT", "OCTA", "OCT Angiography", "Optical Coherence Tomography", "CFP", ""]
    entries = aireadi.parse_manifest(
        table(*({**VALUES, "imaging": k, "participant_id": k or "-"} for k in kinds)), "m"
    )
    assert [entry.participant for entry in entries] == ["OCT", "Optical Coherence Tomography", "-"]


def test_quotes_in_a_cell_do_not_swallow_rows() -> None:
    entries = aireadi.parse_manifest(table({**VALUES, "anatomic_region": 'Macula 6"'}, VALUES), "m")
    assert [entry.region for entry in entries] == ['Macula 6"', "Macula"]
    with pytest.raises(UsageError, match="m line 2: a quote opens"):
        aireadi.parse_manifest(table({**VALUES, "anatomic_region": '"Macula'}, VALUES), "m")


def test_a_quoted_table_is_the_same_table() -> None:
    quoted = "".join("\t".join(f'"{cell}"' for cell in (*row,)) + "\r\n" for row in (HEAD, VALUES.values()))
    assert only(quoted) == only(table(VALUES))


def test_a_number_is_one_participant_however_it_is_written() -> None:
    """The files of 1001 in every spelling of data frames and spreadsheets, and a text that is no number."""
    names = ["1001", "1001.0", "01001", "1.001e3", "1.001E+03", "+1001", "\uff11001", "100\u200b1", "P1001"]
    entries = aireadi.parse_manifest(table(*({**VALUES, "participant_id": name} for name in names)), "m")
    assert [entry.participant for entry in entries] == ["1001"] * 8 + ["P1001"]


@pytest.mark.parametrize("name", ["007", "7", "12e3", "1001.5", "A-7", "1,001", "-7"])
def test_a_participant_in_one_spelling_is_stored_so(name: str) -> None:
    assert only(table({**VALUES, "participant_id": name})).participant == name


@pytest.mark.parametrize("name", ["7001.0", "07001"])
def test_the_protocol_has_no_person_whatever_the_spelling(name: str) -> None:
    assert only(table({**VALUES, "participant_id": name})).protocol == only(table(VALUES)).protocol


def test_the_manifest_is_found_at_the_root_or_in_retinal_oct(tmp_path: Path) -> None:
    root = unpacked(tmp_path / "release", [sound(1)], {"1001": "test"})
    old = aireadi.read_release(str(root))
    (root / "manifest.tsv").rename(root / "retinal_oct" / "manifest.tsv")
    for src in (root, root / "retinal_oct"):
        new = aireadi.read_release(str(src))
        assert (new.root, new.entries, new.splits) == (str(root), old.entries, {"1001": "test"})
        assert new.tables == ("retinal_oct/manifest.tsv", "participants.tsv")


def test_a_folder_without_manifest_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no manifest\.tsv"):
        aireadi.read_release(str(tmp_path))


def test_absurd_numbers_count_as_not_reported() -> None:
    absurd = {"pixel_spacing": "[1e308, 1e308]", "slice_thickness": "1e999"}
    sizes = dict.fromkeys(("number_of_frames", "height", "width"), "1e999")
    entry = only(table({**VALUES, **absurd, **sizes}))
    assert (entry.pixel_mm, entry.slice_mm) == (None, None)
    assert (entry.frames, entry.rows, entry.cols) == (None, None, None)


@pytest.mark.parametrize("name", ["manifest.tsv", "participants.tsv"])
@pytest.mark.parametrize(
    ("encoding", "byte"), [("latin-1", "0xe9"), ("utf-16", "0xff"), ("utf-16-le", "0x00")]
)
def test_a_table_that_is_not_utf8_is_one_line_with_place_and_byte(
    tmp_path: Path, name: str, encoding: str, byte: str
) -> None:
    root = unpacked(tmp_path, [sound(1)], {"1001": "train"})
    text = (root / name).read_text("utf-8-sig") + ("# \u00e9\n" if encoding == "latin-1" else "")
    (root / name).write_bytes(text.encode(encoding))
    with pytest.raises(UsageError, match="UTF-8") as caught:
        aireadi.read_release(str(root))
    assert f"{root / name}: byte " in str(caught.value)
    assert byte in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("word", ["", "Not reported", "unknown"])
def test_a_missing_person_is_the_folder_of_the_file(word: str) -> None:
    entry = only(table({**VALUES, "participant_id": word}))
    assert (entry.participant, entry.protocol) == ("7001", "cirrus_mac")


@pytest.mark.parametrize("path", ["", "x.dcm", "a/zeiss_cirrus/x.dcm", "retinal_oct/x.dcm", "unknown/x.dcm"])
def test_without_any_person_the_line_is_named(path: str) -> None:
    nobody = {**VALUES, "participant_id": "Not reported", "filepath": path}
    with pytest.raises(UsageError, match=r"manifest\.tsv line 3: no participant"):
        aireadi.parse_manifest(table(VALUES, nobody), "manifest.tsv")


@pytest.mark.parametrize(("inside", "src"), [("", "retinal_oct"), ("", "."), ("retinal_oct", ".")])
def test_a_relative_source_finds_the_same_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str, src: str
) -> None:
    root = unpacked(tmp_path / "release", [sound(1)], {"1001": "test"})
    (root / "manifest.tsv").rename(root / "retinal_oct" / "manifest.tsv")
    monkeypatch.chdir(root / inside)
    release = aireadi.read_release(src)
    assert (release.root, release.splits) == (str(root), {"1001": "test"})
    assert (root / release.entries[0].path).is_file()


def test_paths_below_retinal_oct_itself_are_found_from_the_root(tmp_path: Path) -> None:
    """A copy whose manifest names files from its own folder, with the people one folder up."""
    root = unpacked(tmp_path / "release", [sound(1), sound(2)], {"1001": "test"})
    old = aireadi.read_release(str(root))
    text = (root / "manifest.tsv").read_text("utf-8-sig").replace("/retinal_oct/", "/")
    (root / "retinal_oct" / "manifest.tsv").write_text(text)
    (root / "manifest.tsv").unlink()
    for src in (root, root / "retinal_oct"):
        assert aireadi.read_release(str(src)) == aireadi.Release(
            str(root),
            old.entries,
            {"1001": "test"},
            ("retinal_oct/manifest.tsv", "participants.tsv"),
            old.split_table,
        )
    (root / "participants.tsv").rename(root / "retinal_oct" / "participants.tsv")
    alone = aireadi.read_release(str(root))
    assert (alone.root, alone.splits) == (str(root / "retinal_oct"), {"1001": "test"})
    assert all((root / "retinal_oct" / entry.path).is_file() for entry in alone.entries)
    assert alone.tables == ("manifest.tsv", "participants.tsv")


@pytest.mark.parametrize(
    "path",
    [
        ".unzip.lock",
        "/.unzip.journal.json",
        "shards/.topcon_triton.lock",
        ".topcon_triton.lock/lease",
        "MANIFEST.tsv",
        "participants.tsv",
        "topcon_triton/plan.json",
        "topcon_triton/train-000000.done.json",
        "topcon_triton\\\\train-000000.rows.parquet",
        "runs/lock",
        "topcon_triton/train-000000.tar",
        ".x.dcm.123.0a1b2c3d.partial",
        ".topcon_triton.sources.json",
    ],
)
def test_a_path_of_our_own_files_is_an_error(path: str) -> None:
    with pytest.raises(UsageError, match=r"m line 2: filepath .* a file of octshard's own; want a scan"):
        aireadi.parse_manifest(table({**VALUES, "filepath": path}), "m")


@pytest.mark.parametrize("path", ["a/._scan.dcm", "block/scan.dcm", "a/clock", "run.json.dcm", "a/plan.dcm"])
def test_other_paths_stay(path: str) -> None:
    assert only(table({**VALUES, "filepath": path})).path == path


def test_axes_are_an_order_of_three_letters_or_nothing() -> None:
    heads = [*HEAD, "axes"]
    assert [only(table({**VALUES, "axes": text}, heads=heads)).axes for text in ("WHD", "n/a")] == ["whd", ""]
    for text in ("xyz", "dhh", "dh", "dhwd"):
        with pytest.raises(
            UsageError, match=rf"^manifest.tsv line 2: axes '{text}', want an order of d \(B-sc"
        ):
            only(table({**VALUES, "axes": text}, heads=heads))


def test_a_manifest_of_three_columns_has_a_device_of_its_own() -> None:
    lines = [
        "person_id\tfilepath\tdevice",
        "P1\tscans/a_od.dcm\tmy_device",
        "P2\ttopcon_triton/P2/b_os.dcm\t",
    ]
    first, second = aireadi.parse_manifest("\n".join(lines), "m")
    assert (first.participant, first.device, first.path, first.eye_in_name) == (
        "P1",
        "my_device",
        "scans/a_od.dcm",
        "R",
    )
    assert second.device == "topcon_triton"  # an empty cell: by the path
    assert only(table({**VALUES, "device": "my_device"}, heads=[*HEAD, "device"])).device == "my_device"


@pytest.mark.parametrize("name", ["..", "a/b", "all", "my device"])
def test_a_device_that_is_no_safe_name_is_an_error_of_its_line(name: str) -> None:
    with pytest.raises(UsageError, match=r"^m line 2: device .* names a folder of DST"):
        aireadi.parse_manifest(f"person_id\tfilepath\tdevice\nP1\ta.dcm\t{name}\n", "m")


def test_protocol_region_and_date_have_columns() -> None:
    head = "person_id\tfilepath\tprotocol\tregion\tdate\tday"
    first, second = aireadi.parse_manifest(
        f"{head}\nP1\ta.dcm\tcube\tMacula\t20230718\t\nP1\tb.dcm\t\t\t\t41\n", "m"
    )
    assert (first.protocol, first.region, first.acquired) == ("cube", "Macula", "2023-07-18")
    assert (second.protocol, second.region, second.acquired) == ("b", "", "41")
    with pytest.raises(UsageError, match=r"m line 2: date '18\.7\.23'"):
        aireadi.parse_manifest(f"{head}\nP1\ta.dcm\t\t\t18.7.23\t\n", "m")


def test_a_manifest_elsewhere_begins_at_the_folder_whatever_that_is_called(tmp_path: Path) -> None:
    root, lists = tmp_path / "retinal_oct", tmp_path / "lists"
    root.mkdir()
    lists.mkdir()
    (lists / "m.tsv").write_text("person_id\tfilepath\nP1\tretinal_oct/P1/a.dcm\nP2\tb.dcm\n")
    (root / "participants.tsv").write_text("person_id\trecommended_split\nP1\ttest\n")
    release = aireadi.read_release(str(root), str(lists / "m.tsv"))
    assert (release.root, release.splits) == (str(root), {"P1": "test"})
    assert [entry.path for entry in release.entries] == ["retinal_oct/P1/a.dcm", "b.dcm"]
    (lists / "participants.tsv").write_text("person_id\trecommended_split\nP1\tval\n")
    assert aireadi.read_release(str(root), str(lists / "m.tsv")).splits == {"P1": "val"}
    assert aireadi.home_of(str(tmp_path)) == ""
    with pytest.raises(UsageError, match=r"none\.tsv: no such manifest; octshard prep index .* writes one"):
        aireadi.read_release(str(root), str(lists / "none.tsv"))


def test_of_a_path_with_a_source_id_nothing_is_used() -> None:
    """Nor a device, which would be a folder of DST; what people write into names may be names."""
    path = "Meierhans/2024-01-02/Meierhans_cube_oct_l_2.25.77.dcm"
    text = f"person_id\tfilepath\tsource_id\tdevice\tprotocol\np1\t{path}\ts1\tunknown\t\n"
    (private,) = aireadi.parse_manifest(text, "m.tsv")
    assert (private.source, private.device, private.protocol) == ("s1", "unknown", "unknown")
    assert (private.sop_instance_uid, private.eye_in_name) == ("", "L")
    with pytest.raises(UsageError, match="no participant"):
        aireadi.parse_manifest(text.replace("p1\t", "\t"), "m.tsv")
    ours = text.replace("unknown", "").replace("Meierhans/", "zeiss_cirrus/")
    assert aireadi.parse_manifest(ours, "m.tsv")[0].device == "zeiss_cirrus"


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        (("s1", ""), "P/b.npy has no source_id, and other files have one"),
        (("s1", "s1"), "source_id s1 is of P/a.npy and of P/b.npy, want one for each file"),
        (("s1", "../x"), r"source_id '../x', want at most 80 of A-Z a-z 0-9 _ . -"),
        (("s1", "s" * 81), "source_id 's{81}', want at most 80"),
    ],
)
def test_every_path_has_a_source_id_of_its_own_or_none_has(cells: tuple[str, str], problem: str) -> None:
    rows = "".join(f"p1\tP/{name}.npy\t{cell}\n" for name, cell in zip("ab", cells, strict=True))
    with pytest.raises(UsageError, match=f"^m.tsv: {problem}"):
        aireadi.parse_manifest(f"person_id\tfilepath\tsource_id\n{rows}", "m.tsv")
