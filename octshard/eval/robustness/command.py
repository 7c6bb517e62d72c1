"""The command: one feature table and one label -> robustness.json and robustness.html. Nothing is encoded."""

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from octshard.config import fields
from octshard.config.eval import RobustnessConfig
from octshard.dataset.participants import canonical
from octshard.errors import UsageError
from octshard.eval import feature_table, json_text, scan_filter
from octshard.eval.controls import provenance
from octshard.eval.feature_table import FeatureTable, Scan
from octshard.eval.robustness import (
    association,
    clusters,
    eye_pairs,
    findings,
    performance_drop,
    report,
    transfer,
    within_group,
)  # fmt: skip
from octshard.eval.robustness.findings import Names
from octshard.eval.robustness.performance_drop import DrawSettings
from octshard.eval.robustness.result import Nuisance, RobustnessResult
from octshard.eval.scan_filter import LeftOut
from octshard.eval.verdict import MIN_PARTICIPANTS
from octshard.probes import labels, neighbours, scores
from octshard.probes.grouped_scans import Scans, index_of, people_of
from octshard.probes.label_join import PARTICIPANT
from octshard.probes.labels import SPLITS, LabelledScans
from octshard.progress import OnProgress, no_progress
from octshard.rng import rng_for, seed_for
from octshard.storage import store

JSON, PAGE = "robustness.json", "robustness.html"
OUTSIDE = ("val", "test")  # splits of people on whom nothing was trained


def robustness(cfg: RobustnessConfig, on_progress: OnProgress = no_progress) -> RobustnessResult:
    """Measures every nuisance of cfg, and writes both files under cfg.out."""
    check(cfg)
    table = feature_table.read(cfg.features)
    places, left_out = _chosen(table, cfg)
    scans = [table.scans[n] for n in places]
    target = labels.read(cfg)
    with left_out.named():
        labelled = labels.join(target, scans)  # type: ignore[arg-type]
    features = table.find(cfg.source, cfg.layer, cfg.pooling)
    for name in (JSON, PAGE):
        store.check_writable(store.join(cfg.out, name))
    nuisances = _nuisances(features.values_NF[places], scans, labelled, cfg, on_progress)
    result = RobustnessResult(
        label=cfg.label,
        classes=labelled.classes,
        features=features.info.name,
        features_digest=features.digest,
        checkpoint=features.info.checkpoint,
        scans=sum(count.scans for count in labelled.counts),
        people={count.split: count.participants for count in labelled.counts},
        nuisances=tuple(nuisance for nuisance in nuisances if isinstance(nuisance, Nuisance)),
        notes=(
            *table.notes,
            *left_out.notes,
            *(text for text in nuisances if isinstance(text, str)),
            *_left_out(labelled),
        ),
        config=fields.result_values(cfg),
        level=labelled.level,
    )
    store.write(store.join(cfg.out, JSON), json_text.text_of(result.as_dict()).encode())
    store.write(store.join(cfg.out, PAGE), report.render(result).encode())
    return result


def _nuisances(
    values_NF: np.ndarray,
    scans: Sequence[Scan],
    labelled: LabelledScans,
    cfg: RobustnessConfig,
    on_progress: OnProgress,
) -> list[Nuisance | str]:
    """Each of cfg, or why there is none."""
    sites = provenance.read_sites(cfg.participants, cfg.site)
    nuisances = []
    for i, name in enumerate(cfg.nuisances):
        on_progress(i, len(cfg.nuisances), "nuisances")
        value_of = functools.partial(_value, nuisance=name, site_of=sites.site_of)
        nuisances.append(nuisance_of(name, grouped(values_NF, scans, labelled, value_of), cfg))
    on_progress(len(cfg.nuisances), len(cfg.nuisances), "nuisances")
    return nuisances


def check(cfg: RobustnessConfig) -> None:
    """UsageError for settings that cannot be."""
    if not cfg.features:
        raise UsageError("features: not set, want features=FOLDER, which octshard eval embed made")
    if not cfg.out:
        raise UsageError(f"out: not set, want out=FOLDER, where {JSON} and {PAGE} go")
    fields.check(cfg)


