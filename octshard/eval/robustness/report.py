"""robustness.html: the page of one set of features. What was found stands first."""

import math

from octshard.eval.robustness.findings import BIOLOGY, DROPS, NONE_SEEN, NUISANCE, SHORTCUT, UNCORRELATED
from octshard.eval.robustness.result import Nuisance, RobustnessResult
from octshard.eval.robustness.transfer import Cell as TransferCell
from octshard.eval.verdict import MIN_PARTICIPANTS, bracketed, two_lines
from octshard.report.page import Cell, Content, Html, Section, banner, heading, numeral, page, table
from octshard.report.plots import Band, interval_plot, line_plot

METHOD = (
    "All measures are made from one table of frozen features. Brackets hold the 95 % percentile interval "
    "over resamples of people, drawn with replacement within each class; for the adjusted Rand index it is a "
    "jackknife over people.",
    "Shortcut: Cramér's V of label and nuisance over people, and p of labels dealt among people. A "
    "linear head is fitted on all train people; its macro AUROC over all pairs of test people is set against "
    "that over pairs of one group, where the nuisance cannot help.",
    "Robustness index: over the nearest neighbours of every scan among other people (cosine of standardised "
    "features), SO / (SO + OS): same class and another group, against another class and the same group. 0: "
    "all nuisance; 1: all biology. A resample of people changes who asks and who answers.",
    "Average performance drop: train sets of one size, in which class and group go together more and more; "
    "tested on people in whom they do not; the mean over the correlated train sets of (score − score without "
    "correlation) / score without. Classes and groups are paired at random in every draw.",
    "Transfer: a head of one group's train people, its regularisation chosen on that group's val people, on "
    "the test people of each group. Same eye: features averaged over an eye's scans on a device.",
    f"Something is named only with at least {MIN_PARTICIPANTS} people of every class, and where the interval "
    "leaves out what would be there by chance. Neighbours, clusters and eye pairs are of people outside "
    "train.",
)
TONE_OF = {
    **dict.fromkeys((SHORTCUT, NUISANCE, DROPS), "bad"),
    **dict.fromkeys((BIOLOGY, NONE_SEEN, UNCORRELATED), "good"),
}


def render(result: RobustnessResult) -> str:
    """The page."""
    names = " and ".join(nuisance.name for nuisance in result.nuisances)
    lead = (
        f"Do frozen features follow {_readable(result.label)}, or {names}? {result.features}; "
        f"{sum(result.people.values())} people, {result.scans} scans."
    )
    parts: list[Content] = []
    for nuisance in result.nuisances:
        findings = nuisance.findings.values()
        banners = (banner(each.text, TONE_OF.get(each.verdict, "unsure")) for each in findings)
        parts += [heading(nuisance.name), *banners]
    sections = [Section("What was found", (*parts, *result.notes))]
    for nuisance in result.nuisances:
        sections.append(Section(f"By {nuisance.name}", tuple(_measures(result, nuisance))))
    origin = f"Features {result.features}, {result.features_digest}; {result.checkpoint or 'no checkpoint'}."
    sections.append(Section("How this was measured", (*METHOD, origin)))
    return page(f"Robustness: {_readable(result.label)}", lead, sections)


def _measures(result: RobustnessResult, nuisance: Nuisance) -> list[Content]:
    parts: list[Content] = [
        *nuisance.notes,
        _people(result, nuisance),
        _summary(nuisance),
        _drop(nuisance),
        _transfer(nuisance),
        _clusters(nuisance),
    ]
    return [*parts, _eye_pairs(nuisance)] if nuisance.eye_pairs.pairs else parts


def _people(result: RobustnessResult, nuisance: Nuisance) -> Html:
    counts = zip(result.classes, nuisance.association.people_CG, strict=True)
    rows: list[list[Cell]] = [[_readable(name), *row] for name, row in counts]
    units = {"participant": "People", "eye": "Eyes", "scan": "Scans"}[result.level]
    caption = f"{units} of each class by {nuisance.name}; one may stand in several columns."
    return table([_readable(result.label), *nuisance.groups], rows, caption, stacked=True)


