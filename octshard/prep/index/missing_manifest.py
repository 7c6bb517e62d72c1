"""A folder of scans without a manifest: the one that prep shard goes by is written into DST."""

import logging

from octshard.config.prep import PrepConfig
from octshard.errors import UsageError
from octshard.prep.index import own_table, run
from octshard.prep.index.options import IndexOptions
from octshard.prep.index.person import PersonRule
from octshard.prep.index.summary import Summary
from octshard.prep.release.aireadi import TABLES, home_of
from octshard.progress import OnProgress, no_progress
from octshard.storage import store

logger = logging.getLogger(__name__)

FOLDERS = PersonRule("", None, b"")


def needs_one(cfg: PrepConfig) -> bool:
    """True if neither the config names a manifest nor the source holds one; ZIPs are not looked into."""
    return bool(cfg.src and cfg.dst) and not cfg.manifest and not cfg.from_zip and not home_of(cfg.src)


def place(folder: str) -> str:
    """Where it is written."""
    return store.join(folder, TABLES[0])


def is_there(folder: str) -> bool:
    """True if an earlier run wrote one."""
    return store.exists(place(folder))


def write(cfg: PrepConfig, into: str, on_progress: OnProgress = no_progress) -> Summary | None:
    """Writes the manifest of cfg.src into the folder `into`; None if one is there, which is taken as it is.

    What fails is said with the command that does what was meant.
    """
    out = place(into)
    if is_there(into):
        listed = own_table.folder_of(own_table.beside(out, "index"))
        if listed not in ("", run.full(cfg.src)):
            raise UsageError(f"{out}: it lists {listed}, not {cfg.src}; name another DST, or --manifest FILE")
        logger.info("%s: read as the manifest of %s; remove it, and scans are looked for again", out, cfg.src)
        return None
    logger.info("%s: no %s, so its scans are looked for; the manifest is %s", cfg.src, TABLES[0], out)
    try:
        return run.index(cfg.src, out, IndexOptions(FOLDERS, workers=cfg.workers), on_progress)
    except UsageError as error:
        raise UsageError(f"{error}; {_advice(cfg)}") from error


def _advice(cfg: PrepConfig) -> str:
    command = f"octshard prep index {cfg.src} --out {place(cfg.dst)} ..."
    return f"write the manifest with {command}, then give the same command again"
