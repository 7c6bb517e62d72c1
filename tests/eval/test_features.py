"""Features: made once, kept with their keys, and never used for other scans or another checkpoint."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from octshard.config.model import ModelConfig
from octshard.config.run import RunConfig
from octshard.devices import select
from octshard.errors import OctshardError
from octshard.eval import feature_table, features
from octshard.eval.feature_table import Features, Scan
from octshard.models.vit import Encoder
from octshard.rng import rng_for
from octshard.stream.batch import Batch
from octshard.stream.sampler import StreamPosition

KEYS = ("a", "b", "c", "d", "e")


def scans(keys: tuple[str, ...], sha256: str = "1") -> features.FeatureRequest:
    return features.FeatureRequest(tuple(Scan(key, f"p{key}", sha256=sha256) for key in keys))


WANTED = scans(KEYS)
MODEL = ModelConfig([8, 32, 32], [4, 16, 16], width=24, depth=2, heads=2)


def batch(keys: tuple[str, ...], count: int) -> Batch:
    """Volumes that follow from their keys; their valid extent too."""
    voxels, valid = (
        torch.zeros((len(keys), 8, 32, 32), dtype=torch.uint8),
        torch.zeros((len(keys), 3), dtype=int),
    )
    for i, key in enumerate(keys):
        rng = rng_for("volume", key)
        d, h, w = int(rng.integers(5, 9)), int(rng.integers(17, 33)), int(rng.integers(17, 33))
        voxels[i, :d, :h, :w] = torch.from_numpy(rng.integers(256, size=(d, h, w), dtype=np.uint8))
        valid[i] = torch.tensor([d, h, w])
    ones = torch.ones(len(keys))
    return Batch(
        voxels, 100 * ones, 50 * ones, valid, keys, (0,) * len(keys), count, StreamPosition(0, 0), (), keys
    )


def batches() -> Iterator[Batch]:
    """Five scans, the last batch filled up with a repeat as the stream does."""
    yield batch(("a", "b"), 2)
    yield batch(("c", "d"), 2)
    yield batch(("e", "e"), 1)


class Counting:
    """A source that counts how many scans it was asked for."""

    def __init__(self, digest: str = "1", name: str = "x") -> None:
        self.calls = 0
        self.source = features.FeatureSource(name, digest, self.values_of)

    def values_of(self, examples: Batch) -> np.ndarray:
        self.calls += 1
        return np.array([[ord(key), 1.0] for key in examples.keys], np.float32)


def never() -> Iterator[Batch]:
    raise AssertionError("the shards were read although everything was kept")


def test_features_stand_at_their_keys_whatever_the_order(tmp_path):
    turned = [batch(("e", "a"), 2), batch(("d", "c"), 2), batch(("b", "b"), 1)]
    extracted = features.extract([Counting().source], WANTED, str(tmp_path), lambda: turned)["x"]
    assert extracted.keys == KEYS
    np.testing.assert_array_equal(extracted.values_NF[:, 0], [ord(key) for key in KEYS])
    assert extracted.values_NF.dtype == np.float32


def test_what_is_kept_is_not_computed_again(tmp_path):
    first, second, other = Counting(), Counting(), Counting(name="y")
    computed = features.extract([first.source], WANTED, str(tmp_path), batches)["x"]
    stored = features.extract([second.source], WANTED, str(tmp_path), never)["x"]
    assert (first.calls, second.calls) == (3, 0)
    np.testing.assert_array_equal(computed.values_NF, stored.values_NF)
    assert computed.digest == stored.digest
    features.extract([second.source, other.source], WANTED, str(tmp_path), batches)
    assert (second.calls, other.calls) == (0, 3)


def test_the_order_is_that_of_the_sources(tmp_path):
    first, second = Counting(name="x"), Counting(name="y")
    features.extract([second.source], WANTED, str(tmp_path), batches)
    extracted = features.extract([first.source, second.source], WANTED, str(tmp_path), batches)
    assert list(extracted) == ["x", "y"]


@pytest.mark.parametrize(
    ("source", "scans"),
    [
        (Counting("2"), WANTED),
        (Counting(name="y"), WANTED),
    ],
    ids=["checkpoint", "name"],
)
def test_another_checkpoint_or_name_is_computed(tmp_path, source, scans):
    features.extract([Counting().source], WANTED, str(tmp_path), batches)
    source.calls = 0
    features.extract([source.source], scans, str(tmp_path), batches)
    assert source.calls == 3


@pytest.mark.parametrize("damage", ["cut", "flipped", "shape", "digest", "dtype", "nan", "text", "empty"])
def test_a_stale_or_damaged_file_is_rejected_and_made_again(tmp_path, damage):
    computed = features.extract([Counting().source], WANTED, str(tmp_path), batches)["x"]
    (path,) = tmp_path.glob("*.safetensors")
    data, values_NF, digest = path.read_bytes(), computed.values_NF.copy(), computed.digest
    at = data.index(values_NF.tobytes())
    broken = {
        "cut": data[: len(data) // 2],
        "flipped": data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :],
        "text": b"hello",
        "empty": b"",
    }
    if damage in broken:
        path.write_bytes(broken[damage])
    else:
        values_NF = values_NF[:-1] if damage == "shape" else values_NF
        values_NF = values_NF.astype(np.float64) if damage == "dtype" else values_NF
        if damage == "nan":
            values_NF[0, 0] = np.nan
        other = Features(KEYS, values_NF, "0" * 16 if damage == "digest" else digest)
        feature_table.write_features(str(path), other, WANTED.digest)
    assert feature_table.read_features(str(path), KEYS, digest) is None
    again = Counting()
    recomputed = features.extract([again.source], WANTED, str(tmp_path), batches)["x"]
    assert again.calls == 3
    np.testing.assert_array_equal(recomputed.values_NF, computed.values_NF)
    assert path.read_bytes() == data


def test_a_failed_pass_keeps_nothing(tmp_path):
    with pytest.raises(OctshardError, match="1 scans never came, the first is e"):
        features.extract([Counting().source], WANTED, str(tmp_path), lambda: [batch(("a", "b", "c", "d"), 4)])
    assert not list(tmp_path.glob("*.safetensors"))


def test_numbers_that_are_not_finite_name_the_scan(tmp_path):
    broken = features.FeatureSource(
        "x", "1", lambda examples: np.full((len(examples.keys), 2), np.nan, np.float32)
    )
    with pytest.raises(OctshardError, match="scan a gave nan or inf"):
        features.extract([broken], WANTED, str(tmp_path), batches)


def test_a_scan_listed_twice_is_an_error(tmp_path):
    with pytest.raises(OctshardError, match="scan a is listed twice"):
        features.extract([Counting().source], scans(("a", "b", "a")), str(tmp_path), batches)


def test_encoder_features_are_the_mean_over_tokens_that_hold_the_volume():
    torch.manual_seed(0)
    encoder = Encoder(MODEL)
    examples = batch(("a", "b"), 2)
    backend = select.open_backend(RunConfig(device="cpu", precision="fp32"))
    values_BF = features.encoder_source("x", encoder, "1", backend, 8).values_of(examples)
    for i in range(2):
        d, h, w = examples.valid_B3[i].tolist()
        x = np.zeros((8, 32, 32), np.float32)
        x[:d, :h, :w] = (examples.voxels_BDHW[i, :d, :h, :w].numpy() - 100.0) / 50
        with torch.no_grad():
            tokens = [(a, b, c) for a in range(2) for b in range(2) for c in range(2)]
            valid = [n for n, (a, b, c) in enumerate(tokens) if 4 * a < d and 16 * b < h and 16 * c < w]
            z_KF = encoder(torch.from_numpy(x)[None, None], torch.tensor([valid]))[0].numpy()
        np.testing.assert_allclose(values_BF[i], z_KF.mean(axis=0), rtol=1e-4, atol=1e-5)
    assert values_BF.dtype == np.float32


def test_weights_digest_follows_the_weights():
    torch.manual_seed(0)
    first = Encoder(MODEL)
    torch.manual_seed(0)
    second = Encoder(MODEL)
    assert features.weights_digest(first) == features.weights_digest(second)
    with torch.no_grad():
        second.embed.bias[0] += 1e-6
    assert features.weights_digest(first) != features.weights_digest(second)
