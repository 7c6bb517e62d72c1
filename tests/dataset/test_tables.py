"""Tables go round; a folder that is no dataset says why in one line."""

import dataclasses
import hashlib
import json
import math
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from octshard.dataset import tables
from octshard.dataset.tables import SampleRow, ShardInfo
from octshard.errors import OctshardError, UsageError
from octshard.storage import store


def row(key: str, **changes: object) -> SampleRow:
    values: dict[str, object] = {
        "key": key, "participant": "1001", "device": "topcon_triton", "manufacturer": "Topcon",
        "model": "Triton", "protocol": "macula", "region": "Macula", "eye": "L", "split": "train",
        "source": f"a/{key}.dcm",
    }  # fmt: skip
    return SampleRow(**{**values, **changes})  # type: ignore[arg-type]


STORED = row(
    "b",
    flags=("one", "two"),
    spacing_in=(0.1, 0.2, 0.3),
    shape_out=(3, 4, 5),
    shard="train-000000.tar",
    offset=512,
    mean=1.5,
)
REFUSED = row("a", status="refused", reason="truncated", detail="ends inside (7FE0,0010)")


def dataset(folder: Path) -> Path:
    tables.write_rows(
        f"{folder}/samples.parquet", [STORED, row("c", shard="train-000000.tar", offset=0), REFUSED]
    )
    info = ShardInfo("train-000000.tar", "topcon_triton", "train", 2, 1024, "00")
    tables.write_shards(f"{folder}/shards.parquet", [info])
    tables.write_info(f"{folder}/dataset.json", {"device": "topcon_triton"})
    return folder


def test_rows_go_round(tmp_path: Path) -> None:
    tables.write_rows(f"{tmp_path}/t.parquet", [STORED, REFUSED])
    assert tables.read_rows(f"{tmp_path}/t.parquet") == [STORED, REFUSED]
    first = (tmp_path / "t.parquet").read_bytes()
    tables.write_rows(f"{tmp_path}/t.parquet", [STORED, REFUSED])
    assert (tmp_path / "t.parquet").read_bytes() == first


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("split", None),
        ("status", None),
        ("flags", None),
        ("flags", [None]),
        ("shape_out", [3, 4]),
        ("shard", "../x.tar"),
        ("shard", "x\n.tar"),
        ("spacing_in", []),
    ],
)
def test_a_value_that_no_row_of_ours_holds_names_table_column_and_row(
    column: str, value: object, tmp_path: Path
) -> None:
    url = f"{tmp_path}/t.parquet"
    tables.write_rows(url, [REFUSED, STORED])
    table = pq.read_table(url)
    columns = table.to_pydict()
    columns[column][1] = value
    pq.write_table(pa.table(columns, table.schema), url)
    with pytest.raises(OctshardError) as caught:
        tables.read_rows(url)
    assert f"t.parquet: {column} of row 1 is {value!r}, want a whole value" in str(caught.value)


def test_lengths_that_are_none_are_not_known() -> None:
    spacing = (1.0, 0.004, 0.02)
    told, nan = row("a", spacing_out=spacing, assumed_spacing=0, slice_axis=""), math.nan
    assert told.known_spacing == told.lengths(told.spacing_out) == spacing
    slices = dataclasses.replace(told, slice_axis="degrees")
    assert slices.lengths(spacing) == pytest.approx((nan, 0.004, 0.02), nan_ok=True)
    for other in (dataclasses.replace(told, assumed_spacing=1), dataclasses.replace(told, spacing_out=None)):
        assert other.lengths(other.spacing_out) == pytest.approx((nan, nan, nan), nan_ok=True)
        assert other.known_spacing is None
    assert slices.known_spacing is None


def test_a_shard_without_a_size_is_no_row(tmp_path: Path) -> None:
    url = f"{tmp_path}/t.parquet"
    tables.write_shards(url, [ShardInfo("train-000000.tar", "topcon_triton", "train", 2, 1024, "00")])
    table = pq.read_table(url)
    pq.write_table(table.set_column(4, "bytes", pa.nulls(1, pa.int64())), url)
    with pytest.raises(OctshardError, match="bytes of row 0 is None"):
        tables.read_shards(url)


def test_a_table_of_0_1_0_lacks_the_later_columns_and_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    tables.write_rows(
        str(path), [dataclasses.replace(STORED, split_source="hash", retina_found=0.5, format="npy"), REFUSED]
    )
    columns = tables.read_table(str(path))
    tables.write_rows(str(path), [STORED, REFUSED])
    table = pq.read_table(path).drop_columns(["split_source", "retina_found", "format"])
    pq.write_table(table, path)
    assert (columns["split_source"], columns["retina_found"]) == (["hash", ""], [0.5, None])
    assert columns["format"] == ["npy", ""]
    assert tables.read_rows(str(path)) == [STORED, REFUSED]


def test_an_empty_table_keeps_its_columns(tmp_path: Path) -> None:
    tables.write_rows(f"{tmp_path}/t.parquet", [])
    assert tables.read_rows(f"{tmp_path}/t.parquet") == []


def test_a_dataset_lists_its_samples_as_they_lie(tmp_path: Path) -> None:
    opened = tables.open_dataset(str(dataset(tmp_path)))
    assert [r.key for r in opened.samples("train")] == ["c", "b"]
    assert opened.samples("val") == []
    assert opened.refused == [REFUSED]


