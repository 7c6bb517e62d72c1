"""`octshard preview`: pictures of what the model sees."""

from collections.abc import Sequence

import click

from octshard.cli.completion import complete_setting, config_option
from octshard.errors import UsageError
from octshard.printable import printable
from octshard.progress import progress


@click.command()
@config_option("train", required=True)
@click.option("--out", default="preview.png", show_default=True, help="The figure: .png, .pdf or .svg.")
@click.option("--gif", default="", metavar="FILE", help="Also an animation through the B-scans: .gif.")
@click.option("--key", "keys", multiple=True, metavar="KEY", help="A volume of train or val; may repeat.")
@click.option(
    "--count", type=click.IntRange(1, 100), help="The first so many of the run's stream.  [default: 1]"
)
@click.option(
    "--columns", type=click.IntRange(1, 8), default=4, show_default=True, help="B-scans side by side."
)
@click.option(
    "--checkpoint",
    default="",
    metavar="RUN|FILE",
    help="Adds the features of its target encoder, as colours.",
)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_setting("train"))
def preview(
    config: Sequence[str],
    overrides: Sequence[str],
    keys: Sequence[str],
    count: int | None,
    checkpoint: str,
    out: str,
    gif: str,
    columns: int,
) -> None:
    """What the model sees of a volume: both views, context and targets, in true proportions.

    The pictures show no participant. Several volumes give preview-1.png, preview-2.png and so on.

    \b
    Example:
      octshard preview --config demo data.shards=shards/topcon_triton --out preview.png --gif preview.gif
    """
    from octshard.config.load import load
    from octshard.config.train import TrainConfig

    cfg = load(TrainConfig, config, overrides)
    if keys and count:
        raise UsageError(f"--key and --count={count}: want one of the two")
    from octshard.train.preview import PreviewFiles, PreviewRequest, write

    request = PreviewRequest(tuple(keys), count or 1, checkpoint)
    with progress("preview") as on_progress:
        lines = list(write(cfg, request, PreviewFiles(out, gif, columns), on_progress))
    for line in lines:
        click.echo(printable(line))
