"""The participants: made-up people with state, site, age and split. A function of number and seed."""

from dataclasses import dataclass

import numpy as np

from octshard.phantom.eye import STATES, Person
from octshard.rng import rng_for

SITES = {"1": "UW", "4": "UCSD", "7": "UAB"}  # the first digit of an id is its site
STUDY_GROUPS = {  # state -> study_group, one to one
    "healthy": "healthy",
    "drusen": "pre_diabetes_lifestyle_controlled",
    "fluid": "oral_medication_and_or_non_insulin_injectable_medication_controlled",
    "thinning": "insulin_dependent",
}
MAX_PARTICIPANTS = 900  # an id is a site's digit and three more
VAL_SHARE = TEST_SHARE = 0.16  # of each state; AI-READI v3 has 352 and 352 of 2,280
COLUMNS = (
    "participant_id", "clinical_site", "study_group", "age", "study_visit_date", "recommended_split",
    "retinal_oct", "cardiac_ecg",
)  # fmt: skip


@dataclass(frozen=True)
class Participant:
    """A person and their split in participants.tsv."""

    person: Person
    split: str

    def row(self, rng: np.random.Generator) -> tuple[str, ...]:
        """The row of participants.tsv."""
        person = self.person
        date = f"2023-{rng.integers(1, 13):02d}-{rng.integers(1, 29):02d}"
        ecg = "TRUE" if rng.random() < 0.9 else "FALSE"
        group = STUDY_GROUPS[person.state]
        site = SITES[person.participant[0]]
        return (person.participant, site, group, str(person.age), date, self.split, "TRUE", ecg)


def sample_cohort(number: int, seed: int) -> tuple[Participant, ...]:
    """`number` participants, states in equal numbers; with 12 or more, every state is in every split.

    Severity is uniform, so that some disease is barely visible; mean age rises a little with severity.
    """
    rng = rng_for(seed, "people", number)
    persons = []
    for i, code in enumerate(rng.permutation(MAX_PARTICIPANTS)[:number]):
        state = STATES[i % len(STATES)]
        site = "147"[int(rng.integers(3))]
        severity = 0.0 if state == "healthy" else float(rng.uniform(0.1, 1.0))
        age = int(np.clip(rng.normal(59 + 4 * severity, 9), 40, 85))
        persons.append(Person(f"{site}{100 + code}", state, severity, age))
    splits = _splits(number)
    participants = [Participant(person, splits[i]) for i, person in enumerate(persons)]
    return tuple(sorted(participants, key=lambda participant: participant.person.participant))


def _splits(number: int) -> list[str]:
    """Split of the i-th participant: the same shares within each state (states go round in order)."""
    splits = []
    for i in range(number):
        state_size = len(range(i % len(STATES), number, len(STATES)))
        rank = i // len(STATES)
        val, test = (
            max(1, round(share * state_size)) if state_size > 2 else 0 for share in (VAL_SHARE, TEST_SHARE)
        )
        splits.append("val" if rank < val else "test" if rank < val + test else "train")
    return splits
