"""Sources of features: one pass of an encoder for all of its own, and digests that follow the values."""

from dataclasses import replace

import numpy as np
import torch

from octshard.config.model import ModelConfig
from octshard.config.run import RunConfig
from octshard.devices import select
from octshard.eval import features
from octshard.eval.feature_table import FeatureInfo, Scan
from octshard.imaging.crop import crop_window
from octshard.imaging.retina_band import RetinaBand, blocks_of
from octshard.imaging.tiles import CENTRE, WHOLE, View
from octshard.models import pooling
from octshard.models.vit import Encoder
from octshard.probes.embedding import Reading, TileEncoder, box_of
from octshard.rng import rng_for
from octshard.stream.batch import Batch
from octshard.stream.sampler import StreamPosition

MODEL = ModelConfig([8, 32, 32], [4, 16, 16], width=24, depth=2, heads=2)
BACKEND = select.open_backend(RunConfig(device="cpu", precision="fp32"))
INFO = FeatureInfo("run", precision="fp32", checkpoint_digest="abc")


def batch(keys: tuple[str, ...]) -> Batch:
    """Volumes that follow from their keys; their extent too: some are larger than the image."""
    voxels, valid = torch.zeros((len(keys), 12, 40, 40), dtype=torch.uint8), []
    for i, key in enumerate(keys):
        rng = rng_for("volume", key)
        d, h, w = int(rng.integers(5, 13)), int(rng.integers(17, 41)), int(rng.integers(17, 41))
        voxels[i, :d, :h, :w] = torch.from_numpy(rng.integers(256, size=(d, h, w), dtype=np.uint8))
        valid.append((d, h, w))
    ones, size = torch.ones(len(keys)), len(keys)
    return Batch(
        voxels,
        100 * ones,
        50 * ones,
        torch.tensor(valid),
        keys,
        (0,) * size,
        size,
        StreamPosition(0, 0),
        (),
        keys,
    )


def tiles(depths: tuple[int, ...] = (2,), *, with_tokens: bool = False) -> TileEncoder:
    torch.manual_seed(0)
    view = View(WHOLE, (8, 32, 32), (4, 16, 16))
    reading = Reading(view, 4, *box_of(view, [(12, 40, 40)]), depths, pooling.POOLINGS, with_tokens)
    return TileEncoder(Encoder(MODEL), BACKEND, reading)


def test_all_sources_of_an_encoder_share_one_pass(monkeypatch):
    passes = []
    reader, real = tiles((1, 2), with_tokens=True), TileEncoder.tiles
    monkeypatch.setattr(
        TileEncoder, "tiles", lambda self, batch: (passes.append(batch), real(self, batch))[1]
    )
    sources = features.encoder_sources(reader, INFO, ("mean", "max", "tokens"))
    assert [source.name for source in sources] == [
        "run-1-mean", "run-1-max", "run-1-tokens", "run-last-mean", "run-last-max", "run-last-tokens"
    ]  # fmt: skip
    first, second = batch(("a", "b")), batch(("c", "d"))
    for examples in (first, second):
        mean_BF, max_BF = sources[3].values_of(examples), sources[4].values_of(examples)
        for i, scan in enumerate(sources[5].tokens_of(examples)):
            np.testing.assert_allclose(scan.z_VF.mean(0), mean_BF[i], atol=1e-5)
            np.testing.assert_array_equal(scan.z_VF.max(0), max_BF[i])
        assert mean_BF.dtype == np.float32
        assert not np.allclose(sources[0].values_of(examples), mean_BF)
    assert passes == [first, second]
    assert {source.origin.view for source in sources} == {"whole, tiles of at most 8x32x32"}


def test_digests_follow_all_that_changes_the_values_but_not_the_name():
    request = features.FeatureRequest((Scan("a", "p", sha256="1"),))
    sources = [
        *features.encoder_sources(tiles((1, 2)), INFO, ("mean", "max")),
        *features.encoder_sources(tiles(), replace(INFO, precision="bf16"), ("max",)),
        *features.encoder_sources(tiles(), replace(INFO, checkpoint_digest="x"), ("max",)),
        *features.encoder_sources(tiles(), INFO, ("tokens",), np.float16),
        *features.encoder_sources(tiles(), INFO, ("tokens",), np.float32),
    ]
    digests = {features.digest_of(source, request) for source in sources}
    assert len(digests) == len(sources) == 8
    (same,) = features.encoder_sources(tiles(), replace(INFO, source="b"), ("max",))
    assert features.digest_of(same, request) in digests
    others = features.FeatureRequest((Scan("a", "p", sha256="2"),))
    assert features.digest_of(same, others) not in digests


def test_weights_digest_follows_the_weights():
    torch.manual_seed(0)
    first = Encoder(MODEL)
    torch.manual_seed(0)
    second = Encoder(MODEL)
    assert features.weights_digest(first) == features.weights_digest(second)
    with torch.no_grad():
        second.embed.bias[0] += 1e-6
    assert features.weights_digest(first) != features.weights_digest(second)


def test_controls_see_what_the_view_has():
    """The centre of voxels and band, as the stream would have cropped them."""
    given, seen = batch(("a", "b")), []
    bands = [RetinaBand(np.full((12, blocks_of(40), 2), (3 * i, 20), np.int16)) for i in range(2)]
    given = replace(given, band_BDQ2=torch.from_numpy(np.stack([band.rows_DQ2 for band in bands])))
    source = features.FeatureSource(
        "x", "1", lambda each: (seen.append(each), np.zeros((2, 1), np.float32))[1]
    )
    view = View(CENTRE, (8, 32, 32), (4, 16, 16))
    features.in_view(source, view).values_of(given)
    features.in_view(source, View(WHOLE, (8, 32, 32), (4, 16, 16))).values_of(given)
    centre, whole = seen
    assert whole is given
    for i, extent in enumerate(given.valid_B3.tolist()):
        window = crop_window(tuple(extent), (8, 32, 32), None)
        d, h, w = centre.valid_B3[i].tolist()
        voxels = given.voxels_BDHW[i].numpy()[window]
        np.testing.assert_array_equal(centre.voxels_BDHW[i, :d, :h, :w], voxels)
        assert not centre.voxels_BDHW[i, d:].any()
        rows_DQ2 = bands[i].crop(window).rows_DQ2
        np.testing.assert_array_equal(centre.band_BDQ2[i, :d, : rows_DQ2.shape[1]], rows_DQ2)
