"""The README's pictures: what the model sees of a made-up eye, by the functions of `octshard preview`.

`python docs/figures/preview.py` writes preview.png and preview.gif beside this file; the same environment
gives the same bytes. octshard makes all of it: phantom, resampling, shard, the shipped pretraining config.
"""

import dataclasses
import io
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from octshard.config.load import load
from octshard.config.prep import PrepConfig
from octshard.config.train import TrainConfig
from octshard.dataset import shard, tables
from octshard.dataset.tables import SampleRow, ShardInfo
from octshard.imaging.intensity import histogram, moments
from octshard.imaging.resample import resample
from octshard.imaging.volume import SampleKey, Volume, triple
from octshard.phantom import eye, scan
from octshard.phantom.device import PROTOCOLS
from octshard.phantom.eye import Person
from octshard.pictures import figure, sweep
from octshard.pictures.model_view import ModelView
from octshard.pictures.palette import in_palette, palette_of
from octshard.rng import rng_for
from octshard.storage import store
from octshard.train.preview import PreviewRequest, previews

FOLDER = Path(__file__).parent
CONFIG, SEED = "pretrain_vjepa_single_domain", 3
PERSON, SIDE = Person("1000", "fluid", severity=0.9, age=68), "R"
COLUMNS, DPI, LEVELS = 4, 200, 96
TITLE = "A made-up eye, as a step of pretraining gets it (Topcon Triton, macula 6 x 6 mm)"


def volume() -> Volume:
    """The eye, scanned and resampled as `octshard prep shard --config seed` does: the same every time."""
    protocol = next(p for p in PROTOCOLS if p.device == "topcon_triton")
    picture = scan.acquire(eye.generate(PERSON, SIDE, 0), protocol, 1.0, rng_for("preview.png", 0))
    step_mm = triple([mm / n for mm, n in zip(picture.extent_mm, picture.shape, strict=True)])
    key = SampleKey.of(PERSON.participant, protocol.device, protocol.name, SIDE, "2.25.1")
    return resample(Volume(key, picture.voxels_DHW, step_mm), triple(PrepConfig().target_spacing))


def write_dataset(folder: str, stored: Volume) -> None:
    """A dataset folder that holds this volume alone."""
    key, name = stored.key, "train-000000.tar"
    values = moments(histogram(stored.voxels_DHW))
    data = shard.pack(str(key), {"mean": values.mean, "std": values.std}, stored.voxels_DHW, 3)
    with store.open_write(store.join(folder, name)) as file:
        sums = shard.write(file, [data])
    row = SampleRow(
        str(key), key.participant, key.device, "", "", key.protocol, "Macula", SIDE, "train", "made up",
        shape_out=triple(stored.voxels_DHW.shape), spacing_out=stored.spacing_mm, dtype="uint8",
        mean=values.mean, std=values.std, shard=name, offset=sums.offsets[0], nbytes=len(data),
        xxh3=shard.slice_digest(data),
    )  # fmt: skip
    info = ShardInfo(name, key.device, "train", 1, sums.bytes, sums.sha256)
    tables.write_rows(store.join(folder, tables.SAMPLES), [row])
    tables.write_shards(store.join(folder, tables.SHARDS), [info])
    tables.write_info(store.join(folder, tables.INFO), {})


def model_view() -> ModelView:
    """What a step of the shipped config gets of the volume."""
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(folder, volume())
        cfg = load(TrainConfig, [CONFIG], [f"data.shards={folder}", f"run.seed={SEED}"])
        view = next(previews(cfg, PreviewRequest((), 1, ""))).view
    return dataclasses.replace(view, title=TITLE)


def png(view: ModelView) -> bytes:
    """The figure in few colours, which makes it a third as large."""
    with Image.open(io.BytesIO(figure.render(view, "png", COLUMNS, DPI))) as image:
        few = in_palette(np.asarray(image.convert("RGB")), palette_of(view, LEVELS))
    out = io.BytesIO()
    few.save(out, "PNG", optimize=True)
    return out.getvalue()


def main() -> None:
    """Writes both."""
    view = model_view()
    (FOLDER / "preview.png").write_bytes(png(view))
    (FOLDER / "preview.gif").write_bytes(sweep.render(view))


if __name__ == "__main__":
    main()
