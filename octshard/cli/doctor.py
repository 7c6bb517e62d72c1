"""`octshard doctor`: what works on this machine."""

from collections.abc import Sequence

import click

from octshard.errors import OctshardError


@click.command()
@click.argument("urls", nargs=-1, metavar="[URL]...")
@click.option("--write", is_flag=True, help="Put a small object at each URL, read it back and remove it.")
@click.option("--cache-dir", default="", metavar="DIR", help="Folder meant for data.cache_dir.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
def doctor(urls: Sequence[str], write: bool, cache_dir: str, as_json: bool) -> None:
    """What works on this machine: versions, codecs, accelerators, memory, disk, and access to each URL.

    Exit code 0 if nothing fails; a warning is no failure.

    \b
    Example:
      octshard doctor
      octshard doctor gs://BUCKET/shards --write
    """
    from octshard.doctor.run import examine

    report = examine(urls, cache_dir, write=write)
    click.echo(report.json() if as_json else report.text())
    if report.failed:
        raise OctshardError(f"doctor: {len(report.failed)} checks failed: {'; '.join(report.failed)}")
