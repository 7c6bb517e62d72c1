"""Which rows of the manifest a run is about: `where`, an expression over what is known before files are read.

What it leaves out is as what --device and --limit leave out: no input of the dataset. It has no row, is not
refused, and is counted.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from octshard.config.prep import PrepConfig
from octshard.dataset import row_filter, tables
from octshard.dataset.tables import SampleRow
from octshard.errors import UsageError
from octshard.prep.plan import split_of
from octshard.prep.release.aireadi import Release
from octshard.prep.release.entry import Entry
from octshard.prep.release.manifest_row import manifest_row
from octshard.storage import store

logger = logging.getLogger(__name__)

COLUMNS = (
    "participant", "device", "manufacturer", "model", "protocol", "region", "eye", "split", "source",
    "sop_instance_uid", "frames", "rows", "cols", "acquired",
)  # fmt: skip


@dataclass(frozen=True)
class Selection:
    """entries: of the devices, in order; left_out: device -> how many of its rows `where` leaves out."""

    entries: tuple[Entry, ...]
    left_out: Mapping[str, int]

    def of(self, device: str) -> list[Entry]:
        """The entries of one device."""
        return [entry for entry in self.entries if entry.device == device]


def select(release: Release, devices: Sequence[str], cfg: PrepConfig) -> Selection:
    """The entries of `devices` for which cfg.where is true. UsageError for what is no such expression.

    `split` holds nothing for people whose split is not settled.
    """
    fits = row_filter.parse(cfg.where, "where", COLUMNS)
    of_devices = [entry for entry in release.entries if entry.device in devices]
    if not fits.text:
        return Selection(tuple(of_devices), {})
    hashed = release.split_table is None or cfg.split == "hash"
    selected, left_out = [], Counter[str](dict.fromkeys(devices, 0))
    for entry in of_devices:
        settled = hashed or entry.participant in release.splits
        split = split_of(entry.participant, release.splits, cfg.seed) if settled else ""
        if fits(_row(entry, split)):
            selected.append(entry)
        else:
            left_out[entry.device] += 1
    logger.info("where=%s leaves out %d of %d files", fits.text, left_out.total(), len(of_devices))
    return Selection(tuple(selected), dict(left_out))


def with_files(selection: Selection, devices: Sequence[str], cfg: PrepConfig, *, named: bool) -> list[str]:
    """The devices of which a file is left. UsageError if none is, for a device that was named, or one whose
    folder in cfg.dst was built with another `where`.
    """
    counts = Counter(entry.device for entry in selection.entries)
    empty = [device for device in devices if not counts[device]]
    if empty and (named or len(empty) == len(devices)):
        raise UsageError(
            f"where={cfg.where!r}: true for no file of {', '.join(empty)}; want an expression that is "
            "true for some, with the values as the manifest spells them"
        )
    for device in empty:
        folder = store.join(cfg.dst, device)
        if store.exists(store.join(folder, tables.PLAN)):
            raise UsageError(
                f"{folder}: begun with another config, as where={cfg.where!r} is true for no file of "
                f"{device}; use another DST, or remove it"
            )
        logger.info("%s: where is true for none of its files, no folder is made", device)
    return [device for device in devices if counts[device]]


def _row(entry: Entry, split: str) -> SampleRow:
    """With the sizes of the manifest: nothing else is known of the file yet."""
    row = manifest_row(entry, split)
    return replace(row, frames=entry.frames, rows=entry.rows, cols=entry.cols)
