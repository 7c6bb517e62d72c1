"""Which map belongs to which scan: by pattern, by table; two scans never share one."""

from dataclasses import replace

import pytest

from octshard.config.dense import MapConfig
from octshard.dataset.tables import SampleRow
from octshard.errors import UsageError
from octshard.eval.dense import map_names

ROWS = [
    SampleRow(
        f"k{i}", "007", "d", "m", "m", "p", "Macula", eye, "train", f"x/{i}.dcm", sop_instance_uid=f"2.{i}"
    )
    for i, eye in enumerate("LR")
]


@pytest.fixture
def cfg(tmp_path) -> MapConfig:
    for name in ("k0.npy", "2.1.nii.gz", "x/0.dcm.npy", "007_L.npy", "007_R.npy"):
        (tmp_path / "maps" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "maps" / name).touch()
    return MapConfig(folder=str(tmp_path / "maps"))


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("{key}.npy", {"k0": "k0.npy"}),
        ("{sop_instance_uid}.nii.gz", {"k1": "2.1.nii.gz"}),
        ("{source}.npy", {"k0": "x/0.dcm.npy"}),
        ("{participant}_{eye}.npy", {"k0": "007_L.npy", "k1": "007_R.npy"}),
    ],
)
def test_a_pattern_names_the_maps_that_are_there(cfg, pattern, names):
    urls = {key: f"{cfg.folder}/{name}" for key, name in names.items()}
    assert map_names.names_of(ROWS, replace(cfg, pattern=pattern)) == urls


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("mask.npy", "want {NAME} in it, with NAME one of key, sop_instance_uid"),
        ("{kye}.npy", "want {NAME} in it"),
        ("{key", "pattern={key: "),
        ("{key!r}.npy", "want plain {NAME}, without a format"),
        ("{participant}.npy", "k0 and k1 would both have 007.npy, want one map for each scan"),
        ("{key}.png", "map k0.png of k0: want one that ends in .npy, .nii, .nii.gz"),
        ("{key}.nii", "none of 2 scans has one, want for example .*k0.nii"),
    ],
)
def test_a_pattern_that_cannot_be_is_said(cfg, pattern, message):
    with pytest.raises(UsageError, match=message):
        map_names.names_of(ROWS, replace(cfg, pattern=pattern))


def test_no_folder_is_said():
    with pytest.raises(UsageError, match="folder of maps: not set"):
        map_names.names_of(ROWS, MapConfig())


def table(cfg: MapConfig, text: str) -> MapConfig:
    path = cfg.folder + "/../maps.tsv"
    with open(path, "w") as file:
        file.write(text)
    return replace(cfg, table=path)


def test_a_table_joins_by_any_of_the_columns(cfg):
    by_key = map_names.names_of(ROWS, table(cfg, "key\tmap\nk1\tk0.npy\n"))
    assert by_key == {"k1": f"{cfg.folder}/k0.npy"}
    text = "participant\teye\tmap\tnote\n7.0\tR\t007_R.npy\tfine\n8\tL\tother.npy\t\n"
    assert map_names.names_of(ROWS, table(cfg, text)) == {"k1": f"{cfg.folder}/007_R.npy"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("key\tmask\nk0\tk0.npy\n", "columns key, mask, want map and some of key"),
        ("", "columns none, want map"),
        ("key\tmap\nk0\tk0.npy\nk0\t007_L.npy\n", "k0 has k0.npy and 007_L.npy, want one map"),
        ("participant\tmap\n7\tk0.npy\n", "k0 and k1 would both have k0.npy"),
        ("key\tmap\nk0\tgone.npy\n", "gone.npy of k0 is not in .*maps, want every file it lists"),
        ("key\tmap\nk9\tk0.npy\n", "none of 2 scans has one"),
    ],
)
def test_a_table_that_cannot_be_is_said(cfg, text, message):
    with pytest.raises(UsageError, match=message):
        map_names.names_of(ROWS, table(cfg, text))


def test_a_table_that_is_not_there_is_said(cfg):
    with pytest.raises(UsageError, match="no such file, want a tab-separated table"):
        map_names.names_of(ROWS, replace(cfg, table="nowhere.tsv"))
