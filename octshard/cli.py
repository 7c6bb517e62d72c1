"""The commands; each is one call into its room. Exit 0 done, 1 failed, 2 wrong usage; errors are one line.

Rooms are imported inside their command, so that `octshard --help` answers in a blink.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from octshard import __version__
from octshard.errors import OctshardError, UsageError
from octshard.pool import cores
from octshard.progress import Advance, progress, shown

if TYPE_CHECKING:
    from octshard.config import PrepConfig

DEBUG = "--debug"
NAMED = 20  # files named one by one after a table that counts them


def main() -> None:
    """The console script: runs a command and turns what it raises into one line and an exit code."""
    arguments = [word for word in sys.argv[1:] if word != DEBUG]
    try:
        cli.main(arguments, prog_name="octshard", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit("octshard: interrupted")
    except click.exceptions.Exit as leaving:
        sys.exit(leaving.exit_code)
    except Exception as error:  # the outermost edge: whatever comes here is shown as one line
        if DEBUG in sys.argv:
            raise
        sys.exit(_report(error))


def _report(error: Exception) -> int:
    if isinstance(error, OctshardError):
        click.echo(f"octshard: {error}", err=True)
        return 2 if isinstance(error, UsageError) else 1
    text = " ".join(str(error).split())
    click.echo(f"octshard: unexpected {type(error).__name__}: {text} ({DEBUG} shows where)", err=True)
    return 1


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="octshard")
@click.option(DEBUG, is_flag=True, help="Show the traceback of an error; may stand anywhere on the line.")
def cli(debug: bool) -> None:
    """OCT volumes -> shards once -> V-JEPA 2 pretraining -> linear probes.

    \b
    Example, the whole road on made-up eyes:
      octshard demo --out demo
    """


@cli.command()
@click.option("--out", default="demo", show_default=True, help="Folder for everything the demo makes.")
@click.option("--participants", default=144, show_default=True, help="Made-up people.")
@click.option("--seed", default=0, show_default=True)
def demo(out: str, participants: int, seed: int) -> None:
    """The whole road on made-up eyes: ZIPs, shards, pretraining, probe, OUT/report.html.

    \b
    Example:
      octshard demo --out demo
    """
    from octshard.demo import road
    from octshard.phantom.release import Wanted

    wanted = Wanted(participants=participants, seed=seed, scale=road.SCALE, defects=True)
    report = road.run(out, wanted, lambda name: str(shipped_config(name)))
    click.echo(f"report: {report}")


@cli.command()
@click.argument("out")
@click.option(
    "--participants", default=24, show_default=True, help="People; each is scanned on several devices."
)
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--scale", default=1.0, show_default=True, help="Voxels per axis, as a share of the real shapes."
)
@click.option(
    "--defects/--no-defects", default=True, show_default=True, help="Plant files that must be refused."
)
@click.option("--workers", default=0, help="Processes; 0 = one per core.  [default: 0]")
def phantom(out: str, participants: int, seed: int, scale: float, defects: bool, workers: int) -> None:
    """Write an AI-READI-shaped release of made-up eyes with known layers, lesions and labels.

    \b
    Example:
      octshard phantom release --participants 24 --scale 0.25
    """
    from octshard.phantom.release import Wanted, write_release

    wanted = Wanted(participants=participants, seed=seed, scale=scale, defects=defects)
    with progress("made-up eyes") as advance:
        made = write_release(out, wanted, cores(workers), lambda done, total: advance(done, total, ""))
    click.echo(
        f"{out}: {made.volumes} scans of {made.participants} people, {made.bytes / 1e6:.1f} MB in ZIPs"
    )


@cli.group()
def prep() -> None:
    """Turn device ZIPs into shards, once."""


def _prep_config(given: Mapping[str, Any]) -> "PrepConfig":
    """From the options. src and dst: argument, else config file, else OCTSHARD_SRC and OCTSHARD_DST."""
    import dataclasses

    from octshard.config import PrepConfig, load

    workers = [] if given["workers"] is None else [f"workers={given['workers']}"]
    cfg = load(PrepConfig, given["config"], [*given["overrides"], *workers])
    return dataclasses.replace(
        cfg,
        src=given["src"] or cfg.src or os.environ.get("OCTSHARD_SRC", ""),
        dst=given["dst"] or cfg.dst or os.environ.get("OCTSHARD_DST", ""),
    )


def _prep_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """SRC, DST and the options that unzip and shard share."""
    for option in (
        click.option("--workers", type=int, help="At work at once; 0 = one per core."),
        click.option(
            "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a config value."
        ),
        click.option("--config", multiple=True, type=click.Path(), help="YAML file; may repeat."),
        click.argument("dst", required=False),
        click.argument("src", required=False),
    ):
        command = option(command)
    return command


@prep.command()
@_prep_options
@click.option("--memory", type=int, metavar="BYTES", help="Held at once by all threads together.")
def unzip(**given: Any) -> None:
    """Unpack device ZIPs: one DICOM object per manifest row. SRC holds manifest.tsv and <device>/*.zip.

    \b
    Example:
      octshard prep unzip release dicom
    """
    from octshard.prep.unzip import Effort, Progress
    from octshard.prep.unzip import unzip as run

    cfg = _prep_config(given)
    if given["memory"]:
        cfg.unzip_memory = given["memory"]
    if not cfg.src or not cfg.dst:
        raise UsageError(f"src={cfg.src!r}, dst={cfg.dst!r}: want both, the release root and where DICOMs go")
    with progress("unzip") as advance:

        def told(p: Progress) -> None:
            advance(p.done, p.total, f"{p.bytes_done / 1e6:,.0f} of {p.bytes_total / 1e6:,.0f} MB")

        report = run(cfg.src, cfg.dst, Effort(cores(cfg.workers), cfg.unzip_memory), told)
    counts = {
        "written": report.written,
        "skipped, already there": report.skipped,
        "refused": report.refused,
        "in the manifest, in no ZIP": report.missing,
        "in a ZIP, not in the manifest": report.unlisted,
    }
    for name, items in counts.items():
        click.echo(f"{name:<30}{len(items):>9,}")
    for found in report.refused:
        click.echo(f"refused: {found.zip} {found.member}: {found.reason}")
    for name in ("in the manifest, in no ZIP", "in a ZIP, not in the manifest"):
        for item in counts[name][:NAMED]:
            click.echo(f"{name}: {item}")


@prep.command()
@_prep_options
@click.option(
    "--device", "devices", multiple=True, required=True, help="A device folder, or all; may repeat."
)
@click.option(
    "--from-zip", is_flag=True, help="Read the device ZIPs below SRC; the same shards, byte for byte."
)
@click.option("--engine", type=click.Choice(["local", "ray"]), help="This machine, or a Ray cluster.")
@click.option("--decode", type=click.Choice(["exact", "fast"]), help="fast: JPEG 2000 at reduced resolution.")
@click.option("--limit", type=int, metavar="N", help="Only N files of each device, a seeded draw.")
@click.option("--max-refused", metavar="N|P%", help="Fail once more files of a device are refused.")
@click.option("--dry-run", is_flag=True, help="Print the plan and what it would take; write nothing.")
def shard(devices: Sequence[str], dry_run: bool, **given: Any) -> None:
    """Build DST/<device>/ (tar shards, Parquet tables) from the DICOMs under SRC, which holds manifest.tsv.

    \b
    Example:
      octshard prep shard dicom shards --device topcon_triton
      octshard prep shard release shards --device all --from-zip --dry-run
    """
    import dataclasses

    from octshard.prep import engine, estimate

    names = ("engine", "decode", "limit", "max_refused")
    words = {name: given[name] for name in names if given[name] is not None}
    words |= {"from_zip": True} if given["from_zip"] else {}
    cfg = dataclasses.replace(_prep_config(given), **words)
    noted: Callable[[str], None] = lambda line: click.echo(line, err=True)  # noqa: E731
    if dry_run:
        with progress("dry run") as advance:
            found = estimate.estimates(cfg, devices, advance, noted)
        click.echo(estimate.text(found, cfg))
        return
    with progress("shard") as advance:

        def told(p: engine.Progress) -> None:
            rate = p.fresh / max(p.seconds, 1e-3)
            note = f"{p.device}, {p.refused} refused, {rate:.1f} files/s"
            advance(
                p.stored + p.refused, p.total, f"{note}, {p.bytes_read / max(p.seconds, 1e-3) / 1e6:.0f} MB/s"
            )

        summaries = engine.shard(cfg, devices, told, noted)
    for made in summaries:
        refused = ", ".join(f"{n} {reason}" for reason, n in sorted(made.refused.items())) or "none"
        kept = f" ({made.kept} kept from an earlier run)" if made.kept else ""
        click.echo(
            f"{made.folder}: {made.stored} volumes in {made.shards} shards{kept}, {made.bytes / 1e6:.1f} MB; "
            f"refused: {refused}"
        )


@prep.command()
@click.argument("shards", nargs=-1, required=True)
@click.option("--deep", is_flag=True, help="Decode every sample too, and hold it against its row.")
def verify(shards: Sequence[str], deep: bool) -> None:
    """Re-read dataset folders, or all that lie in SHARDS, against their tables. Exit 1 if anything differs.

    \b
    Example:
      octshard prep verify shards/topcon_triton
    """
    from octshard.prep.folders import find
    from octshard.prep.verify import across
    from octshard.prep.verify import verify as run

    folders = list(dict.fromkeys(folder for url in shards for folder in find(url).whole))
    count = 0
    for folder in folders:
        with progress(f"verify {folder}") as advance:

            def told(done: int, total: int, name: str, show: Advance = advance) -> None:
                show(done // 2**20, total // 2**20, f"MiB, {name}")

            findings = run(folder, deep, told)
        count += len(findings)
        for found in findings:
            click.echo(f"{folder}: {found.shard} {found.key}: {found.what}")
        if not findings:
            click.echo(f"{folder}: whole")
    for found in across(folders):
        count += 1
        click.echo(found.what)
    if count:
        raise OctshardError(f"{count} findings; build the folders named above again with octshard prep shard")


@prep.command()
@click.argument("shards")
@click.option("--out", default="", help="The page to write.  [default: SHARDS/report.html]")
@click.option("--seed", default=0, show_default=True, help="Of the scans that are shown.")
def report(shards: str, out: str, seed: int) -> None:
    """One self-contained HTML page on a device folder, or on all that SHARDS holds.

    \b
    Example:
      octshard prep report shards --out report.html
    """
    from octshard.prep.report import write

    with progress("report") as advance:
        page = write(shards, out, seed, advance)
    click.echo(f"page: {page}")


@cli.command()
@click.option("--config", multiple=True, required=True, type=click.Path(), help="YAML file; may repeat.")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def train(config: Sequence[str], overrides: Sequence[str]) -> None:
    """V-JEPA 2 pretraining; goes on by itself where run.out was left.

    \b
    Example:
      octshard train --config configs/smoke_test.yaml data.shards='[shards/topcon_triton]' run.out=runs/smoke
    """
    from octshard.config import TrainConfig, load
    from octshard.train.loop import train as run

    cfg = load(TrainConfig, config, overrides)
    with progress("train") as advance:
        outcome = run(cfg, lambda line: click.echo(line, err=True), lambda i, n, m: advance(i, n, shown(m)))
    if not outcome.stopped:
        click.echo(f"{cfg.run.out}: {outcome.step} steps, {outcome.samples_seen} samples")


@cli.command("stream-check")
@click.option("--config", multiple=True, required=True, type=click.Path(), help="YAML file; may repeat.")
@click.option(
    "--readers",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Processes (hosts) that share the stream.",
)
@click.option(
    "--devices",
    type=click.IntRange(0),
    default=0,
    help="Accelerators of all of them together; 0 = as many as here.",
)
@click.option("--seconds", default=5.0, show_default=True, help="For each stage; 0 = simulate only.")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def stream_check(
    config: Sequence[str], readers: int, devices: int, seconds: float, overrides: Sequence[str]
) -> None:
    """Order and balance of a run's stream, then how fast each stage is and which one limits it.

    \b
    Example:
      octshard stream-check --config configs/pretrain_vjepa_multi_domain.yaml --readers 4 --devices 16 \\
        data.shards='[shards/topcon_triton,shards/zeiss_cirrus]'
    """
    from octshard.config import TrainConfig, load
    from octshard.train import rehearsal

    cfg = load(TrainConfig, config, overrides)
    for line in rehearsal.lines(cfg, readers, devices, seconds):
        click.echo(line)


@cli.group(name="eval")
def evaluate() -> None:
    """Turn frozen weights into numbers."""


@evaluate.command("linear-probe")
@click.option("--config", multiple=True, type=click.Path(), help="YAML file; may repeat.")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def linear_probe(config: Sequence[str], overrides: Sequence[str]) -> None:
    """Frozen features -> multinomial logistic regression -> scores by participant, beside three controls.

    \b
    Example:
      octshard eval linear-probe checkpoint=runs/demo shards='[shards/topcon_triton]' \\
          participants=release/participants.tsv out=runs/probe
    """
    from octshard.config import ProbeConfig, load
    from octshard.eval.run import linear_probe as run

    cfg = load(ProbeConfig, config, overrides)
    with progress("linear probe") as advance:
        result = run(cfg, lambda stage, done, total: advance(done, total, stage))
    click.echo(result.text())
    click.echo(f"page: {cfg.out}/probe.html")


def shipped_config(name: str) -> Path:
    """A YAML file of configs/, from a checkout or from an installed wheel."""
    here = Path(__file__).parent
    folder = here / "configs" if (here / "configs").is_dir() else here.parent / "configs"
    return folder / name


if __name__ == "__main__":
    main()
