"""Which features are compared: sources of one or several feature tables, as arms; nothing is encoded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from octshard.config.eval import CompareConfig
from octshard.errors import UsageError
from octshard.eval import feature_table, scan_filter
from octshard.eval.arms import FeatureArm
from octshard.eval.controls import RANDOM
from octshard.eval.feature_table import FeatureInfo, FeatureTable, Scan
from octshard.eval.scan_filter import LeftOut


@dataclass(frozen=True, eq=False)
class ComparedFeatures:
    """scans: of all tables, in the order of the first; arms: of one or several seeds; origins: by arm, where
    its features come from.
    """

    scans: tuple[Scan, ...]
    arms: tuple[FeatureArm, ...]
    origins: Mapping[str, tuple[FeatureInfo, ...]]
    left_out: LeftOut = LeftOut()
    notes: tuple[str, ...] = ()  # of the tables


def read(cfg: CompareConfig) -> ComparedFeatures:
    """The features that cfg names; UsageError if they are not of the same scans."""
    return arms_of([feature_table.read(folder) for folder in cfg.features], cfg)


def arms_of(tables: Sequence[FeatureTable], cfg: CompareConfig) -> ComparedFeatures:
    """The sources of these tables that cfg names, as arms."""
    places, left_out = scan_filter.of_table(cfg.filter, tables[0].scans, ", ".join(cfg.features))
    scans = tuple(tables[0].scans[n] for n in places)
    orders = [_order(table, tables[0])[places] for table in tables]
    chosen = _sources(cfg, tables)
    names = cfg.names or _arm_names([source for _, source in chosen])
    if len(names) != len(chosen):
        raise UsageError(
            f"names: {len(names)} for {len(chosen)} sources ({', '.join(s for _, s in chosen)}), want one "
            "for each; sources of one name are its seeds"
        )
    draws: dict[str, list[np.ndarray]] = {}
    origins: dict[str, list[FeatureInfo]] = {}
    for name, (n, source) in zip(names, chosen, strict=True):
        features = tables[n].find(source, cfg.layer, cfg.pooling)
        draws.setdefault(name, []).append(features.values_NF[orders[n]])
        origins.setdefault(name, []).append(features.info)
    arms = tuple(FeatureArm(name, tuple(values)) for name, values in draws.items())
    for arm in arms:
        if len({values_NF.shape[1:] for values_NF in arm.draws}) > 1:
            raise UsageError(f"names: the seeds of {arm.name} have features of several widths, want one")
    said = tuple(dict.fromkeys(note for table in tables for note in table.notes))
    return ComparedFeatures(scans, arms, {name: tuple(of) for name, of in origins.items()}, left_out, said)


def _sources(cfg: CompareConfig, tables: Sequence[FeatureTable]) -> list[tuple[int, str]]:
    """(place of the table, source) of each: those of cfg.sources, or all that have the layer and pooling."""
    every = [
        (n, info.source)
        for n, table in enumerate(tables)
        for info in sorted(table.infos.values(), key=lambda info: info.name)
        if info.layer in ("", cfg.layer) and info.pooling in ("", cfg.pooling)
    ]
    if not every:
        raise UsageError(f"features: no source of layer {cfg.layer}, pooling {cfg.pooling} in {cfg.features}")
    if not cfg.sources:
        return every
    chosen = []
    for source in dict.fromkeys(cfg.sources):
        matches = [pair for pair in every if pair[1] == source]
        if not matches:
            there = ", ".join(dict.fromkeys(other for _, other in every))
            raise UsageError(f"sources: no {source} in {', '.join(cfg.features)}; there are: {there}")
        chosen += matches
    return chosen


def _arm_names(sources: Sequence[str]) -> list[str]:
    """Each source is an arm of its own, but random encoders, which are seeds of one.

    UsageError for a name that stands in several tables: seeds of one arm, or two arms?
    """
    names = [RANDOM if source.startswith(RANDOM) else source for source in sources]
    if several := [name for name in names if name != RANDOM and names.count(name) > 1]:
        raise UsageError(
            f"names: source {several[0]} stands in {names.count(several[0])} tables, want names=[...], one "
            f"for each of {', '.join(sources)}"
        )
    return names


def _order(table: FeatureTable, first: FeatureTable) -> np.ndarray:
    """Where each scan of the first table stands in this one."""
    place_of = {scan.key: n for n, scan in enumerate(table.scans)}
    ours, theirs = {scan.key: scan.sha256 for scan in first.scans}, {s.key: s.sha256 for s in table.scans}
    if ours != theirs:
        differ = sum(ours.get(key) != theirs.get(key) for key in ours.keys() | theirs.keys())
        raise UsageError(
            f"features: {table.folder} and {first.folder} differ in {differ} scans, want tables of the same "
            "scans"
        )
    return np.array([place_of[scan.key] for scan in first.scans])
