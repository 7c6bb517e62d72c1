"""`octshard eval`: frozen weights to numbers."""

from collections.abc import Sequence

import click

from octshard.cli.completion import complete_setting, config_option
from octshard.printable import printable
from octshard.progress import progress


@click.group(name="eval")
def evaluate() -> None:
    """Turn frozen weights into numbers."""


@evaluate.command("linear-probe")
@config_option("probe")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_setting("probe"))
def linear_probe(config: Sequence[str], overrides: Sequence[str]) -> None:
    """Frozen features -> multinomial logistic regression -> scores by participant, beside controls.

    \b
    Example:
      octshard eval linear-probe checkpoint=runs/demo shards=shards/topcon_triton \\
          participants=release/participants.tsv out=runs/probe
    """
    from octshard.config.eval import ProbeConfig
    from octshard.config.load import load

    cfg = load(ProbeConfig, config, overrides)
    from octshard.eval.linear_probe import linear_probe as run

    with progress("linear probe") as on_progress:
        result = run(cfg, on_progress)
    click.echo(printable(result.text(), keep="\n"))
    click.echo(f"page: {cfg.out}/probe.html")


@evaluate.command("robustness")
@config_option("robustness")
@click.argument(
    "overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_setting("robustness")
)
def robustness(config: Sequence[str], overrides: Sequence[str]) -> None:
    """Do frozen features follow the eye, or the device and site that scanned it? Encodes nothing.

    \b
    Example:
      octshard eval robustness features=runs/embed participants=release/participants.tsv \\
          out=runs/robustness
    """
    from octshard.config.eval import RobustnessConfig
    from octshard.config.load import load

    cfg = load(RobustnessConfig, config, overrides)
    from octshard.eval.robustness.command import robustness as run

    with progress("robustness") as on_progress:
        result = run(cfg, on_progress)
    click.echo(printable(result.text(), keep="\n"))
    click.echo(f"page: {cfg.out}/robustness.html")
