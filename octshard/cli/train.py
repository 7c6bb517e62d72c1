"""`octshard train` and `octshard stream-check`."""

import shlex
import sys
from collections.abc import Sequence

import click

from octshard.cli.completion import complete_setting, config_option
from octshard.printable import printable
from octshard.progress import progress
from octshard.stop_signals import SHELL_BASE


@click.command()
@config_option("train", required=True)
@click.option(
    "--accept-changes",
    is_flag=True,
    help="Go on also if settings or data that change the result are others now; what changed is recorded.",
)
@click.option(
    "--extend",
    is_flag=True,
    help="Go on also if the run is longer now (run.epochs, run.samples_budget) and its schedules jump.",
)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_setting("train"))
def train(config: Sequence[str], accept_changes: bool, extend: bool, overrides: Sequence[str]) -> None:
    """V-JEPA 2 pretraining; goes on by itself where run.out was left.

    \b
    Example:
      octshard train --config smoke_test data.shards=shards/topcon_triton run.out=runs/smoke
    """
    from octshard.config.load import load
    from octshard.config.train import TrainConfig

    cfg = load(TrainConfig, config, overrides)  # before torch is imported: a wrong key is reported at once
    from octshard.train.loop import train as run

    command = shlex.join(["octshard", *sys.argv[1:]])
    with progress("train") as on_progress:
        outcome = run(cfg, on_progress, accept_changes=accept_changes, extend=extend, command=command)
    if outcome.stopped:
        sys.exit(SHELL_BASE + outcome.stop_signal)
    if outcome.process_index == 0:
        click.echo(f"{cfg.run.out}: {outcome.step} steps, {outcome.samples_seen} samples")


@click.command("stream-check")
@config_option("train", required=True)
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
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_setting("train"))
def stream_check(
    config: Sequence[str], readers: int, devices: int, seconds: float, overrides: Sequence[str]
) -> None:
    """Order and balance of a run's stream, then how fast each stage is and which one limits it.

    \b
    Example:
      octshard stream-check --config pretrain_vjepa_multi_domain --readers 4 --devices 16 data.shards=shards
    """
    from octshard.config.load import load
    from octshard.config.train import TrainConfig

    cfg = load(TrainConfig, config, overrides)
    from octshard.train.stream_check import lines

    for line in lines(cfg, readers, devices, seconds):
        click.echo(printable(line))
