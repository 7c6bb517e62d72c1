"""`octshard eval`: frozen weights to numbers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from octshard.progress import progress

if TYPE_CHECKING:
    pass


@click.group(name="eval")
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
    from octshard.config.eval import ProbeConfig
    from octshard.config.load import load
    from octshard.eval.linear_probe import linear_probe as run

    cfg = load(ProbeConfig, config, overrides)
    with progress("linear probe") as advance:
        result = run(cfg, lambda stage, done, total: advance(done, total, stage))
    click.echo(result.text())
    click.echo(f"page: {cfg.out}/probe.html")
