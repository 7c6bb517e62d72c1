"""What the measures say of one nuisance (device, or site), in a word and a sentence each.

A finding names what it found only where nothing speaks against it: enough people of every class, an interval
that has a width or leaves no doubt, and one that leaves out what would be there by chance.
"""

import math
from dataclasses import dataclass

from octshard.eval.robustness.association import CLOSE, Association
from octshard.eval.robustness.performance_drop import PerformanceDrop
from octshard.eval.robustness.within_group import WithinGroup
from octshard.eval.verdict import MAX_P, MIN_PARTICIPANTS, UNTOLD, bracketed
from octshard.probes.neighbours import RobustnessIndex
from octshard.probes.scores import Estimate

BIOLOGY, NUISANCE = "biology", "nuisance"  # what neighbours go by
SHORTCUT, NONE_SEEN, INSEPARABLE, UNCORRELATED = "shortcut", "none seen", "inseparable", "uncorrelated"
DROPS = "drops"


@dataclass(frozen=True)
class Finding:
    """verdict: a word of this file, or cannot tell; text: a sentence that says why."""

    verdict: str
    text: str


@dataclass(frozen=True)
class Names:
    """How a label and a nuisance are called, and the fewest people of a class among those who are scored."""

    label: str
    nuisance: str
    fewest: int


def neighbours_finding(result: RobustnessIndex, names: Names) -> Finding:
    """Do neighbours go by biology or by the nuisance?"""
    index, chance = result.index, result.chance
    shown = f"robustness index {bracketed(index)}, {chance:.3f} by chance".replace("nan", "–")
    if not math.isfinite(index.value) or not math.isfinite(chance):
        return Finding(UNTOLD, f"Cannot tell what neighbours go by: no pair of scans can tell ({shown}).")
    if names.fewest < MIN_PARTICIPANTS:
        return Finding(UNTOLD, f"Cannot tell what neighbours go by: {_few(names)} ({shown}).")
    if index.low > chance:
        return Finding(BIOLOGY, f"Neighbours go by {names.label} rather than by {names.nuisance}: {shown}.")
    if index.high < chance:
        return Finding(NUISANCE, f"Neighbours go by {names.nuisance} rather than by {names.label}: {shown}.")
    return Finding(UNTOLD, f"Cannot tell what neighbours go by: the interval holds chance ({shown}).")


def shortcut_finding(table: Association, score: WithinGroup, names: Names) -> Finding:
    """Does the label go with the nuisance in these people, and did a head score by it?"""
    goes = f"Cramér's V {table.cramers_v:.2f} over people, p = {table.p:.3f}"
    label, nuisance = names.label, names.nuisance
    if table.cramers_v > CLOSE:
        return Finding(
            INSEPARABLE,
            f"Inseparable: {nuisance} tells {label} of these people ({goes}), so no score here can tell "
            f"which of the two was read (macro AUROC {bracketed(score.overall)}).",
        )
    if not table.p <= MAX_P:
        return Finding(UNCORRELATED, f"No shortcut to take: {label} does not go with {nuisance} ({goes}).")
    sizes = (
        f"macro AUROC {bracketed(score.overall)} over all, {bracketed(score.within)} within one {nuisance}"
    )
    if score.reason or names.fewest < MIN_PARTICIPANTS:
        why = score.reason or _few(names)
        return Finding(UNTOLD, f"{label} goes with {nuisance} ({goes}); cannot tell if it is read: {why}.")
    if score.given.low > 0:
        return Finding(
            SHORTCUT,
            f"Shortcut: {label} goes with {nuisance} ({goes}), and the head reads {nuisance}: {sizes}, so "
            f"that {bracketed(score.given)} of it comes from {nuisance}.",
        )
    return Finding(
        NONE_SEEN,
        f"No shortcut seen, though {label} goes with {nuisance} ({goes}): {sizes}, a difference of "
        f"{bracketed(score.given)}.",
    )


def drop_finding(result: PerformanceDrop, names: Names) -> Finding:
    """Would a head take the shortcut, if people were drawn so that there is one?"""
    if result.reason:
        return Finding(UNTOLD, f"Cannot tell if a head would read {names.nuisance}: {result.reason}.")
    shown = f"average performance drop {_percent(result.drop)}"
    if result.test < MIN_PARTICIPANTS:
        few = f"fewer than {MIN_PARTICIPANTS} balanced test people a class ({result.test})"
        return Finding(UNTOLD, f"Cannot tell if a head would read {names.nuisance}: {few}; {shown}.")
    if result.drop.high < 0:
        return Finding(
            DROPS,
            f"A head trained where {names.label} goes with {names.nuisance} reads {names.nuisance}: {shown} "
            "on people of whom it does not.",
        )
    return Finding(
        NONE_SEEN, f"No drop seen where {names.label} is made to go with {names.nuisance}: {shown}."
    )


def _few(names: Names) -> str:
    return f"fewer than {MIN_PARTICIPANTS} people in a class of {names.label} ({names.fewest})"


def _percent(value: Estimate) -> str:
    """-4.1 % [-7.0, -2.0] with true minus signs."""
    if not math.isfinite(value.value):
        return "–"
    text = f"{100 * value.value:.1f} % [{100 * value.low:.1f}, {100 * value.high:.1f}]"
    return text.replace("-", "−")
