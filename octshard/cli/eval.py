"""`octshard eval`: frozen weights to numbers."""

from collections.abc import Callable, Sequence
from typing import Any

import click

from octshard.cli.completion import complete_setting, config_option
from octshard.errors import UsageError
from octshard.printable import printable
from octshard.progress import progress

Run = Callable[..., Any]  # (cfg, on_progress) -> a result with text()


@click.group(name="eval")
def evaluate() -> None:
    """Turn frozen weights into numbers."""


def _command(kind: str, line: str = "", head: str = "") -> Callable[[Callable[[], Run]], click.Command]:
    """Makes a command of a function that imports what is run; its docstring is the help.

    kind: of the config; line: the last one printed, of settings; head: the only one that the command is.
    """

    def decorate(importer: Callable[[], Run]) -> click.Command:
        name = importer.__name__.replace("_", "-")

        @evaluate.command(name, help=importer.__doc__)
        @config_option(kind)
        @click.argument(
            "overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_setting(kind)
        )
        def command(config: Sequence[str], overrides: Sequence[str]) -> None:
            from octshard.config.kinds import CLASSES
            from octshard.config.load import load

            cfg: Any = load(CLASSES[kind], config, [f"head={head}", *overrides] if head else overrides)
            if head and cfg.head != head:
                raise UsageError(
                    f"head={cfg.head}: octshard eval {name} is head={head}, want octshard eval linear-probe "
                    f"head={cfg.head}"
                )
            run = importer()
            with progress(name.replace("-", " ")) as on_progress:
                result = run(cfg, on_progress)
            click.echo(printable(result.text(), keep="\n"))
            if line:
                click.echo(printable(line.format_map(vars(cfg))))

        return command

    return decorate


@_command("probe", "page: {out}/probe.html")
def linear_probe() -> Run:
    """Frozen features -> a linear head, or one hidden layer -> scores by participant, beside controls.

    \b
    Example:
      octshard eval linear-probe checkpoint=runs/demo shards=shards/topcon_triton \\
          participants=release/participants.tsv out=runs/probe
    """
    from octshard.eval.linear_probe import linear_probe as run

    return run


@_command("probe", "page: {out}/probe.html", head="knn")
def knn() -> Run:
    """As linear-probe with head=knn: frozen features -> their nearest people, whose number val chooses.

    \b
    Example:
      octshard eval knn checkpoint=runs/demo shards=shards/topcon_triton \\
          participants=release/participants.tsv out=runs/knn
    """
    from octshard.eval.linear_probe import linear_probe

    return linear_probe


@_command("probe", "page: {out}/probe.html", head="attentive")
def attentive_probe() -> Run:
    """As linear-probe with head=attentive: all tokens of a scan -> a learned query, by a grid of lr x decay.

    \b
    Example:
      octshard eval attentive-probe checkpoint=runs/demo shards=shards/topcon_triton \\
          participants=release/participants.tsv out=runs/attentive
    """
    from octshard.eval.linear_probe import linear_probe

    return linear_probe


@_command("report", "page: {out}/report.html")
def report() -> Run:
    """One page for one or many checkpoints: every head and control, figures, pictures of scans.

    Shards are read once for all of it. Killed, the same command goes on behind the features that are stored.

    \b
    Example:
      octshard eval report checkpoint=[runs/a,runs/b] names=[vjepa2,byol] heads=[linear,knn,mlp] \\
          shards=shards/topcon_triton participants=release/participants.tsv out=runs/report
    """
    from octshard.eval.report.command import report as run

    return run


@_command("robustness", "page: {out}/robustness.html")
def robustness() -> Run:
    """Do frozen features follow the eye, or the device and site that scanned it? Encodes nothing.

    \b
    Example:
      octshard eval robustness features=runs/embed participants=release/participants.tsv \\
          out=runs/robustness
    """
    from octshard.eval.robustness.command import robustness as run

    return run


@_command("segment", "page: {out}/segment.html")
def segment() -> Run:
    """Frozen tokens -> layers and lesions, by a linear head and a UNETR-style decoder, beside controls.

    \b
    Example:                     (these masks are made by `octshard phantom --maps`)
      octshard eval segment --config segment_phantom checkpoint=runs/demo \\
          shards=shards/topcon_triton masks.folder=release/labels out=runs/segment
    """
    from octshard.eval.dense.segment import segment as run

    return run


@_command("translate", "page: {out}/translate.html")
def translate() -> Run:
    """Frozen tokens -> vessels seen from above (OCT to OCTA), by the same heads, beside the same controls.

    \b
    Example:                     (these targets are made by `octshard phantom --maps`)
      octshard eval translate checkpoint=runs/demo shards=shards/topcon_triton \\
          targets.folder=release/vessels targets.pattern='{sop_instance_uid}.npy' out=runs/translate
    """
    from octshard.eval.dense.translate import translate as run

    return run


@_command("compare", "page: {out}/compare.html")
def compare() -> Run:
    """Encoders and their seeds on the same people: paired, with Holm's correction; learning curves.

    \b
    Example:
      octshard eval compare features=runs/embed names=[vjepa2,vjepa2,mae,mae] \\
          participants=release/participants.tsv label_fractions=[0.01,0.1,1] out=runs/compare
      octshard eval compare checkpoint=[runs/a,runs/b] shards=shards/topcon_triton \\
          participants=release/participants.tsv out=runs/compare
    """
    from octshard.eval.comparison.command import compare as run

    return run


@_command("embed")
def embed() -> Run:
    """Shards -> a table of features: once per scan, whole field of view, for any number of checkpoints.

    Killed, the same command goes on where it stopped.

    \b
    Example:
      octshard eval embed checkpoint=[runs/a,runs/b] shards=shards/topcon_triton out=runs/features
    """
    from octshard.eval.embed import embed as run

    return run


@_command("finetune", "page: {out}/finetune.html")
def finetune() -> Run:
    """Train the whole encoder on labels -> scores by participant, beside random encoders trained alike.

    \b
    Example:
      octshard eval finetune checkpoint=runs/demo shards=shards/topcon_triton \\
          participants=release/participants.tsv out=runs/finetune
    """
    from octshard.eval.finetune.run import finetune as run

    return run