def test_free_tables_go_round(tmp_path: Path) -> None:
    tables.write_table(f"{tmp_path}/truth.parquet", {"x": [1, 2], "mask": [b"a", b"b"]})
    assert tables.read_table(f"{tmp_path}/truth.parquet") == {"x": [1, 2], "mask": [b"a", b"b"]}


def test_what_is_no_dataset_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="found nothing, want a folder made by octshard prep shard"):
        tables.open_dataset(str(tmp_path / "absent"))
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(UsageError, match="build is not finished"):
        tables.open_dataset(str(tmp_path))
    dataset(tmp_path / "inner")
    with pytest.raises(UsageError, match=r"for example .*inner"):
        tables.open_dataset(str(tmp_path))


def test_another_format_version_is_one_line(tmp_path: Path) -> None:
    dataset(tmp_path)
    info = json.loads((tmp_path / "dataset.json").read_text())
    (tmp_path / "dataset.json").write_text(json.dumps({**info, "format": 99}))
    with pytest.raises(UsageError, match="format 99, want 2"):
        tables.open_dataset(str(tmp_path))


def test_tables_that_disagree_or_are_cut_are_errors(tmp_path: Path) -> None:
    info = tables.read_info(str(dataset(tmp_path)))
    tables.write_rows(f"{tmp_path}/samples.parquet", [STORED])
    tables.write_info(f"{tmp_path}/dataset.json", info)
    with pytest.raises(OctshardError, match=r"holds 2 samples, but samples.parquet lists 1"):
        tables.open_dataset(str(tmp_path))
    whole = (tmp_path / "samples.parquet").read_bytes()
    (tmp_path / "samples.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(OctshardError, match="not a whole Parquet file"):
        tables.read_rows(f"{tmp_path}/samples.parquet")


@pytest.mark.parametrize("name", ["samples.parquet", "shards.parquet"])
def test_a_table_that_changed_since_dataset_json_is_an_error(tmp_path: Path, name: str) -> None:
    digests = json.loads((dataset(tmp_path) / "dataset.json").read_text())["sha256"]
    assert digests == {n: hashlib.sha256((tmp_path / n).read_bytes()).hexdigest() for n in digests}
    assert set(digests) == {"samples.parquet", "shards.parquet"}
    whole = (tmp_path / name).read_bytes()
    for position in range(0, len(whole), 97):
        (tmp_path / name).write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(OctshardError, match=f"{name}: sha256 .* want {digests[name]} as in dataset.json"):
            tables.open_dataset(str(tmp_path))


@pytest.mark.parametrize("digests", [None, [], {"samples.parquet": ""}])
def test_a_dataset_of_an_earlier_version_has_no_digests(tmp_path: Path, digests: object) -> None:
    info = json.loads((dataset(tmp_path) / "dataset.json").read_text())
    info = (
        {**info, "sha256": digests}
        if digests is not None
        else {k: v for k, v in info.items() if k != "sha256"}
    )
    (tmp_path / "dataset.json").write_text(json.dumps(info))
    assert len(tables.open_dataset(str(tmp_path)).rows) == 3


def test_a_damaged_table_is_one_line_whatever_bit_is_flipped() -> None:
    """Or changes nothing that is read; Arrow itself raises this and that, and once read text as bytes."""
    url = "memory://manifest-damaged/t.parquet"
    info = ShardInfo("train-000000.tar", "topcon_triton", "train", 2, 1024, "00")
    tables.write_shards(url, [info])
    whole, messages = store.read(url), set()
    for position in range(len(whole)):
        data = bytearray(whole)
        data[position] ^= (0x80, 0x20, 0x01)[position % 3]
        store.write(url, bytes(data))
        try:
            shards = tables.read_shards(url)
        except OctshardError as error:
            assert "\n" not in str(error)  # noqa: PT017 (the other outcome is allowed too)
            messages.add(str(error).split("(")[0])
        else:
            assert all(isinstance(shard.name, str) and isinstance(shard.samples, int) for shard in shards)
    assert len(messages) > 1


def test_a_column_of_another_type_is_named(tmp_path: Path) -> None:
    table = {
        "name": [b"a"],
        "device": ["d"],
        "split": ["train"],
        "samples": [1],
        "bytes": [1],
        "sha256": [""],
    }
    tables.write_table(f"{tmp_path}/shards.parquet", table)
    with pytest.raises(OctshardError, match=r"shards.parquet: name is binary, want string"):
        tables.read_shards(f"{tmp_path}/shards.parquet")


def test_the_readme_explains_every_column() -> None:
    text = (Path(__file__).parents[2] / "manifests" / "README.md").read_text()
    table = text.split("## samples.parquet", 1)[1].split("\n## ", 1)[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| ")]
    explained = {name.strip() for cell in cells for name in cell.split(",")}
    assert {field.name for field in dataclasses.fields(SampleRow)} == explained - {"column"}


def test_a_process_that_has_read_tables_ends_with_its_own_exit_code(tmp_path: Path) -> None:
    """Arrow's threads must not hold Python objects when the interpreter ends: now and then it would abort."""
    tables.write_rows(f"{tmp_path}/{tables.SAMPLES}", [])
    tables.write_shards(f"{tmp_path}/{tables.SHARDS}", [])
    tables.write_info(f"{tmp_path}/{tables.INFO}", {})
    script = "import sys; from octshard.dataset import tables; tables.open_dataset(sys.argv[1]); sys.exit(2)"
    command = [sys.executable, "-c", script, str(tmp_path)]
    for _ in range(2):
        processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(6)]
        assert [(process.communicate()[1], process.returncode) for process in processes] == [(b"", 2)] * 6
