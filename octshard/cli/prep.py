"""`octshard prep`: device ZIPs to shards, and what is in them."""

import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from octshard.cli.completion import complete_setting, config_option
from octshard.cli.index import index, pseudonymise
from octshard.cli.source_option import source_option
from octshard.errors import OctshardError, UsageError
from octshard.pool import worker_count
from octshard.printable import printable
from octshard.progress import progress

if TYPE_CHECKING:
    from octshard.config.prep import PrepConfig
    from octshard.prep.build.run import DeviceSummary

ALLOW_EMPTY = "see the lines above; --allow-empty takes it for success"
STRETCHED = (  # what is said of volumes whose spacing nothing tells
    "volumes are stretched to image_size, as nothing tells their spacing; if you know it: prep index "
    "--spacing, or columns pixel_spacing and slice_thickness in the manifest, and another DST"
)
NAMED = 20  # files that are listed by name after the table of counts


def _say(text: str) -> None:
    """Lines on stdout; names from manifests and ZIPs are in them."""
    click.echo(printable(text, keep="\n"))


@click.group()
def prep() -> None:
    """Turn device ZIPs into shards, once."""


prep.add_command(index)
prep.add_command(pseudonymise)


def _prep_config(options: Mapping[str, Any]) -> "PrepConfig":
    """From the options. src and dst: argument, else config file, else OCTSHARD_SRC and OCTSHARD_DST."""
    import dataclasses

    from octshard.config.load import load
    from octshard.config.prep import PrepConfig

    workers = [] if options["workers"] is None else [f"workers={options['workers']}"]
    cfg = load(PrepConfig, options["config"], [*options["overrides"], *workers])
    return dataclasses.replace(
        cfg,
        src=options["src"] or cfg.src or os.environ.get("OCTSHARD_SRC", ""),
        dst=options["dst"] or cfg.dst or os.environ.get("OCTSHARD_DST", ""),
    )


def _prep_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """SRC, DST and the options that unzip and shard share."""
    for option in (
        click.option("--allow-empty", is_flag=True, help="Exit 0 even if not one file could be used."),
        click.option("--workers", type=int, help="At work at once; 0 = one per core."),
        click.option(
            "--set",
            "overrides",
            multiple=True,
            metavar="KEY=VALUE",
            shell_complete=complete_setting("prep"),
            help="Override a config value.",
        ),
        config_option("prep"),
        click.argument("dst", required=False),
        click.argument("src", required=False),
    ):
        command = option(command)
    return command


@prep.command()
@_prep_options
@click.option("--memory", type=int, metavar="BYTES", help="Held at once by all threads together.")
def unzip(allow_empty: bool, **options: Any) -> None:
    """Unpack device ZIPs: one DICOM object per manifest row. SRC holds manifest.tsv and <device>/*.zip.

    \b
    Example:
      octshard prep unzip release dicom
    """
    from octshard.prep.release.unzip import Limits
    from octshard.prep.release.unzip import unzip as run

    cfg = _prep_config(options)
    if options["memory"] is not None:
        cfg.unzip_memory = options["memory"]
    if not cfg.src or not cfg.dst:
        raise UsageError(f"src={cfg.src!r}, dst={cfg.dst!r}: want both, the release root and where DICOMs go")
    with progress("unzip") as on_progress:
        report = run(cfg.src, cfg.dst, Limits(worker_count(cfg.workers), cfg.unzip_memory), on_progress)
    counts = {
        "written": report.written,
        "skipped, already there": report.skipped,
        "refused": report.refused,
        "in the manifest, in no ZIP": report.missing,
        "in a ZIP, not in the manifest": report.unlisted,
    }
    for name, items in counts.items():
        _say(f"{name:<30}{len(items):>9,}")
    for member in report.refused:
        _say(f"refused: {member.zip} {member.member}: {member.reason}")
    for name in ("in the manifest, in no ZIP", "in a ZIP, not in the manifest"):
        for item in counts[name][:NAMED]:
            _say(f"{name}: {item}")
    if not report.written and not report.skipped and not allow_empty:
        raise OctshardError(
            f"{cfg.dst}: not one file of {cfg.src} could be written ({len(report.refused)} refused, "
            f"{len(report.missing)} in no ZIP); {ALLOW_EMPTY}"
        )


@contextmanager
def _manifest(cfg: "PrepConfig", *, dry_run: bool) -> "Iterator[PrepConfig]":
    """The config with a manifest: where there is none it is made, for a dry run only until the block ends."""
    import dataclasses
    import tempfile

    from octshard.prep.build import inputs
    from octshard.prep.index import missing_manifest, summary

    inputs.check(cfg)
    if not missing_manifest.needs_one(cfg):
        yield cfg
        return
    with tempfile.TemporaryDirectory() as folder, progress("index") as on_progress:
        into = folder if dry_run and not missing_manifest.is_there(cfg.dst) else cfg.dst
        if (result := missing_manifest.write(cfg, into, on_progress)) is not None:
            _say(summary.text(result))
        yield dataclasses.replace(cfg, manifest=missing_manifest.place(into))


