"""What the rows of recipes.py say: a line for each recipe, differences, and the winner by the rule."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from recipe_rows import FLOPS, NONE, RAW, SAMPLES, PlannedRows, Row
from recipe_scores import Outcome, aurocs, r2s, resamples
from table import Table

from octshard.probes.scores import Estimate, estimate

Number = Callable[[Outcome, np.ndarray], np.ndarray]
NUMBERS: dict[str, Number] = {"AUROC": aurocs, "R2": r2s}
Key = tuple[str, str]  # recipe, budget


@dataclass(frozen=True, eq=False)
class Scores:
    """One number of a recipe. value_SR: of each seed, for everybody (R = 0) and in each resample."""

    value_SR: np.ndarray

    @property
    def mean(self) -> Estimate:
        """Over seeds, with its interval over people."""
        mean_R = self.value_SR.mean(0)
        return estimate(float(mean_R[0]), mean_R[1:])

    @property
    def spread(self) -> float:
        """Standard deviation over seeds; nan for one."""
        return float(self.value_SR[:, 0].std(ddof=1)) if len(self.value_SR) > 1 else float("nan")

    def above(self, other: "Scores") -> Estimate:
        """Its mean over seeds less that of `other`, over the same resamples of people."""
        gain_R = self.value_SR.mean(0) - other.value_SR.mean(0)
        return estimate(float(gain_R[0]), gain_R[1:])

    def is_better(self, other: "Scores") -> bool:
        """By part 1 of the rule: beyond people and beyond seeds."""
        gain = self.above(other)
        error = sum(np.nan_to_num(s.spread) ** 2 / len(s.value_SR) for s in (self, other)) ** 0.5
        return gain.low > 0 and gain.value > 2 * error


@dataclass(frozen=True)
class Verdict:
    """The winner, the number that decided (empty: none did), and the whole sentence."""

    winner: str
    number: str
    text: str


FALL = 0.05  # of skill: a rate whose run loses more on its way does not hold
PARTS = ("", " over people", " sd of seeds", " - default")


def tables(rows: Sequence[Row], planned: PlannedRows, default: str, bootstrap: int) -> list[Table]:
    """The rows by recipe and budget, the recipes that have none, and the verdict."""
    scores = {name: scores_of(rows, name, bootstrap) for name in NUMBERS}
    by_key = _by_key(rows)
    head = ("recipe", "equal", "seeds", "samples", "GFLOP a sample", "CPU s a run",
            *(number + part for number in NUMBERS for part in PARTS), "skill")  # fmt: skip
    lines = []
    for key, members in by_key.items():
        name, budget = key
        numbers = [cell for number in NUMBERS for cell in _cells(scores[number], key, (default, SAMPLES))]
        skills = [row.losses["skill"] for row in members if "skill" in row.losses]
        trained = budget != NONE
        lines.append(
            (name, budget, len(members), members[0].samples if trained else None,
             planned.gflop.get(name) if trained else None, _mean([row.cpu_s for row in members]), *numbers,
             _mean(skills))
        )  # fmt: skip
    lines += [
        (name, None, 0, *[None] * (len(head) - 4), f"skipped: {why}") for name, why in planned.skipped.items()
    ]
    result = verdict(scores, default)
    people = len(rows[0].outcome.class_P) if rows else 0
    title = f"recipes: frozen features of {people} test people, mean and standard deviation over tokens"
    won = Table(
        "by the rule", ("winner", "decided by", "verdict"), ((result.winner, result.number, result.text),)
    )
    return [Table(title, head, tuple(lines)), won]


def lr_tables(rows: Sequence[Row]) -> list[Table]:
    """Losses of each rate and seed, and whether it holds."""
    head = ("rate", "seed", "samples", "val loss", "position only", "skill", "best skill",
            "highest loss after warm-up", "AUROC", "holds")  # fmt: skip
    lines = []
    for row in rows:
        loss, level = row.losses.get("val_loss"), row.losses.get("val_loss_position_only")
        auroc = float(aurocs(row.outcome, resamples(row.outcome, 0))[0])
        skill, best, highest = (row.losses.get(name) for name in ("skill", "best_skill", "highest_loss"))
        holds = None if skill is None or best is None else "yes" if skill >= best - FALL else "no"
        rate = row.recipe.removeprefix("lr ")
        lines.append((rate, row.seed, row.samples, loss, level, skill, best, highest, auroc, holds))
    return [Table("learning rates at 12 blocks", head, tuple(lines))]


def scores_of(rows: Sequence[Row], number: str, bootstrap: int) -> dict[Key, Scores]:
    """By recipe and budget."""
    weight_RP = resamples(rows[0].outcome, bootstrap) if rows else np.ones((1, 0), np.int64)
    return {
        key: Scores(np.stack([NUMBERS[number](row.outcome, weight_RP) for row in members]))
        for key, members in _by_key(rows).items()
    }


def verdict(scores: Mapping[str, Mapping[Key, Scores]], default: str) -> Verdict:
    """The rule of recipes.py, word for word."""
    trained = [name for name, budget in scores["AUROC"] if budget == SAMPLES]
    if default not in trained:
        return Verdict(default, "", "the default has no row, so that nothing is compared")
    candidates = trained
    for number in NUMBERS:
        winner = _winner(scores[number], candidates, default)
        if winner is not None:
            return _said(scores[number], winner, default, number)
        best = {name: scores[number][name, SAMPLES] for name in candidates}
        candidates = [n for n in candidates if not any(other.is_better(best[n]) for other in best.values())]
    return _said(scores["AUROC"], default, default, "")


def _winner(scores: Mapping[Key, Scores], candidates: Sequence[str], default: str) -> str | None:
    base = scores[default, SAMPLES]
    best = max(candidates, key=lambda name: scores[name, SAMPLES].mean.value)
    at_flops = scores.get((best, FLOPS))
    holds = at_flops is None or at_flops.mean.value >= base.mean.value
    return best if scores[best, SAMPLES].is_better(base) and holds else None


def _said(scores: Mapping[Key, Scores], winner: str, default: str, number: str) -> Verdict:
    own = scores[winner, SAMPLES]
    if winner == default:
        text = f"no recipe is better than {default}: it stays"
    else:
        gain = own.above(scores[default, SAMPLES])
        text = f"better than {default} by {gain.value:.3f} {number} [{gain.low:.3f}, {gain.high:.3f}]"
    raw = scores.get((RAW, NONE))
    if raw is not None and not own.is_better(raw):
        gain = own.above(raw)
        text += f"; it does not beat raw intensities ({gain.value:+.3f} [{gain.low:.3f}, {gain.high:.3f}])"
    return Verdict(winner, number, text)


def _cells(scores: Mapping[Key, Scores], key: Key, default: Key) -> tuple[object, ...]:
    own = scores[key]
    gain = own.above(scores[default]) if default in scores and key != default else None
    mean = own.mean
    return (
        mean.value,
        f"{mean.low:.3f} to {mean.high:.3f}",
        own.spread if len(own.value_SR) > 1 else None,
        None if gain is None else f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]",
    )


def _by_key(rows: Sequence[Row]) -> dict[Key, list[Row]]:
    groups = dict[Key, list[Row]]()
    for row in rows:
        groups.setdefault((row.recipe, row.budget), []).append(row)
    return groups


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
