"""`octshard config`: every setting with its type, default, bounds, unit and meaning."""

from typing import Any

import click


@click.command()
@click.argument("which", type=click.Choice(["train", "prep", "probe"]), default="train")
@click.argument("prefix", default="")
def config(which: str, prefix: str) -> None:
    """List the settings of `train`, `prep shard` or `eval linear-probe`; PREFIX: only keys that begin so.

    They are given in a YAML file (--config) or as KEY=VALUE words. The shell completes them after
    `eval "$(_OCTSHARD_COMPLETE=bash_source octshard)"` (bash; zsh_source, fish_source for the others).

    \b
    Example:
      octshard config train run.
    """
    from octshard.config.fields import settings
    from octshard.config.load import CLASSES, shipped_configs

    rows = [setting for setting in settings(CLASSES[which]) if setting.key.startswith(prefix)]
    width = max((len(setting.key) for setting in rows), default=0)
    for setting in rows:
        facts = [setting.type, setting.rule.bounds(), setting.rule.unit]
        click.echo(
            f"{setting.key:<{width}}  = {value_text(setting.default)}  ({'; '.join(filter(None, facts))})"
        )
        speed = " [speed only]" if setting.rule.speed else ""
        click.echo(f"{'':<{width}}    {setting.rule.doc}{speed}")
    shipped = shipped_configs(which)
    if shipped and not prefix:
        click.echo(f"\nshipped configs, for --config: {', '.join(shipped)}")
    if not rows:
        raise click.UsageError(
            f"no setting of {which} begins with {prefix!r}; octshard config {which} lists them"
        )


def value_text(value: Any) -> str:
    """A value as it is written in YAML."""
    if value is None:
        return "null"
    if isinstance(value, list):
        return f"[{', '.join(map(value_text, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value) or "''"
