"""Whether features of each checkpoint follow device or site: measures of `octshard eval robustness`."""

import operator
from collections.abc import Iterator, Mapping, Sequence

from octshard.config.eval import ReportConfig, RobustnessConfig
from octshard.eval.robustness import command
from octshard.eval.robustness.findings import INSEPARABLE, SHORTCUT
from octshard.eval.robustness.result import Nuisance
from octshard.eval.study import EncodedArms, Study
from octshard.eval.verdict import bracketed
from octshard.probes.label_join import PARTICIPANT
from octshard.probes.targets import CLASSES
from octshard.report.page import Cell, Content, numeral, table

Nuisances = Mapping[str, tuple[Nuisance, ...]]  # of each trained arm
NOT_ASKED = "Robustness is measured of classes of participants alone."


def measure(study: Study, encoded: EncodedArms, asked: ReportConfig) -> tuple[Nuisances, tuple[str, ...]]:
    """(measures, why some are missing) of the first draw of every trained arm."""
    scans, cfg = study.labelled, settings(asked)
    if scans.kind != CLASSES or scans.level != PARTICIPANT:
        return {}, (NOT_ASKED,)
    rows = study.scans.request(study.sites.site_of).scans
    nuisances: dict[str, tuple[Nuisance, ...]] = {}
    reasons: list[str] = []
    for arm in encoded.arms_of[study.cfg.pooling]:
        for name in cfg.nuisances if arm.name in study.scored else ():
            grouped = command.grouped(arm.draws[0], rows, scans, operator.attrgetter(name))
            measured = command.nuisance_of(name, grouped, cfg)
            if isinstance(measured, Nuisance):
                nuisances[arm.name] = (*nuisances.get(arm.name, ()), measured)
            else:
                reasons.append(f"Robustness by {measured}")
    return nuisances, tuple(dict.fromkeys(reasons))


def settings(cfg: ReportConfig) -> RobustnessConfig:
    """Those of the report where it has them, else the usual ones."""
    return RobustnessConfig(
        participants=cfg.participants, label=cfg.label, bootstrap=cfg.bootstrap, seed=cfg.seed, site=cfg.site,
        regularisation=cfg.regularisation,
    )  # fmt: skip


def warnings(nuisances: Sequence[Nuisance], arm: str) -> Iterator[str]:
    """Shortcuts that a head on the features of the arm takes."""
    for nuisance in nuisances:
        finding = nuisance.findings["shortcut"]
        if finding.verdict in (SHORTCUT, INSEPARABLE):
            yield f"{arm}, {nuisance.name}: {finding.text}"


def parts(measures: Nuisances) -> Iterator[Content]:
    """The table of the robustness index, then every finding."""
    rows: list[list[Cell]] = [
        [
            arm,
            nuisance.name,
            numeral(bracketed(nuisance.neighbours.index)),
            nuisance.neighbours.chance,
            numeral(bracketed(nuisance.within.overall)),
            numeral(bracketed(nuisance.within.within)),
            numeral(bracketed(nuisance.drop.drop)),
        ]
        for arm, several in measures.items()
        for nuisance in several
    ]
    headers = ["features", "nuisance", "robustness index", "by chance", "macro AUROC", "within one", "drop"]
    note = (
        "Robustness index: 1 if neighbours go by the label, 0 if by the nuisance. Macro AUROC of a linear "
        "head over all, and over people of one value of the nuisance. Drop: the share of a score that is "
        "lost where label and nuisance are made to go together in train. octshard eval robustness says more."
    )
    yield table(headers, rows, note, stacked=True)
    for arm, several in measures.items():
        yield from (
            f"{arm}, {nuisance.name}: {finding.text}"
            for nuisance in several
            for finding in nuisance.findings.values()
        )