def measure(name: str, scans: Scans, cfg: RobustnessConfig) -> Nuisance:
    """Every measure of the nuisance `name`, whose values are the groups of `scans`."""
    kept, few = _enough(scans)
    outside, test = kept.split(*OUTSIDE), kept.split("test")
    outside_RP, test_RP, every_RP = (
        scores.draw_resamples(people_of(part).y_P, cfg.bootstrap, rng_for(cfg.seed, "bootstrap", name, n))
        for n, part in enumerate((outside, test, scans.split("test")))
    )
    goes_with = association.association(kept, cfg.bootstrap, rng_for(cfg.seed, "deals", name))
    within = within_group.within_group(kept, cfg.regularisation, test_RP)
    near = neighbours.robustness_index(outside, cfg.neighbours, outside_RP, rng_for(cfg.seed, "ties", name))
    drop = performance_drop.performance_drop(
        kept, test_RP, DrawSettings(cfg.draws, cfg.regularisation, seed_for(cfg.seed, name))
    )
    partitions = {cfg.label: outside.y_N, name: outside.group_N}
    return Nuisance(
        name=name,
        groups=kept.groups,
        association=goes_with,
        within=within,
        neighbours=near,
        drop=drop,
        transfer=transfer.transfer(scans, cfg.regularisation, every_RP),
        clusters_of={
            part: clusters.clusters(outside, of_N, outside_RP, seed_for(cfg.seed, "clusters"))
            for part, of_N in partitions.items()
        },
        eye_pairs=eye_pairs.eye_pairs(scans.split(*OUTSIDE), cfg.bootstrap, rng_for(cfg.seed, "eyes", name)),
        findings={
            "shortcut": findings.shortcut_finding(goes_with, within, Names(cfg.label, name, _fewest(test))),
            "neighbours": findings.neighbours_finding(near, Names(cfg.label, name, _fewest(outside))),
            "drop": findings.drop_finding(drop, Names(cfg.label, name, drop.test)),
        },
        notes=few,
    )


def nuisance_of(name: str, scans: Scans | None, cfg: RobustnessConfig) -> Nuisance | str:
    """Its measures, or a sentence that says why there are none."""
    if scans is None:
        return f"{name}: no scan says it."
    if len(scans.groups) < 2:
        return f"{name}: all scans have one value, {scans.groups[0]}."
    if missing := sorted(set(SPLITS) - set(scans.splits)):
        return f"{name}: no scan of {' and '.join(missing)} says it."
    return measure(name, scans, cfg)


def _chosen(table: FeatureTable, cfg: RobustnessConfig) -> tuple[np.ndarray, LeftOut]:
    """The places of the scans of cfg.region and cfg.filter."""
    fitting, left_out = scan_filter.of_table(cfg.filter, table.scans, cfg.features)
    places = [n for n in fitting if cfg.region in ("", table.scans[n].region)]
    if not places:
        regions = ", ".join(sorted({scan.region or "unknown" for scan in table.scans}))
        raise UsageError(f"region={cfg.region}: no scan of it in {cfg.features}; there are: {regions}")
    return np.array(places), left_out


def grouped(
    values_NF: np.ndarray, scans: Sequence[Scan], labelled: LabelledScans, value_of: Callable[[Scan], str]
) -> Scans | None:
    """The labelled scans that say the nuisance (`value_of`); None if there are none."""
    subsets = labelled.subsets.values()
    places_N = np.concatenate([subset.places_N for subset in subsets])
    y_N = np.concatenate([subset.y_N for subset in subsets])
    participants = tuple(person for subset in subsets for person in subset.participants)
    units = tuple(unit for subset in subsets for unit in subset.units)
    texts = [value_of(scans[n]) for n in places_N]
    said = [n for n, text in enumerate(texts) if text]
    if not said:
        return None
    groups, group_N = index_of([texts[n] for n in said])
    rows = [scans[places_N[n]] for n in said]
    return Scans(
        values_NF=values_NF[places_N[said]],
        y_N=y_N[said],
        group_N=group_N,
        participants=tuple(participants[n] for n in said),
        eyes=tuple(f"{participants[n]} {row.eye} {row.region}" for n, row in zip(said, rows, strict=True)),
        splits=tuple(row.split for row in rows),
        classes=labelled.classes,
        groups=groups,
        units=() if labelled.level == PARTICIPANT else tuple(units[n] for n in said),
    )


def _value(scan: Scan, nuisance: str, site_of: Mapping[str, str]) -> str:
    """Of a scan; the site is that of its participant where the feature table does not say it."""
    value = str(getattr(scan, nuisance))
    return value or (site_of.get(canonical(scan.participant), "") if nuisance == provenance.SITE else "")


def _enough(scans: Scans) -> tuple[Scans, tuple[str, ...]]:
    """Without the groups that too few people outside train have, if two are left; and what is left out."""
    count_G = (people_of(scans.split(*OUTSIDE)).scans_PG > 0).sum(axis=0)
    kept = np.flatnonzero(count_G >= MIN_PARTICIPANTS)
    if len(kept) < 2 or len(kept) == len(scans.groups):
        return scans, ()
    few = [f"{name} ({n})" for name, n in zip(scans.groups, count_G, strict=True) if n < MIN_PARTICIPANTS]
    part = scans.part(np.isin(scans.group_N, kept))
    renumbered = Scans(
        part.values_NF, part.y_N, np.searchsorted(kept, part.group_N),
        part.participants, part.eyes, part.splits, part.classes, tuple(scans.groups[g] for g in kept),
        part.units,
    )  # fmt: skip
    note = f"Left out but for transfer, with few people outside train: {', '.join(few)}."
    return renumbered, (note,)


def _fewest(scans: Scans) -> int:
    """The people of the class that has the fewest."""
    return int(people_of(scans).people_C.min())


def _left_out(labelled: LabelledScans) -> tuple[str, ...]:
    dropped = tuple(f"Scans left out: {n}, {why}." for why, n in labelled.dropped.items() if n)
    return (*dropped, labelled.unused_note()) if labelled.unused else dropped
