"""The result of `eval robustness`: robustness.json for programs, a text for a terminal."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from octshard.eval.robustness.association import Association
from octshard.eval.robustness.clusters import Clusters
from octshard.eval.robustness.eye_pairs import EyePairs
from octshard.eval.robustness.findings import Finding
from octshard.eval.robustness.performance_drop import PerformanceDrop
from octshard.eval.robustness.transfer import Transfer
from octshard.eval.robustness.within_group import WithinGroup
from octshard.probes.neighbours import RobustnessIndex


@dataclass(frozen=True)
class Nuisance:
    """All measures of one nuisance. groups: its values; findings: `shortcut`, `neighbours` and `drop`.

    notes: groups and scans that are left out. neighbours, clusters and eye pairs are of people outside train.
    """

    name: str
    groups: tuple[str, ...]
    association: Association
    within: WithinGroup
    neighbours: RobustnessIndex
    drop: PerformanceDrop
    transfer: Transfer
    clusters_of: Mapping[str, Clusters]  # by partition: the label, the nuisance
    eye_pairs: EyePairs
    findings: Mapping[str, Finding]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class RobustnessResult:
    """All that robustness.json holds. features: their source, layer and pooling, as their file is named."""

    label: str
    classes: tuple[str, ...]
    features: str
    features_digest: str
    checkpoint: str
    scans: int
    people: Mapping[str, int]  # by split
    nuisances: tuple[Nuisance, ...]
    notes: tuple[str, ...]
    config: Mapping[str, Any]
    level: str = "participant"  # what the label is about: participant, eye or scan

    def text(self) -> str:
        """For a terminal: what was found of each nuisance, and the notes."""
        people = ", ".join(f"{split} {count}" for split, count in self.people.items())
        lines = [f"{self.features}: {self.label} of {self.scans} scans, people in {people}"]
        for nuisance in self.nuisances:
            lines.append(f"{nuisance.name} ({', '.join(nuisance.groups)})")
            lines += [f"  {finding.text}" for finding in nuisance.findings.values()]
            lines += [f"  {note}" for note in nuisance.notes]
        return "\n".join([*lines, *self.notes])

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)
