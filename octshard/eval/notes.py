"""What a reader must know before believing the scores of a study, in sentences."""

from collections.abc import Sequence

from octshard.config.eval import StudyConfig
from octshard.eval.probe_result import Arm, ScoredCheckpoint
from octshard.eval.verdict import MAX_P, MIN_PARTICIPANTS
from octshard.probes.labels import SPLITS, LabelledScans

ENCODER = "The encoder"  # where there is one


def of_arms(scans: LabelledScans, arms: Sequence[Arm], cfg: StudyConfig) -> tuple[str, ...]:
    """Of one head: classes, people, fits, and settings with which no p can be small."""
    notes = []
    participants = scans.counts[SPLITS.index("test")].of_class
    if unscored := [name for name in scans.classes if name not in arms[0].score.scored]:
        notes.append(f"Not scored, because no test participant has it: {', '.join(unscored)}.")
    if small := [f"{name} ({n})" for name, n in participants.items() if 0 < n < MIN_PARTICIPANTS]:
        notes.append(f"So few test participants that intervals may be too narrow: {', '.join(small)}.")
    if slow := [arm.name for arm in arms if not arm.converged]:
        notes.append(f"The fit had not converged when it stopped: {', '.join(slow)}.")
    for key, count in (("bootstrap", cfg.bootstrap), ("shuffles", cfg.shuffles)):
        if 1 / (1 + count) > MAX_P:
            notes.append(f"No p of {MAX_P} can come of {key}={count}: want at least {round(1 / MAX_P) - 1}.")
    if dropped := sum(scans.dropped.values()):
        notes.append(f"Scans left out, because their participant has no label: {dropped}.")
    return tuple(notes)


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
