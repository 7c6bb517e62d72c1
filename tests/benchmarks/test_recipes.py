"""The recipe table: rows are kept one by one and never made twice; the winner is the rule's."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def recipes() -> Iterator[Any]:
    """benchmarks/recipes.py and its parts, by their names."""
    sys.path.insert(0, str(BENCHMARKS))
    before = set(sys.modules)
    try:
        import recipe_data
        import recipe_rows
        import recipe_scores
        import recipe_table

        yield type("Parts", (), {"data": recipe_data, "rows": recipe_rows, "scores": recipe_scores,
                                 "table": recipe_table})  # fmt: skip
    finally:
        sys.path.remove(str(BENCHMARKS))
        for name in set(sys.modules) - before:
            if name.startswith(("recipe", "table", "command")):
                del sys.modules[name]


def outcome(recipes: Any, right: float, rng: np.random.Generator) -> Any:
    """Of 160 people in four classes; right: how far the true class stands out."""
    class_P = np.arange(160) % 4
    chance_PC = np.exp(rng.normal(size=(160, 4)) + right * np.eye(4)[class_P])
    chance_PC /= chance_PC.sum(1, keepdims=True)
    thickness_P = 30 + class_P + rng.normal(size=160)
    return recipes.scores.Outcome(
        class_P.tolist(), thickness_P.tolist(), chance_PC.tolist(), rng.normal(30, 1, 160).tolist()
    )


def row(recipes: Any, recipe: str, seed: int, right: float = 1.0, budget: str = "samples") -> Any:
    rng = np.random.default_rng([seed, sum(map(ord, recipe + budget))])
    made = outcome(recipes, right, rng)
    return recipes.rows.Row(
        recipe, budget, seed, f"{recipe}-{budget}-{seed}", 160, 1.5, {"skill": 0.25}, made
    )


class Spec:
    """As make_rows takes it."""

    def __init__(self, recipe: str, seed: int) -> None:
        self.recipe, self.seed, self.digest = recipe, seed, f"{recipe}-samples-{seed}"


def test_rows_are_kept_as_they_are_made_and_a_second_call_makes_the_others(
    recipes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def make(specs: Sequence[Spec], workers: int) -> Iterator[Any]:
        for spec in specs:
            if len(made) == 2:
                raise KeyboardInterrupt
            made.append(spec.digest)
            yield row(recipes, spec.recipe, spec.seed)

    monkeypatch.setattr(recipes.rows, "_made", make)
    specs = [Spec(name, seed) for seed in (0, 1) for name in ("a", "b")]
    plan = recipes.rows.Plan(tmp_path, None, 160, 2, 1, 10)
    with pytest.raises(KeyboardInterrupt):
        recipes.rows.make_rows(plan, specs)
    assert made == ["a-samples-0", "b-samples-0"]
    assert [kept.digest for kept in recipes.rows.read_rows(tmp_path)] == made
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write('{"recipe": "a", "bud')  # the power went while a third was written
    made.clear()
    rows = recipes.rows.make_rows(plan, specs)
    assert made == ["a-samples-1", "b-samples-1"]
    assert rows == [row(recipes, spec.recipe, spec.seed) for spec in specs]
    made.clear()
    assert recipes.rows.make_rows(plan, specs) == rows
    assert made == []


def test_the_numbers_are_those_of_a_plain_count(recipes: Any) -> None:
    made = outcome(recipes, 1.0, np.random.default_rng(0))
    weight_RP = recipes.scores.resamples(made, 3)
    assert weight_RP[0].tolist() == [1] * 160
    y_P, p_PC = np.array(made.class_P), np.array(made.chance_PC)
    for r, weight_P in enumerate(weight_RP):
        drawn = np.repeat(np.arange(160), weight_P)
        wins = [
            np.mean([[(a > b) + (a == b) / 2 for b in p_PC[drawn[y_P[drawn] != c], c]]
                     for a in p_PC[drawn[y_P[drawn] == c], c]])
            for c in range(4)
        ]  # fmt: skip
        assert recipes.scores.aurocs(made, weight_RP)[r] == pytest.approx(np.mean(wins))
        y, z = np.array(made.thickness_P)[drawn], np.array(made.predicted_P)[drawn]
        by_hand = 1 - ((z - y) ** 2).sum() / ((y - y.mean()) ** 2).sum()
        assert recipes.scores.r2s(made, weight_RP)[r] == pytest.approx(by_hand)


@pytest.mark.parametrize(
    ("rows", "winner", "number", "text"),
    [
        ([("vjepa2", 1.0), ("mae", 3.0)], "mae", "AUROC", "better than vjepa2 by"),
        ([("vjepa2", 1.0), ("mae", 1.0)], "vjepa2", "", "no recipe is better than vjepa2: it stays"),
        ([("vjepa2", 3.0), ("mae", 1.0)], "vjepa2", "", "no recipe is better"),
        ([("vjepa2", 1.0), ("mae", 3.0), ("mae", 0.1, "FLOPs")], "vjepa2", "", "no recipe is better"),
        ([("vjepa2", 1.0), ("raw intensities", 3.0, "none")], "vjepa2", "", "does not beat raw intensities"),
        ([("mae", 3.0)], "vjepa2", "", "the default has no row"),
    ],
)
def test_the_winner_is_the_rules(
    recipes: Any, rows: list[tuple], winner: str, number: str, text: str
) -> None:
    made = [row(recipes, each[0], seed, *each[1:]) for each in rows for seed in range(3)]
    scores = {name: recipes.table.scores_of(made, name, 200) for name in recipes.table.NUMBERS}
    verdict = recipes.table.verdict(scores, "vjepa2")
    assert (verdict.winner, verdict.number) == (winner, number)
    assert text in verdict.text


def test_a_rate_holds_that_loses_no_skill_on_its_way(recipes: Any) -> None:
    rows = [row(recipes, f"lr {rate}", 0) for rate in ("1e-4", "1e-3", "1e-2")]
    losses = [{"skill": 0.3, "best_skill": 0.32}, {"skill": -0.4, "best_skill": 0.1}, {}]
    made = [dataclasses.replace(each, losses=found) for each, found in zip(rows, losses, strict=True)]
    (table,) = recipes.table.lr_tables(made)
    assert [(line[0], line[-1]) for line in table.rows] == [("1e-4", "yes"), ("1e-3", "no"), ("1e-2", None)]


def test_a_difference_within_the_seeds_is_none(recipes: Any) -> None:
    steady = recipes.table.Scores(np.full((3, 50), 0.8))
    shaky = recipes.table.Scores(np.array([0.7, 0.8, 1.0])[:, None] + np.zeros((3, 50)))
    assert shaky.mean.value > steady.mean.value
    assert not shaky.is_better(steady)
    assert recipes.table.Scores(steady.value_SR + 0.01).is_better(steady)


def test_a_quarter_of_each_group_is_test(recipes: Any, tmp_path: Path) -> None:
    lines = [f"{1000 + i}\tgroup{i % 4}\ttrain" for i in range(640)]
    file = tmp_path / "participants.tsv"
    file.write_text("\n".join(["\ufeffparticipant_id\tstudy_group\trecommended_split", *lines]) + "\n")
    for _ in range(2):  # once more changes nothing
        recipes.data.split_anew(file)
    rows = [line.split("\t") for line in file.read_text().splitlines()[1:]]
    for group in range(4):
        splits = [split for _, name, split in rows if name == f"group{group}"]
        assert [splits.count(name) for name in ("train", "val", "test")] == [100, 20, 40]


@pytest.mark.slow
def test_a_second_call_makes_no_row_again(tmp_path: Path) -> None:
    """A run, the encoder at random and raw intensities, of 48 people."""
    work = tmp_path / "work"
    words = [
        "--quick",
        "--only",
        "recipes",
        "--recipe",
        "vjepa2, blocks",
        "--samples",
        "16",
        "--work",
        str(work),
    ]
    answers = []
    for file in (tmp_path / "one.json", tmp_path / "two.json"):
        command = [sys.executable, str(BENCHMARKS / "recipes.py"), *words, "--json", str(file)]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        assert process.returncode == 0, process.stderr
        answers.append(
            (process.stderr, json.loads(file.read_text())["tables"], (work / "rows.jsonl").read_text())
        )
    (first, tables, rows), (second, same_tables, same_rows) = answers
    assert "3 rows, 0 are there" in first
    assert "3 rows, 3 are there; the others take 0 CPU s" in second
    assert (same_tables, same_rows) == (tables, rows)
    assert len(rows.splitlines()) == 3
