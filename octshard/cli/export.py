"""`octshard export`: an encoder that others can use."""

from collections.abc import Sequence

import click

from octshard.printable import printable


@click.command()
@click.argument("run_or_checkpoint", metavar="RUN|CKPT")
@click.argument("out")
@click.option(
    "--probe", "probes", multiple=True, metavar="FILE", help="A probe.json, for the card; may repeat."
)
@click.option("--licence", default="", metavar="ID", help="Of the weights, such as cc-by-nc-4.0.")
@click.option("--onnx", is_flag=True, help="Adds model.onnx (extra `onnx`).")
@click.option("--people", is_flag=True, help="Adds participants.json: digests of who was trained on.")
@click.option("--replace", is_flag=True, help="Takes the place of an older export at OUT.")
def export(run_or_checkpoint: str, out: str, probes: Sequence[str], licence: str, **flags: bool) -> None:
    """Write the encoder of a run as a folder: model.safetensors, config.json, a model card.

    RUN stands for its newest checkpoint. `octshard.load_encoder(OUT)` reads the folder, local or remote, and
    so does everything that takes checkpoint=OUT. Nothing is uploaded.

    \b
    Example:
      octshard export runs/triton export/triton --probe runs/probe/probe.json --licence cc-by-nc-4.0
    """
    from octshard.export.run import ExportRequest
    from octshard.export.run import export as run

    line = run(ExportRequest(run_or_checkpoint, out, licence, tuple(probes), **flags))
    click.echo(printable(line))
