"""Who is scanned: made-up participants, their state, site, age and split. A function of number and seed."""

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
MOST = 900  # people: ids are a site's digit and three more
VAL_SHARE = TEST_SHARE = 0.16  # of each state; AI-READI v3 has 352 and 352 of 2,280
COLUMNS = (
    "participant_id", "clinical_site", "study_group", "age", "study_visit_date", "recommended_split",
    "retinal_oct", "cardiac_ecg",
)  # fmt: skip


@dataclass(frozen=True)
class Participant:
    """A person and what participants.tsv says of them."""

    person: Person
    split: str

    def record(self, rng: np.random.Generator) -> tuple[str, ...]:
        """The row of participants.tsv."""
        person = self.person
        date = f"2023-{rng.integers(1, 13):02d}-{rng.integers(1, 29):02d}"
        ecg = "TRUE" if rng.random() < 0.9 else "FALSE"
        group = STUDY_GROUPS[person.state]
        site = SITES[person.participant[0]]
        return (person.participant, site, group, str(person.age), date, self.split, "TRUE", ecg)


def sample_cohort(number: int, seed: int) -> tuple[Participant, ...]:
    """`number` participants, states in equal numbers, every state in every split from 12 people on.

    Severity is uniform, so that some disease is barely visible; age rises a little with disease.
    """
    rng = rng_for(seed, "people", number)
    found = []
    for i, code in enumerate(rng.permutation(MOST)[:number]):
        state = STATES[i % len(STATES)]
        site = "147"[int(rng.integers(3))]
        severity = 0.0 if state == "healthy" else float(rng.uniform(0.1, 1.0))
        age = int(np.clip(rng.normal(59 + 4 * severity, 9), 40, 85))
        found.append(Person(f"{site}{100 + code}", state, severity, age))
    splits = _splits(number)
    people = [Participant(person, splits[i]) for i, person in enumerate(found)]
    return tuple(sorted(people, key=lambda one: one.person.participant))


def _splits(number: int) -> list[str]:
    """Split of the i-th recruit: the same shares within each state (recruits take states in turn)."""
    splits = []
    for i in range(number):
        of_state = len(range(i % len(STATES), number, len(STATES)))
        place = i // len(STATES)
        val, test = (
            max(1, round(share * of_state)) if of_state > 2 else 0 for share in (VAL_SHARE, TEST_SHARE)
        )
        splits.append("val" if place < val else "test" if place < val + test else "train")
    return splits
