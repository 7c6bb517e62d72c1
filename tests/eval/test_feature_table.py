"""The folder of features: columns to join, rows that belong together, and nothing damaged that is used."""

import dataclasses

import numpy as np
import pytest

from octshard.dataset.tables import SampleRow, read_table
from octshard.errors import OctshardError, UsageError
from octshard.eval import feature_table
from octshard.eval.feature_table import FeatureInfo, Features, Scan, scan_of

ROW = SampleRow(
    "k1", "1001", "topcon_triton", "Topcon", "Triton", "macula", "Macula", "L", "test", "a/b.dcm",
    shape_out=(64, 496, 512), spacing_out=(0.1, 0.004, 0.012), sha256="ab",
)  # fmt: skip
SCANS = (scan_of(ROW, "UW"), Scan("k2", "1002", split="train", sha256="cd"))
INFO = FeatureInfo("pretrained", "last", "mean_std", "whole", "bf16", "run/step.pt", "f00d", 7)


def test_a_spacing_that_is_none_is_none():
    for changes in ({"assumed_spacing": 1}, {"slice_axis": "degrees"}):
        assert scan_of(dataclasses.replace(ROW, **changes)).spacing is None


def table(folder, *infos: FeatureInfo) -> dict[str, Features]:
    """A folder with such features, by digest."""
    feature_table.write_scans(str(folder), SCANS)
    made = {}
    for n, info in enumerate(infos):
        features = Features(("k1", "k2"), np.full((2, 3), n, np.float32), f"{n:016}", info)
        url = str(folder / feature_table.file_name(info, features.digest))
        feature_table.write_features(url, features, feature_table.scans_digest(SCANS))
        made[features.digest] = features
    return made


def test_the_columns_to_join_by_are_those_of_the_sample_table(tmp_path):
    table(tmp_path)
    columns = read_table(str(tmp_path / "scans.parquet"))
    assert {name: values[0] for name, values in columns.items()} == {
        "key": "k1", "participant": "1001", "eye": "L", "device": "topcon_triton", "manufacturer": "Topcon",
        "model": "Triton", "protocol": "macula", "region": "Macula", "site": "UW", "split": "test",
        "source": "a/b.dcm", "sop_instance_uid": "", "shape": [64, 496, 512],
        "spacing": [0.1, 0.004, 0.012], "sha256": "ab",
    }  # fmt: skip
    assert feature_table.read(str(tmp_path)).scans == SCANS


def test_features_are_found_by_source_layer_and_pooling(tmp_path):
    infos = (
        INFO, dataclasses.replace(INFO, layer="4"), dataclasses.replace(INFO, pooling="max"),
        FeatureInfo("raw-intensity", view="whole"),
    )  # fmt: skip
    made = table(tmp_path, *infos)
    stored = feature_table.read(str(tmp_path))
    assert stored.infos == {digest: features.info for digest, features in made.items()}
    found = [
        stored.find("pretrained"), stored.find("pretrained", "4"), stored.find("pretrained", pooling="max"),
        stored.find("raw-intensity"),
    ]  # fmt: skip
    assert [features.values_NF[0, 0] for features in found] == [0, 1, 2, 3]
    assert [features.info for features in found] == list(infos)
    with pytest.raises(UsageError, match=r"no features pretrained-8-mean_std.*there are: pretrained-4-mean"):
        stored.find("pretrained", "8")
    table(tmp_path, *infos, dataclasses.replace(INFO, step=8))
    with pytest.raises(UsageError, match="2 features pretrained-last-mean_std, want one"):
        feature_table.read(str(tmp_path)).find("pretrained")


def test_a_folder_without_a_table_is_the_users_fault(tmp_path):
    with pytest.raises(UsageError, match="want a folder made by octshard eval embed"):
        feature_table.read(str(tmp_path))


def test_other_scans_do_not_replace_a_table(tmp_path):
    table(tmp_path)
    before = (tmp_path / "scans.parquet").read_bytes()
    feature_table.write_scans(str(tmp_path), SCANS)
    assert (tmp_path / "scans.parquet").read_bytes() == before
    for others in (SCANS[:1], SCANS[::-1], (SCANS[0], dataclasses.replace(SCANS[1], sha256="ef"))):
        with pytest.raises(UsageError, match="holds the features of 2 other scans"):
            feature_table.write_scans(str(tmp_path), others)
    with_site = (SCANS[0], dataclasses.replace(SCANS[1], site="UW"))
    feature_table.write_scans(str(tmp_path), with_site)  # no other voxels
    assert feature_table.read(str(tmp_path)).scans == with_site


def test_a_damaged_table_is_written_again_and_damaged_features_are_not_read(tmp_path):
    table(tmp_path, INFO)
    path = tmp_path / "scans.parquet"
    before = path.read_bytes()
    path.write_bytes(before[:-9])
    feature_table.write_scans(str(tmp_path), SCANS)
    assert path.read_bytes() == before
    (tensor_file,) = tmp_path.glob("*.safetensors")
    tensor_file.write_bytes(tensor_file.read_bytes()[:-1] + b"x")
    with pytest.raises(OctshardError, match=r"damaged; run the same octshard eval embed again"):
        feature_table.read(str(tmp_path)).find("pretrained")
