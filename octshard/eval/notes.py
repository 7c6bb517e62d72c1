"""What a reader must know before believing the scores of a study, in sentences."""

from collections.abc import Sequence

from octshard.config.eval import StudyConfig
from octshard.eval.probe_result import Arm, ScoredCheckpoint
from octshard.eval.verdict import MAX_P, MIN_NUMBERS, MIN_PARTICIPANTS
from octshard.probes.labels import SPLITS, LabelledScans

ENCODER = "The encoder"  # where there is one
GRIDS = ("C", "alpha", "lr")  # settings whose best value may lie beyond the values tried
GAIN = 0.01  # of the score on val; less is noise


def of_arms(scans: LabelledScans, arms: Sequence[Arm], cfg: StudyConfig) -> tuple[str, ...]:
    """Of one head: classes, people, fits, and settings with which no p can be small."""
    notes = []
    if unscored := [name for name in scans.classes if name not in arms[0].score.scored]:
        notes.append(f"Not scored, because no test participant has it: {', '.join(unscored)}.")
    notes += of_fits(arms)
    for key, count in (("bootstrap", cfg.bootstrap), ("shuffles", cfg.shuffles)):
        if 1 / (1 + count) > MAX_P:
            notes.append(f"No p of {MAX_P} can come of {key}={count}: want at least {round(1 / MAX_P) - 1}.")
    return (*notes, *of_labels(scans, cfg.label))


def of_fits(arms: Sequence[Arm], head: str = "") -> tuple[str, ...]:
    """Of heads that would have gone on, or gone beyond their grid. head: named where there are several."""
    notes, of_head = [], f" of the {head} head" if head else ""
    if slow := [arm.name for arm in arms if not arm.converged]:
        notes.append(f"The fit{of_head} had not converged when it stopped: {', '.join(slow)}.")
    for key in GRIDS:
        for text in ("lowest", "highest"):
            if at_end := [arm.name for arm in arms if _end_of_grid(arm, key) == text]:
                names = ", ".join(at_end)
                notes.append(f"The best {key}{of_head} is the {text} of its grid, try a wider one: {names}.")
    return tuple(notes)


def _end_of_grid(arm: Arm, key: str) -> str:
    """`lowest` or `highest` if the value chosen is that, and better by GAIN than the best of all others."""
    values = sorted({trial.setting[key] for trial in arm.trials if key in trial.setting})
    if len(values) < 2 or arm.choice[key] not in (values[0], values[-1]):
        return ""
    chosen = max(trial.score for trial in arm.trials if trial.setting[key] == arm.choice[key])
    others = max(trial.score for trial in arm.trials if trial.setting[key] != arm.choice[key])
    if not chosen - others > GAIN:
        return ""
    return "lowest" if arm.choice[key] == values[0] else "highest"


def of_family(pairs: int, bootstrap: int) -> tuple[str, ...]:
    """Of one family of pairs for Holm's correction, each swapped so often: whether any p can be small."""
    if not pairs or pairs / (1 + bootstrap) <= MAX_P:
        return ()
    least = round(pairs / MAX_P) - 1
    return (
        f"No Holm p of {MAX_P} can come of bootstrap={bootstrap} in a family of {pairs}: want at least "
        f"{least}.",
    )


def of_labels(scans: LabelledScans, label: str) -> tuple[str, ...]:
    """Of the people who are scored, where they are few; of scans left out, and names that nobody has."""
    test, notes = scans.counts[SPLITS.index("test")], []
    least = MIN_PARTICIPANTS if scans.classes else MIN_NUMBERS
    people = test.of_class if scans.classes else {f"with a number of {label}": test.participants}
    if small := [f"{name} ({n})" for name, n in people.items() if 0 < n < least]:
        notes.append(f"So few test participants that intervals may be too narrow: {', '.join(small)}.")
    notes += [f"Scans left out: {n}, {why}." for why, n in scans.dropped.items() if n]
    return (*notes, scans.unused_note()) if scans.unused else tuple(notes)


def of_seen(scored: ScoredCheckpoint, test_participants: int, subject: str = ENCODER) -> str:
    """Whether the encoder was pretrained on people whom it is tested on."""
    if scored.seen_people is None:
        who = "the encoder" if subject == ENCODER else subject
        return f"Unknown whether {who} was pretrained on test participants: its file does not say."
    if scored.seen_people == 0:
        return f"{subject} was pretrained on none of the {test_participants} test participants."
    return (
        f"{subject} was pretrained on {scored.seen_people} of the {test_participants} test participants: "
        "these scores do not show how it does on new people."
    )
