"""`octshard config`: every setting with its type, default, bounds, unit and meaning."""

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from octshard.config.fields import Setting


@click.command()
@click.argument(
    "which",
    type=click.Choice(
        [
            "train",
            "prep",
            "probe",
            "report",
            "robustness",
            "compare",
            "segment",
            "translate",
            "embed",
            "finetune",
        ]
    ),
    default="train",
)
@click.argument("prefix", default="")
@click.option(
    "--translate", "file", metavar="FILE", help="Writes another project's training YAML with our keys."
)
def config(which: str, prefix: str, file: str | None) -> None:
    """List the settings of `train`, `prep shard` or a command of `eval`; PREFIX: only keys that begin so.

    Behind each setting of `train`: may it be another one when a run goes on (`octshard train --help`)?

    They are given in a YAML file (--config) or as KEY=VALUE words. The shell completes them after
    `eval "$(_OCTSHARD_COMPLETE=bash_source octshard)"` (bash; zsh_source, fish_source for the others).

    \b
    Example:
      octshard config train run.
      octshard config --translate old.yaml > new.yaml
    """
    if file is not None:
        _translate(file)
        return
    from octshard.config.fields import settings
    from octshard.config.kinds import CLASSES
    from octshard.config.load import shipped_configs

    rows = [setting for setting in settings(CLASSES[which]) if setting.key.startswith(prefix)]
    width = max((len(setting.key) for setting in rows), default=0)
    for setting in rows:
        facts = [setting.type, setting.rule.bounds(), setting.rule.unit]
        click.echo(
            f"{setting.key:<{width}}  = {value_text(setting.default)}  ({'; '.join(filter(None, facts))})"
        )
        click.echo(f"{'':<{width}}    {setting.rule.doc}{_note(which, setting)}")
    shipped = shipped_configs(which)
    if shipped and not prefix:
        click.echo(f"\nshipped configs, for --config: {', '.join(shipped)}")
    if not rows:
        raise click.UsageError(
            f"no setting of {which} begins with {prefix!r}; octshard config {which} lists them"
        )


def _translate(file: str) -> None:
    """Prints the file in our words, and says which of its values do not fit."""
    from omegaconf import DictConfig

    from octshard.config.load import load_saved, read_layer
    from octshard.config.train import TrainConfig
    from octshard.config.translation import translate, written
    from octshard.errors import UsageError

    layer = read_layer(TrainConfig, file)
    if not isinstance(layer, DictConfig):
        raise UsageError(f"config {file}: found a {type(layer).__name__}, want key: value pairs")
    text = written(translate(layer))
    click.echo(text, nl=False)
    load_saved(TrainConfig, text, file)


def _note(which: str, setting: "Setting") -> str:
    from octshard.config import on_resume

    if which == "train":
        return f" [on resume: {on_resume.mark(setting)}]"
    return " [speed only]" if setting.rule.speed else ""


def value_text(value: Any) -> str:
    """A value as it is written in YAML."""
    if value is None:
        return "null"
    if isinstance(value, list):
        return f"[{', '.join(map(value_text, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value) or "''"
