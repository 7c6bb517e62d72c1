"""The inputs of a run: the selected devices, the source of their files, and their plans."""

import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from octshard.config import fields
from octshard.config.prep import PrepConfig
from octshard.dataset import row_filter
from octshard.errors import UsageError
from octshard.prep.build.progress import most_refused
from octshard.prep.build.selection import COLUMNS, select, with_files
from octshard.prep.convert.worker import WorkerJob
from octshard.prep.plan import ShardPlan, draw_subset, plan
from octshard.prep.release import mixed_source, zip_source
from octshard.prep.release.aireadi import TABLES, Release, home_of, read_release
from octshard.prep.release.entry import Entry
from octshard.prep.release.mixed_source import MixedSource
from octshard.prep.release.source import Source, open_folder
from octshard.storage import local, store

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuildInputs:
    """root: of the release; job: what every file shares; plans: device -> its shards; left_out: device -> how
    many of its files `where` leaves out, empty without it.
    """

    root: str
    job: WorkerJob
    plans: Mapping[str, tuple[ShardPlan, ...]]
    left_out: Mapping[str, int] = field(default_factory=dict)


def load(cfg: PrepConfig, devices: Sequence[str]) -> BuildInputs:
    """The plans of the devices asked for, and the source of their files; UsageError as `check`,
    `select_devices`, `select`, `with_files` and `check_splits`.
    """
    check(cfg)
    release = read_release(cfg.src, cfg.manifest)
    listed = select_devices(release.entries, devices, cfg.manifest or cfg.src)
    selection = select(release, listed, cfg)
    selected = with_files(selection, listed, cfg, named="all" not in devices)
    check_splits(cfg, release, selection.entries)
    check_private(cfg, release)
    source = open_source(cfg, release)
    plans = {device: device_plan(cfg, release, selection.of(device)) for device in selected}
    return BuildInputs(release.root, WorkerJob(cfg, source), plans, selection.left_out)


def check(cfg: PrepConfig) -> None:
    """UsageError for a value that is out of bounds, or for a missing src or dst."""
    if not cfg.src or not cfg.dst:
        raise UsageError(f"src={cfg.src!r}, dst={cfg.dst!r}: want both, the release root and where shards go")
    fields.check(cfg)
    most_refused(cfg.max_refused, 1)
    row_filter.parse(cfg.where, "where", COLUMNS)


def check_private(cfg: PrepConfig, release: Release) -> None:
    """UsageError if a manifest that has names in place of its paths would go out with the shards."""
    if not any(entry.source_id for entry in release.entries):
        return
    manifest = cfg.manifest or store.join(home_of(cfg.src), TABLES[0])
    if _full(manifest).startswith(f"{_full(cfg.dst).rstrip('/')}/"):
        raise UsageError(
            f"{manifest}: it lies in {cfg.dst}, and tells which path each source_id stands for; move it and "
            "the hidden folder beside it to where the shards are not, and name it with --manifest"
        )


def _full(url: str) -> str:
    return url if store.is_remote(url) else os.path.abspath(local.local_path(url))


def check_splits(cfg: PrepConfig, release: Release, entries: Iterable[Entry]) -> None:
    """UsageError if participants.tsv leaves open the split of somebody with one of these files.

    With split=hash such people are placed by the hash of their ids, and so is everybody without the table.
    """
    if release.split_table is None:
        names = [name for name in store.list_names(release.root) if name.lower().startswith("participants")]
        log = logger.warning if names else logger.info
        there = f" (there is {', '.join(names)})" if names else ""
        text = "%s: no participants.tsv%s, so people are split 70:15:15 by a hash of their ids"
        log(text, release.root, there)
    elif cfg.split != "hash":
        release.split_table.check(entry.participant for entry in entries)


def open_source(cfg: PrepConfig, release: Release) -> Source:
    """The source of files: unpacked below the release's root, or its device ZIPs.

    Rows whose paths lead into a ZIP are read out of it either way.
    """
    if zips := mixed_source.zips_of(release.root, release.entries):
        inside, rest = mixed_source.inside_and_others(release.entries, frozenset(zips))
        files = open_source(cfg, replace(release, entries=tuple(rest))) if rest else None
        return MixedSource(frozenset(zips), mixed_source.open_members(release.root, inside, zips), files)
    if not cfg.from_zip:
        return open_folder(release.root, release.entries)
    source, refused, unlisted = zip_source.open_release(release)
    if any(entry.source_id for entry in release.entries):
        logger.info("refused: %d members; in a ZIP, not in the manifest: %d", len(refused), len(unlisted))
        return source
    for member in refused:
        logger.info("refused: %s %s: %s", member.zip, member.member, member.reason)
    if unlisted:
        logger.info("in a ZIP, not in the manifest: %d members, the first is %s", len(unlisted), unlisted[0])
    return source


def device_plan(cfg: PrepConfig, release: Release, entries: Sequence[Entry]) -> tuple[ShardPlan, ...]:
    """The shards of one device, of all its selected files or of cfg.limit drawn ones."""
    return plan(draw_subset(entries, cfg.limit, cfg.seed), release.splits, cfg)


def select_devices(entries: Iterable[Entry], devices: Sequence[str], src: str) -> list[str]:
    """The devices in the order asked for, or with `all` every one; an unlisted one is a UsageError."""
    listed = Counter(entry.device for entry in entries)
    selected = sorted(listed) if "all" in devices else list(dict.fromkeys(devices))
    unlisted = [device for device in selected if device not in listed]
    if unlisted or not selected:
        names = ", ".join(sorted(listed)) or "no structural OCT at all"
        raise UsageError(
            f"{src}: no rows of device {', '.join(unlisted) or 'any'}; its manifest lists {names}"
        )
    return selected
