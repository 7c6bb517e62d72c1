"""Shell completion: KEY=VALUE words from the config classes, and the names of shipped configs.

Click makes the scripts for bash, zsh and fish; `octshard config --help` says how to switch them on.
"""

from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class

SHIPPED = ("train", "prep", "segment", "report")  # commands that shipped configs are for
Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


@add_completion_class
class Bash(BashComplete):
    """As click's, but KEY=VALUE is one word, which bash cuts at `=`, and no space follows a KEY=."""

    source_template = BashComplete.source_template.replace(
        "    return 0\n", '    [[ "${COMPREPLY[0]-}" == *= ]] && compopt -o nospace\n    return 0\n', 1
    )
    _replaced = ""  # the text before the word that bash replaces

    def get_completion_args(self) -> tuple[list[str], str]:
        args, incomplete = super().get_completion_args()
        if incomplete == "=" and args:
            incomplete = f"{args.pop()}="
            self._replaced = incomplete
        elif len(args) > 1 and args[-1] == "=":
            self._replaced = f"{args[-2]}="
            incomplete = self._replaced + incomplete
            del args[-2:]
        return args, incomplete

    def format_completion(self, item: CompletionItem) -> str:
        return f"{item.type},{item.value.removeprefix(self._replaced)}"


def complete_setting(name: str) -> Completer:
    """KEY= for every setting, and KEY=VALUE where the values can be listed."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from octshard.config.fields import settings
        from octshard.config.kinds import CLASSES

        items = []
        for setting in settings(CLASSES[name]):
            key, rule = setting.key, setting.rule
            if "[" in key:  # a list of groups is given as one YAML value
                continue
            values = rule.choices or (("true", "false") if setting.type == "true or false" else ())
            if "=" in incomplete:
                items += [CompletionItem(f"{key}={value}") for value in values]
            else:
                items.append(CompletionItem(f"{key}=", help=rule.doc))
        return [item for item in items if item.value.startswith(incomplete)]

    return complete


def config_option(name: str, **more: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option --config: YAML files, or shipped configs by name (there are some for SHIPPED)."""
    metavar, named = ("FILE|NAME", ", or a shipped config by name") if name in SHIPPED else ("FILE", "")
    return click.option(
        "--config",
        multiple=True,
        type=click.Path(),
        metavar=metavar,
        shell_complete=_complete_config(name),
        help=f"YAML file{named}; may repeat.",
        **more,
    )


def _complete_config(which: str) -> Completer:
    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from octshard.config.load import shipped_configs

        names = [name for name in shipped_configs(which) if name.startswith(incomplete)]
        return [CompletionItem(name) for name in names] or [CompletionItem(incomplete, type="file")]

    return complete
