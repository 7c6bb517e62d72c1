"""Checkpoints compared as they are: their features are encoded once, and are those of eval embed."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from octshard.config.eval import CompareConfig, EmbedConfig, ProbeConfig
from octshard.errors import UsageError
from octshard.eval import embed, extraction, feature_table
from octshard.eval.comparison.command import compare
from tests.eval.test_linear_probe import MODEL, eyes, write_checkpoint  # noqa: F401 (a fixture)

Make = Callable[..., CompareConfig]


@pytest.fixture(scope="module")
def runs(eyes: ProbeConfig) -> list[str]:  # noqa: F811
    """Two run folders of other weights."""
    other = str(Path(eyes.checkpoint).parent / "other")
    write_checkpoint(other, seed=2)
    return [eyes.checkpoint, other]


@pytest.fixture(scope="module")
def cfg(eyes: ProbeConfig, runs: list[str], tmp_path_factory: pytest.TempPathFactory) -> CompareConfig:  # noqa: F811
    return CompareConfig(
        checkpoint=runs, shards=eyes.shards, participants=eyes.participants, label="state", device="cpu",
        out=str(tmp_path_factory.mktemp("compare")), regularisation=[0.1], bootstrap=20, shuffles=3,
        random_draws=2,
    )  # fmt: skip


def no_encoding(*_: object) -> None:
    raise AssertionError("everything is there already")


def test_checkpoints_are_compared_as_their_tables_are(
    cfg: CompareConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = compare(cfg)
    names = ["run-step-00000001", "other-step-00000001", "random-init"]
    assert [arm.name for arm in result.arms[:3]] == names
    assert len(result.arms[2].of_seeds) == 2
    assert [info.checkpoint.split("/")[-3] for info in result.origins["other-step-00000001"]] == ["other"]
    assert sum("pretrained on" in note for note in result.notes) == 2
    assert json.loads((Path(cfg.out) / "compare.json").read_text())["notes"] == list(result.notes)

    table = str(tmp_path / "table")
    embed.embed(
        EmbedConfig(
            checkpoint=cfg.checkpoint, shards=cfg.shards, participants=cfg.participants, device="cpu",
            random_draws=2, out=table,
        )
    )  # fmt: skip
    by_table = compare(
        dataclasses.replace(
            cfg, checkpoint=[], shards=[], features=[table], out=str(tmp_path / "out"),
            sources=[*names, "random-init-2"],
        )
    )  # fmt: skip
    assert by_table.arms[0].of_seeds == result.arms[0].of_seeds
    assert [pair.p for pair in by_table.pairs] == [pair.p for pair in result.pairs]

    monkeypatch.setattr(extraction, "_compute", no_encoding)
    named = compare(dataclasses.replace(cfg, names=["ours", "ours"]))  # the same features, as seeds of one
    assert [arm.name for arm in named.arms[:2]] == ["ours", "random-init"]
    assert named.arms[0].of_seeds == result.arms[0].of_seeds + result.arms[1].of_seeds


def test_a_checkpoint_that_was_written_anew_is_encoded_anew(cfg: CompareConfig, tmp_path: Path) -> None:
    """Its older features stay in the table under the same name, and are not taken."""
    run, out = str(tmp_path / "run"), str(tmp_path / "out")
    again = dataclasses.replace(cfg, random_draws=0, checkpoint=[run], out=out)
    write_checkpoint(run, seed=3)
    first = compare(again)
    write_checkpoint(run, seed=4)
    second = compare(again)
    table = feature_table.read(f"{out}/features")
    assert [info.source for info in table.infos.values()] == ["run-step-00000001"] * 2
    digests = [result.origins["run-step-00000001"][0].checkpoint_digest for result in (first, second)]
    assert digests[0] != digests[1]
    assert len(second.arms) == 1


def test_features_are_those_of_their_checkpoint_whatever_the_list(
    cfg: CompareConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run folders are called alike, so that a source is called by its place in the list."""
    runs = {"A": str(tmp_path / "a/run"), "B": str(tmp_path / "b/run")}
    for seed, run in enumerate(runs.values(), 3):
        write_checkpoint(run, seed=seed)
    base = dataclasses.replace(cfg, random_draws=0, out=str(tmp_path / "out"))

    def scores_of(names: str) -> dict[str, tuple[float, ...]]:
        result = compare(dataclasses.replace(base, checkpoint=[runs[n] for n in names], names=list(names)))
        for name in names:
            assert runs[name] in result.origins[name][0].checkpoint
        return {name: runs_of.of_seeds for name, runs_of in zip(names, result.arms, strict=False)}

    first = scores_of("AB")
    assert first["A"] != first["B"]
    monkeypatch.setattr(extraction, "_compute", no_encoding)
    assert scores_of("BA") == first
    assert scores_of("A")["A"] == first["A"]
    monkeypatch.undo()
    alone = dataclasses.replace(base, checkpoint=[runs["B"]], out=str(tmp_path / "other"))
    compare(alone)
    base = dataclasses.replace(base, out=alone.out)
    assert scores_of("AB") == first


def test_random_encoders_of_another_form_are_said_to_be_no_control(
    cfg: CompareConfig, tmp_path: Path
) -> None:
    write_checkpoint(str(tmp_path / "wide"), seed=4, model=dataclasses.replace(MODEL, width=48))
    both = [cfg.checkpoint[0], str(tmp_path / "wide")]
    result = compare(
        dataclasses.replace(cfg, checkpoint=both, names=["one", "wide"], out=str(tmp_path / "out"))
    )
    assert result.notes[-3].startswith(
        "random-init has the form of one alone, so that it is no control of wide;"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": ["x"]}, "features, checkpoint: both are set, want one"),
        ({"checkpoint": [], "features": ["x"]}, "shards: checkpoints read them, and checkpoint is not set"),
        ({"checkpoint": []}, r"features: not set, want .* or checkpoint=\[RUN\]"),
        ({"shards": []}, "shards: not set"),
        ({"sources": ["x"]}, "sources: it chooses among features"),
        ({"names": ["x"]}, "names: 1 for 2 checkpoints, want one for each"),
        ({"names": ["x", "random-init"]}, "names: 'random-init' is empty or called as a control is"),
        ({"names": ["", "x"]}, "names: '' is empty or called as a control is"),
        ({"layer": "9"}, "layer=9: run-step-00000001 has 1 blocks"),
    ],
)
def test_what_cannot_be_is_one_line_before_anything_is_encoded(
    cfg: CompareConfig,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, object],
    message: str,
) -> None:
    monkeypatch.setattr(extraction, "_compute", no_encoding)
    with pytest.raises(UsageError, match=message):
        compare(dataclasses.replace(cfg, **changes))  # type: ignore[arg-type]
