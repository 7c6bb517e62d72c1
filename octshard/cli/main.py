"""The commands; each is one call into its package. Errors are one line.

Exit 0 done, 1 failed, 2 wrong usage, 130 or 143 stopped by Ctrl-C or SIGTERM before the end.

Packages are imported inside their command, so that `octshard --help` is quick.
"""

import contextlib
import logging
import sys

import click

from octshard import __version__, stop_signals
from octshard.cli import streams
from octshard.cli.config import config
from octshard.cli.demo import demo, phantom
from octshard.cli.doctor import doctor
from octshard.cli.eval import evaluate
from octshard.cli.export import export
from octshard.cli.prep import prep
from octshard.cli.preview import preview
from octshard.cli.train import stream_check, train
from octshard.cli.volumes import export_volume, view
from octshard.errors import OctshardError, exit_code
from octshard.printable import printable
from octshard.progress import StderrHandler, write_line

DEBUG = "--debug"


def main() -> None:
    """The console script: runs a command and turns what it raises into one line and an exit code."""
    streams.open_closed()
    arguments = [word for word in sys.argv[1:] if word != DEBUG]
    _show_log()
    try:
        _run(arguments)
    finally:
        streams.drop_unwritable()


def _run(arguments: list[str]) -> None:
    try:
        with stop_signals.on_first_signal(stop_signals.interrupt):
            cli.main(arguments, prog_name="octshard", standalone_mode=False)
            sys.stdout.flush()  # while it can be said that it failed
    except click.ClickException as error:
        with contextlib.suppress(OSError):
            error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:
        interruption = error.__cause__ or error  # click turns it into its own, and an EOFError too
        if isinstance(interruption, EOFError):
            sys.exit(_report(interruption))
        write_line(f"octshard: interrupted {interruption}".rstrip())
        sys.exit(exit_code(interruption))
    except click.exceptions.Exit as request:
        sys.exit(request.exit_code)
    except Exception as error:  # the outermost edge: any other error is shown as one line
        if DEBUG in sys.argv:
            raise
        sys.exit(_report(error))


def _show_log() -> None:
    """Lines of the logger `octshard` go to stderr, once."""
    log = logging.getLogger("octshard")
    log.setLevel(logging.INFO)
    log.handlers = [handler for handler in log.handlers if not isinstance(handler, StderrHandler)]
    log.addHandler(StderrHandler())


def _report(error: Exception) -> int:
    if isinstance(error, OSError) and not error.filename and (problem := streams.stdout_problem()):
        text = f"standard output: {problem}"
    elif isinstance(error, OctshardError):
        text = str(error)
    else:
        text = " ".join(str(error).split())
        text = f"unexpected {type(error).__name__}: {text} ({DEBUG} shows where)"
    write_line(printable(f"octshard: {text}"))
    return exit_code(error)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="octshard")
@click.option(DEBUG, is_flag=True, help="Show the traceback of an error; may stand anywhere on the line.")
def cli(debug: bool) -> None:
    """OCT volumes -> shards once -> V-JEPA 2 pretraining -> linear probes.

    \b
    Example, the whole pipeline on made-up eyes:
      octshard demo --out demo
    """


for command in (
    demo, phantom, prep, view, export_volume, train, preview, stream_check, evaluate, export, config, doctor,
):  # fmt: skip
    cli.add_command(command)
