"""`octshard train` and `octshard stream-check`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from octshard.progress import progress, shown

if TYPE_CHECKING:
    pass


@click.command()
@click.option("--config", multiple=True, required=True, type=click.Path(), help="YAML file; may repeat.")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def train(config: Sequence[str], overrides: Sequence[str]) -> None:
    """V-JEPA 2 pretraining; goes on by itself where run.out was left.

    \b
    Example:
      octshard train --config configs/smoke_test.yaml data.shards='[shards/topcon_triton]' run.out=runs/smoke
    """
    from octshard.config.load import load
    from octshard.config.train import TrainConfig
    from octshard.train.loop import train as run

    cfg = load(TrainConfig, config, overrides)
    with progress("train") as advance:
        outcome = run(cfg, lambda line: click.echo(line, err=True), lambda i, n, m: advance(i, n, shown(m)))
    if not outcome.stopped:
        click.echo(f"{cfg.run.out}: {outcome.step} steps, {outcome.samples_seen} samples")


@click.command("stream-check")
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
    from octshard.config.load import load
    from octshard.config.train import TrainConfig
    from octshard.train.stream_check import lines

    cfg = load(TrainConfig, config, overrides)
    for line in lines(cfg, readers, devices, seconds):
        click.echo(line)
