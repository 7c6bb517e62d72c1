"""All checks, as an aligned table or as JSON."""

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import octshard
from octshard.doctor.checks import Check


@dataclass(frozen=True)
class Report:
    """Groups of checks, in the order in which they are shown."""

    groups: Mapping[str, Sequence[Check]]

    @property
    def failed(self) -> list[str]:
        """`group: name` of every check that failed."""
        return [
            f"{title}: {c.name}"
            for title, checks in self.groups.items()
            for c in checks
            if c.status == "fail"
        ]

    def text(self) -> str:
        """A table for each group, an advice below the lines that it is about, and a summary."""
        width = max((len(check.name) for checks in self.groups.values() for check in checks), default=0)
        lines = []
        for title, checks in self.groups.items():
            lines.append(title)
            for check, following in zip(checks, [*checks[1:], None], strict=True):
                lines.append(f"  {check.status}  {check.name:<{width}}  {check.found}".rstrip())
                if check.advice and (following is None or following.advice != check.advice):
                    lines.append(f"{'':{width + 10}}-> {check.advice}")
            lines.append("")
        return "\n".join([*lines, self._summary()])

    def json(self) -> str:
        """{octshard, status, counts, checks: [{group, name, status, found, advice}, ...]}."""
        counts = self._counts()
        status = next((status for status in ("fail", "warn") if counts[status]), "pass")
        checks = [
            {"group": title, **dataclasses.asdict(check)}
            for title, group in self.groups.items()
            for check in group
        ]
        whole = {"octshard": octshard.__version__, "status": status, "counts": counts, "checks": checks}
        return json.dumps(whole, indent=2, ensure_ascii=False)

    def _counts(self) -> dict[str, int]:
        counter = Counter(check.status for checks in self.groups.values() for check in checks)
        return {"pass": counter["pass"], "warn": counter["warn"], "fail": counter["fail"]}

    def _summary(self) -> str:
        counts = self._counts()
        end = "this machine is ready" if not counts["fail"] else "see the lines with an arrow"
        return ", ".join(f"{number} {status}" for status, number in counts.items()) + f": {end}"