def _summary(nuisance: Nuisance) -> Html:
    index, score = nuisance.neighbours, nuisance.within
    rows: list[list[Cell]] = [
        ["Cramér's V of label and nuisance", numeral(f"{nuisance.association.cramers_v:.3f}"), 0.0],
        ["macro AUROC over all", two_lines(score.overall), 0.5],
        [f"macro AUROC within one {nuisance.name}", two_lines(score.within), 0.5],
        [f"of it from {nuisance.name}", two_lines(score.given), 0.0],
        [f"robustness index, {index.neighbours} neighbours", two_lines(index.index), index.chance],
        ["average performance drop", two_lines(nuisance.drop.drop), 0.0],
        ["transfer to another group minus within it", two_lines(nuisance.transfer.loss), 0.0],
    ]
    return table(["measure", "value", "by chance"], rows, "", stacked=True)


def _drop(nuisance: Nuisance) -> Content:
    if nuisance.drop.reason:
        return f"No performance drop: {nuisance.drop.reason}."
    scores = nuisance.drop.score_of
    estimates = list(scores.values())
    band = Band([value.low for value in estimates], [value.high for value in estimates])
    name = f"{nuisance.drop.train} train people a class"
    caption = f"Of {nuisance.drop.test} balanced test people a class, with the 95 % interval."
    x_label = f"how closely label and {nuisance.name} go together in train"
    line = (list(scores), [value.value for value in estimates])
    return line_plot({name: line}, x_label, "macro AUROC", {name: band}).html(caption)


def _transfer(nuisance: Nuisance) -> Html:
    by_place = {(cell.train, cell.test): cell for cell in nuisance.transfer.cells}
    names = list(dict.fromkeys(cell.train for cell in nuisance.transfer.cells))
    rows: list[list[Cell]] = [[name, *(_cell(by_place[name, other]) for other in names)] for name in names]
    caption = (
        f"Macro AUROC of a head trained on the {nuisance.name} of the row, tested on that of the column; a "
        f"star where a class has fewer than {MIN_PARTICIPANTS} test people there."
    )
    return table(["train on \\ test on", *names], rows, caption, stacked=True)


def _cell(cell: TransferCell) -> Cell:
    if cell.reason:
        return f"– ({cell.reason})"
    return numeral(bracketed(cell.auroc) + ("*" if cell.people < MIN_PARTICIPANTS else ""))


def _clusters(nuisance: Nuisance) -> Html:
    rows: list[list[Cell]] = [
        [_readable(name), two_lines(value.silhouette), two_lines(value.adjusted_rand)]
        for name, value in nuisance.clusters_of.items()
    ]
    caption = "Higher: scans group more by it. k-means with as many clusters as there are values."
    return table(["partition", "silhouette", "adjusted Rand index of k-means"], rows, caption, stacked=True)


def _eye_pairs(nuisance: Nuisance) -> Html:
    pairs = nuisance.eye_pairs
    plotted = {
        name: (retrieval.rank.value, retrieval.rank.low, retrieval.rank.high)
        for name, retrieval in (("as it is", pairs.raw), ("shift removed", pairs.within_device))
        if math.isfinite(retrieval.rank.value)
    }
    caption = (
        f"The same eye by another {nuisance.name}, {pairs.pairs} pairs of {pairs.people} people: its rank "
        f"among the eyes there (0 nearest, 0.5 chance). It is the nearest in {bracketed(pairs.raw.first)} of "
        f"pairs ({bracketed(pairs.within_device.first)} with the shift between groups removed; "
        f"{pairs.raw.chance:.3f} by chance); its distance is {bracketed(pairs.raw.distance)} of that to "
        f"other eyes ({bracketed(pairs.within_device.distance)})."
    )
    return interval_plot(plotted, "rank of the same eye", 0.5).html(caption)


def _readable(name: str) -> str:
    return name.replace("_", " ")
