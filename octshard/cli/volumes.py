"""`octshard export-volume` and `octshard view`: what lies in shards, for other viewers and for a browser."""

from collections.abc import Sequence

import click

from octshard.cli.source_option import source_option
from octshard.errors import UsageError
from octshard.printable import printable
from octshard.progress import progress


@click.command("export-volume")
@click.argument("shards")
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@click.option("--out", required=True, help="FILE.nii.gz, FILE.nii or FILE.npy for one key, else a folder.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["nifti", "npy", "png"]),
    help="Of the files in a folder.  [default: png]",
)
@click.option("--replace", is_flag=True, help="Takes the place of older files.")
def export_volume(shards: str, keys: Sequence[str], out: str, form: str | None, replace: bool) -> None:
    """Write stored volumes as NIfTI (extra `nifti`), as NPY, or as a PNG for each B-scan.

    SHARDS is a device folder or the parent of several. The voxels are those of the shards; NPY and PNG have a
    JSON beside them that gives spacing, device and eye.

    \b
    Example:
      octshard export-volume shards 1001-topcon_triton-3d_macula-L-9beccc3e0c --out scan.nii.gz
      octshard export-volume shards KEY KEY --out volumes --format npy
    """
    from octshard.export.volumes import VolumeRequest, export

    with progress("export-volume") as on_progress:
        lines = list(export(VolumeRequest(shards, keys, out, form or "", replace), on_progress))
    for line in lines:
        click.echo(printable(line))


@click.command()
@click.argument("shards")
@click.option("--out", default="view.html", show_default=True, help="The page to write.")
@click.option("--key", "keys", multiple=True, metavar="KEY", help="A stored volume; may repeat.")
@click.option(
    "--count",
    type=click.IntRange(1, 200),
    help="So many, drawn of all devices by a seed, protocols in turn.  [default: 12]",
)
@source_option
def view(shards: str, out: str, keys: Sequence[str], count: int | None, source: str) -> None:
    """One self-contained page of at most 20 MB to leaf through volumes: B-scans, en face, flags, refusals.

    SHARDS is a device folder or the parent of several. With more volumes, fewer B-scans of each are shown.

    \b
    Example:
      octshard view shards --out view.html
      octshard view shards --key 1001-topcon_triton-3d_macula-L-9beccc3e0c
    """
    if keys and count:
        raise UsageError(f"--key and --count={count}: want one of the two")
    from octshard.prep.view.page import ViewRequest, write

    request = ViewRequest(shards, out, tuple(keys), count or 12, source)
    with progress("view") as on_progress:
        page = write(request, on_progress)
    click.echo(printable(f"page: {page}"))
