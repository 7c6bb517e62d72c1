"""The option --source of commands that draw refused files."""

import click

source_option = click.option(
    "--source",
    default="",
    metavar="SRC",
    help="The release root, or the manifest of an index of it, for pictures of refused files.  [default: as "
    "prep shard read it, if local]",
)
