"""`octshard prep index` and `pseudonymise`: a folder of scans to a manifest, labels to go with it."""

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from octshard.errors import UsageError
from octshard.prep.index import layout_names
from octshard.printable import printable
from octshard.progress import progress

if TYPE_CHECKING:
    from octshard.prep.index.b_scan_set import BScanSet
    from octshard.prep.index.layout import Layout
    from octshard.prep.index.options import IndexOptions


@click.command()
@click.argument("folder")
@click.option("--out", default="manifest.tsv", show_default=True, help="The manifest to write.")
@click.option(
    "--person-from",
    type=click.Choice(["folder", "pattern", "dicom"]),
    help="Who a scan is of: the folder above it, {person} of --pattern, or PatientID.  [default: pattern if "
    "there is one, else folder]",
)
@click.option(
    "--pattern",
    default="",
    metavar="TEXT",
    help="What paths below FOLDER tell: {person} {date} {eye} {protocol} {device} {region}, * and **/.",
)
@click.option(
    "--layout",
    type=click.Choice(layout_names.ALL),
    help="A public data set as it is delivered: people by its names, and participants.tsv beside --out.",
)
@click.option(
    "--pseudonymise",
    "salt_file",
    metavar="SALT_FILE",
    help="Write salted hashes for people, and days since the first visit for dates.",
)
@click.option("--dates", is_flag=True, help="Take the day of acquisition from DICOM files.")
@click.option("--b-scan-folders", "folders", is_flag=True, help="A folder of numbered images is one scan.")
@click.option("--device", default="", help="Of scans whose device neither file nor path tells.")
@click.option(
    "--spacing",
    default="",
    metavar="MM,MM,MM",
    help="Of files that tell none: mm from B-scan to B-scan, in depth, and from A-scan to A-scan.",
)
@click.option(
    "--axes",
    default="",
    metavar="ORDER",
    help="Of arrays in another order than usual: d B-scans, h depth, w A-scans, as whd.",
)
@click.option("--workers", type=click.IntRange(0), default=0, help="At work at once; 0 = one per core.")
def index(folder: str, out: str, person_from: str | None, pattern: str, **options: Any) -> None:
    """Write a manifest, --out, of the scans below FOLDER and in its ZIPs, for prep shard.

    \b
    Example:
      octshard prep index scans --pattern '{person}/{date}/{eye}_{protocol}.dcm'
      octshard prep index OCTA-500 --layout octa-500 --device octa500
      octshard prep index FairVision/Glaucoma --layout fairvision --device fairvision_glaucoma
      octshard prep shard scans shards --manifest manifest.tsv
    """
    from octshard.prep.index import participants_table, run, summary

    asked, rule = _asked(folder, person_from, pattern, options)
    with progress("index") as on_progress:
        result = run.index(folder, out, asked, on_progress)
    click.echo(printable(summary.text(result), keep="\n"))
    if rule is not None:
        with progress("labels") as on_progress:
            table = participants_table.write(out, folder, rule, asked, on_progress)
        click.echo(printable(table.text, keep="\n"))
    following = shlex.join(["octshard", "prep", "shard", folder, "SHARDS", "--manifest", out])
    click.echo(printable(f"next: {following}"))


def _asked(
    folder: str, person_from: str | None, pattern: str, options: Mapping[str, Any]
) -> "tuple[IndexOptions, Layout | BScanSet | None]":
    """What the options ask for, and the public data set that --layout names."""
    from octshard.prep.index import path_pattern, pseudonym, public_set, run, spacing_option
    from octshard.prep.index.options import IndexOptions
    from octshard.prep.index.person import PersonRule

    name = options["layout"]
    if name and (pattern or person_from):
        raise UsageError(f"--layout {name}: it says who is who; leave out --pattern and --person-from")
    rule = None if not name else public_set.of(name, run.checked(folder))
    parsed = path_pattern.parse(pattern) if pattern else rule
    salt = pseudonym.read_salt(options["salt_file"]) if options["salt_file"] else b""
    people = PersonRule(person_from or ("pattern" if parsed else ""), parsed, salt)
    lengths = spacing_option.parse(options["spacing"]) if options["spacing"] else None
    folders, singles = public_set.images_of(rule)
    asked = IndexOptions(
        people,
        options["dates"],
        options["device"],
        options["workers"],
        folders=options["folders"] or folders,
        singles=singles,
        spacing=lengths,
        axes=options["axes"].lower(),
    )
    return asked, rule


@click.command()
@click.argument("table")
@click.option("--salt", "salt_file", required=True, metavar="SALT_FILE", help="That of prep index.")
@click.option("--out", required=True, help="The table to write, tab-separated.")
@click.option("--column", default="", metavar="NAME", help="Of people, where it has no usual name.")
@click.option("--drop", multiple=True, metavar="NAME", help="A column to leave out; may be given again.")
def pseudonymise(table: str, salt_file: str, out: str, column: str, drop: tuple[str, ...]) -> None:
    """Write the labels of TABLE (CSV, TSV or .xlsx) under the pseudonyms of prep index --pseudonymise.

    \b
    Example:
      octshard prep pseudonymise labels.csv --salt SALT_FILE --out labels.tsv --drop name
    """
    from octshard.prep.index import pseudonym, pseudonym_table

    result = pseudonym_table.write(table, out, pseudonym.read_salt(salt_file), column, drop)
    click.echo(printable(f"{out}: {result.text}", keep="\n"))
