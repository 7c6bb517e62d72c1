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
    """Frozen features -> a linear head, or one hidden layer -> scores by participant, beside controls.

    \b
    Example:
      octshard eval linear-probe checkpoint=runs/demo shards=shards/topcon_triton \\
          participants=release/participants.tsv out=runs/probe
    """
    _probe("linear-probe", config, overrides)


@evaluate.command("knn")
@config_option("probe")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_setting("probe"))
def knn(config: Sequence[str], overrides: Sequence[str]) -> None:
    """As linear-probe with head=knn: frozen features -> their nearest people, whose number val chooses.

    \b
    Example:
      octshard eval knn checkpoint=runs/demo shards=shards/topcon_triton \\
          participants=release/participants.tsv out=runs/knn
    """
    _probe("knn", config, overrides)


@evaluate.command("attentive-probe")
@config_option("probe")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_setting("probe"))
def attentive_probe(config: Sequence[str], overrides: Sequence[str]) -> None:
    """As linear-probe with head=attentive: all tokens of a scan -> a learned query, by a grid of lr x decay.

    \b
    Example:
      octshard eval attentive-probe checkpoint=runs/demo shards=shards/topcon_triton \\
          participants=release/participants.tsv out=runs/attentive
    """
    _probe("attentive-probe", config, overrides)


HEADS = {"knn": "knn", "attentive-probe": "attentive"}  # commands that are one head


def _probe(command: str, config: Sequence[str], overrides: Sequence[str]) -> None:
    """Runs the probe that all these commands are."""
    from octshard.config.eval import ProbeConfig
    from octshard.config.load import load
    from octshard.errors import UsageError

    own = HEADS.get(command)
    cfg = load(ProbeConfig, config, [f"head={own}", *overrides] if own else overrides)
    if own and cfg.head != own:
        raise UsageError(
            f"head={cfg.head}: octshard eval {command} is head={own}, want octshard eval linear-probe "
            f"head={cfg.head}"
        )
    from octshard.eval.linear_probe import linear_probe as run

    with progress(command.replace("-", " ")) as on_progress:
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


@evaluate.command("segment")
@config_option("segment")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_setting("segment"))
def segment(config: Sequence[str], overrides: Sequence[str]) -> None:
    """Frozen tokens -> layers and lesions, by a linear head and a UNETR-style decoder, beside controls.

    \b
    Example:                     (these masks are made by `octshard phantom --maps`)
      octshard eval segment --config segment_phantom checkpoint=runs/demo \\
          shards=shards/topcon_triton masks.folder=release/labels out=runs/segment
    """
    from octshard.config.dense import SegmentConfig
    from octshard.config.load import load

    cfg = load(SegmentConfig, config, overrides)
    from octshard.eval.dense.segment import segment as run

    with progress("segment") as on_progress:
        result = run(cfg, on_progress)
    click.echo(printable(result.text(), keep="\n"))
    click.echo(f"page: {cfg.out}/segment.html")


@evaluate.command("translate")
@config_option("translate")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_setting("translate"))
def translate(config: Sequence[str], overrides: Sequence[str]) -> None:
    """Frozen tokens -> vessels seen from above (OCT to OCTA), by the same heads, beside the same controls.

    \b
    Example:                     (these targets are made by `octshard phantom --maps`)
      octshard eval translate checkpoint=runs/demo shards=shards/topcon_triton \\
          targets.folder=release/vessels targets.pattern='{sop_instance_uid}.npy' out=runs/translate
    """
    from octshard.config.dense import TranslateConfig
    from octshard.config.load import load

    cfg = load(TranslateConfig, config, overrides)
    from octshard.eval.dense.translate import translate as run

    with progress("translate") as on_progress:
        result = run(cfg, on_progress)
    click.echo(printable(result.text(), keep="\n"))
    click.echo(f"page: {cfg.out}/translate.html")


@evaluate.command("compare")
@config_option("compare")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_setting("compare"))
def compare(config: Sequence[str], overrides: Sequence[str]) -> None:
    """Encoders and their seeds on the same people: paired, with Holm's correction; learning curves.

    \b
    Example:
      octshard eval compare features=runs/embed names=[vjepa2,vjepa2,mae,mae] \\
          participants=release/participants.tsv label_fractions=[0.01,0.1,1] out=runs/compare
    """
    from octshard.config.eval import CompareConfig
    from octshard.config.load import load

    cfg = load(CompareConfig, config, overrides)
    from octshard.eval.comparison.command import compare as run

    with progress("compare") as on_progress:
        result = run(cfg, on_progress)
    click.echo(printable(result.text(), keep="\n"))
    click.echo(f"page: {cfg.out}/compare.html")


@evaluate.command("embed")
@config_option("embed")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_setting("embed"))
def embed(config: Sequence[str], overrides: Sequence[str]) -> None:
    """Shards -> a table of features: once per scan, whole field of view, for any number of checkpoints.

    Killed, the same command goes on where it stopped.

    \b
    Example:
      octshard eval embed checkpoint=[runs/a,runs/b] shards=shards/topcon_triton out=runs/features
    """
    from octshard.config.eval import EmbedConfig
    from octshard.config.load import load

    cfg = load(EmbedConfig, config, overrides)
    from octshard.eval.embed import embed as run

    with progress("embed") as on_progress:
        table = run(cfg, on_progress)
    click.echo(printable(table.text(), keep="\n"))


@evaluate.command("finetune")
@config_option("finetune")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_setting("finetune"))
def finetune(config: Sequence[str], overrides: Sequence[str]) -> None:
    """Train the whole encoder on labels -> scores by participant, beside random encoders trained alike.

    \b
    Example:
      octshard eval finetune checkpoint=runs/demo shards=shards/topcon_triton \\
          participants=release/participants.tsv out=runs/finetune
    """
    from octshard.config.finetune import FinetuneConfig
    from octshard.config.load import load

    cfg = load(FinetuneConfig, config, overrides)
    from octshard.eval.finetune.run import finetune as run

    with progress("finetune") as on_progress:
        result = run(cfg, on_progress)
    click.echo(printable(result.text(), keep="\n"))
    click.echo(f"result: {cfg.out}/finetune.json")