@prep.command()
@_prep_options
@click.option(
    "--device",
    "devices",
    multiple=True,
    default=("all",),
    show_default=True,
    help="A device of the manifest, or all; may repeat.",
)
@click.option(
    "--manifest", default=None, metavar="FILE", help="The manifest, if it is not manifest.tsv in SRC."
)
@click.option(
    "--from-zip", is_flag=True, help="Read the device ZIPs below SRC; the same shards, byte for byte."
)
@click.option("--engine", type=click.Choice(["local", "ray"]), help="This machine, or a Ray cluster.")
@click.option("--decode", type=click.Choice(["exact", "fast"]), help="fast: JPEG 2000 at reduced resolution.")
@click.option(
    "--split",
    type=click.Choice(["recommended", "hash"]),
    help="hash: place people by a hash of their ids where participants.tsv gives them no split; else that is "
    "an error.",
)
@click.option("--where", metavar="EXPR", help="Only files of the manifest for which EXPR is true.")
@click.option("--limit", type=int, metavar="N", help="Only N files of each device, a seeded draw.")
@click.option("--max-refused", metavar="N|P%", help="Fail once more files of a device are refused.")
@click.option("--dry-run", is_flag=True, help="Print the plan and what it would take; write nothing.")
def shard(devices: Sequence[str], dry_run: bool, allow_empty: bool, **options: Any) -> None:
    """Build DST/<device>/ (tar shards, Parquet tables) from the scans under SRC, which holds manifest.tsv.

    Without a manifest one is written first, into DST, as by prep index: the folder above a scan is a person.

    \b
    Example:
      octshard prep shard scans shards
      octshard prep shard dicom shards --device topcon_triton
      octshard prep shard release shards --device all --from-zip --dry-run
    """
    import dataclasses

    from octshard.prep.build import estimate, run

    names = ("engine", "decode", "split", "where", "limit", "max_refused", "manifest")
    settings = {name: options[name] for name in names if options[name] is not None}
    settings |= {"from_zip": True} if options["from_zip"] else {}
    with _manifest(dataclasses.replace(_prep_config(options), **settings), dry_run=dry_run) as cfg:
        if dry_run:
            with progress("dry run") as on_progress:
                estimates = estimate.estimates(cfg, devices, on_progress)
            _say(estimate.text(estimates, cfg))
            return
    with progress("shard") as on_progress:
        summaries = run.shard(cfg, devices, on_progress)
    for summary in summaries:
        _say_result(summary)
    if any(summary.stored for summary in summaries):
        _say(f"next: {shlex.join(['octshard', 'prep', 'report', cfg.dst])}")
    elif not allow_empty:
        folders = ", ".join(summary.folder for summary in summaries)
        why = f"octshard prep report {shlex.quote(cfg.dst)} says why, file by file"
        raise OctshardError(
            f"{folders}: every file was refused, nothing is stored; {why}; --allow-empty takes it for success"
        )


def _say_result(summary: "DeviceSummary") -> None:
    """What became of the files of a device."""
    from octshard.dataset.splits import split_sources_text

    refused = ", ".join(f"{n} {reason}" for reason, n in sorted(summary.refused.items())) or "none"
    left_out = "" if summary.left_out is None else f"; left out by where: {summary.left_out}"
    kept = f" ({summary.kept} kept from an earlier run)" if summary.kept else ""
    _say(
        f"{summary.folder}: {summary.stored} volumes in {summary.shards} shards{kept}, "
        f"{summary.bytes / 1e6:.1f} MB; refused: {refused}{left_out}; "
        f"people split: {split_sources_text(summary.split_sources)}"
    )
    if summary.assumed:
        _say(f"{summary.folder}: {summary.assumed} {STRETCHED}")


@prep.command()
@click.argument("shards", nargs=-1, required=True)
@click.option("--deep", is_flag=True, help="Decode every sample too, and compare it with its row.")
def verify(shards: Sequence[str], deep: bool) -> None:
    """Re-read dataset folders, or all that lie in SHARDS, against their tables. Exit 1 if anything differs.

    \b
    Example:
      octshard prep verify shards/topcon_triton
    """
    from octshard.dataset.folders import dataset_folders
    from octshard.prep.verify import across
    from octshard.prep.verify import verify as run

    folders = list(dict.fromkeys(dataset_folders(shards, with_hidden=True)))
    count = 0
    for folder in folders:
        with progress(f"verify {folder}") as on_progress:
            findings = run(folder, deep, on_progress)
        count += len(findings)
        for finding in findings:
            _say(f"{folder}: {finding.shard} {finding.key}: {finding.what}")
        if not findings:
            _say(f"{folder}: whole")
    for finding in across(folders):
        count += 1
        _say(finding.what)
    if count:
        raise OctshardError(f"{count} findings; build the folders named above again with octshard prep shard")


@prep.command()
@click.argument("shards")
@click.option("--out", default="", help="The page to write.  [default: SHARDS/report.html]")
@click.option("--seed", default=0, show_default=True, help="Of the scans that are shown.")
@source_option
def report(shards: str, out: str, seed: int, source: str) -> None:
    """One self-contained HTML page on a device folder, or on all that SHARDS holds.

    \b
    Example:
      octshard prep report shards --out report.html
    """
    from octshard.prep.report.page import write

    with progress("report") as on_progress:
        page = write(shards, out, seed, on_progress, source)
    _say(f"page: {page}")
