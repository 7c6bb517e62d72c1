"""The command line of every benchmark: --quick, --json FILE, --only SECTION.

    @benchmark(SECTIONS, "Fewer volumes.")
    def main(quick: bool, json_file: str | None, only: tuple[str, ...]) -> None: ...

`only` holds all sections if none is named. Further options stand below `@benchmark`.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click


def benchmark(sections: Iterable[str], quick: str) -> Callable[[Callable[..., None]], click.Command]:
    """Makes a click command of a function. quick: what --quick does, one sentence."""
    names = tuple(sections)
    options = (
        click.option("--quick", is_flag=True, help=f"{quick} Under a minute on two cores."),
        click.option(
            "--json",
            "json_file",
            type=click.Path(dir_okay=False, writable=True),
            callback=_in_a_folder,
            help="Write all figures to this file.",
        ),
        click.option(
            "--only",
            multiple=True,
            type=click.Choice(names),
            callback=lambda _ctx, _option, chosen: chosen or names,
            help="Run this section; may repeat.",
        ),
    )

    def decorate(main: Callable[..., None]) -> click.Command:
        for option in reversed(options):
            main = option(main)
        return click.command(context_settings={"help_option_names": ["-h", "--help"]})(main)

    return decorate


def _in_a_folder(_ctx: click.Context, _option: Any, path: str | None) -> str | None:
    """Said before the run, which may take an hour, and not after it."""
    if path and not Path(path).absolute().parent.is_dir():
        raise click.BadParameter(f"{path}: no folder {Path(path).parent}; make it first")
    return path
