"""`octshard demo` and `octshard phantom`: the whole pipeline on made-up eyes."""

from typing import Any

import click
from click.core import ParameterSource

from octshard.errors import UsageError
from octshard.pool import worker_count
from octshard.progress import progress

RELEASE_ALONE = ("maps", "defects", "workers")  # options that other forms have not


@click.command()
@click.option("--out", default="demo", show_default=True, help="Folder for everything the demo makes.")
@click.option("--participants", default=144, show_default=True, help="Made-up people.")
@click.option("--seed", default=0, show_default=True)
def demo(out: str, participants: int, seed: int) -> None:
    """The whole pipeline on made-up eyes: ZIPs, shards, pretraining, probe, OUT/report.html.

    \b
    Example:
      octshard demo --out demo
    """
    from octshard.demo import run
    from octshard.phantom.release import ReleaseSpec

    spec = ReleaseSpec(participants=participants, seed=seed, scale=run.SCALE, defects=True)
    page = run.run(out, spec)
    click.echo(f"report: {page}")


@click.command()
@click.argument("out")
@click.option(
    "--participants", default=24, show_default=True, help="People; each is scanned on several devices."
)
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--scale", default=1.0, show_default=True, help="Voxels per axis, as a share of the real shapes."
)
@click.option(
    "--defects/--no-defects", default=True, show_default=True, help="Plant files that must be refused."
)
@click.option(
    "--workers", type=click.IntRange(0), default=0, help="Processes; 0 = one per core.  [default: 0]"
)
@click.option("--maps", is_flag=True, help="Also OUT/labels and OUT/vessels: the truth as one .npy a scan.")
@click.option(
    "--as",
    "form",
    type=click.Choice(["release", "e2e", "nifti", "tiff", "dicom"]),
    default="release",
    show_default=True,
    help="release: an AI-READI release. Others: OUT/scans as a clinic or a data set delivers them, and "
    "OUT/labels.csv; half of the people are healthy, half have fluid in the macula.",
)
def phantom(out: str, form: str, defects: bool, workers: int, maps: bool, **options: Any) -> None:
    """Write made-up eyes with known layers, lesions and labels: an AI-READI-shaped release, or another form.

    \b
    Example:
      octshard phantom release --participants 24 --scale 0.25
      octshard phantom practice --as e2e --participants 24 --scale 0.12
    """
    if form != "release":
        for name in RELEASE_ALONE:
            if click.get_current_context().get_parameter_source(name) is not ParameterSource.DEFAULT:
                raise UsageError(
                    f"--{name} and --as {form}: --{name} is of a release; leave out one of the two"
                )
        _deliver(out, form, **options)
        return
    from octshard.phantom import delivery, true_maps
    from octshard.phantom.release import ReleaseSpec, write_release

    spec = ReleaseSpec(**options, defects=defects)
    delivery.check_is_none(out)
    with progress("made-up eyes") as on_progress:
        summary = write_release(out, spec, worker_count(workers), on_progress)
    if maps:
        true_maps.write(out)
    click.echo(
        f"{out}: {summary.volumes} scans of {summary.participants} people, "
        f"{summary.bytes / 1e6:.1f} MB in ZIPs"
    )


def _deliver(out: str, form: str, **options: Any) -> None:
    from octshard.phantom import delivery

    spec = delivery.DeliverySpec(form, **options)
    with progress("made-up eyes") as on_progress:
        summary = delivery.write(out, spec, on_progress)
    click.echo(
        f"{out}: {summary.files} files of {summary.participants} people, {summary.bytes / 1e6:.1f} MB, in "
        f"{delivery.SCANS}, and {delivery.LABELS}"
    )
