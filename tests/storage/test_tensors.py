"""Safetensors files: there and back, the same bytes, and no damage that goes unseen."""

import numpy as np
import pytest
import safetensors.numpy

from octshard.storage import tensors

ARRAYS = {"values": np.arange(6, dtype=np.float32).reshape(2, 3), "ids": np.array([1, 2])}
TEXTS = {"name": "x", "digest": "äöü", **{f"n{i}": str(i) for i in range(9)}}


def test_there_and_back(tmp_path):
    url = str(tmp_path / "x.safetensors")
    tensors.write(url, ARRAYS, TEXTS)
    arrays, texts = tensors.read(url)
    assert texts == TEXTS == tensors.read_texts(url)
    assert {name: (a.dtype, a.tolist()) for name, a in arrays.items()} == {
        name: (a.dtype, a.tolist()) for name, a in ARRAYS.items()
    }
    assert safetensors.numpy.load_file(url)["values"].tolist() == ARRAYS["values"].tolist()  # for others too


def test_the_same_values_are_the_same_bytes():
    """The library alone writes its texts in another order each time."""
    turned = dict(reversed(TEXTS.items()))
    assert {tensors.as_bytes(ARRAYS, TEXTS) for _ in range(5)} == {tensors.as_bytes(ARRAYS, turned)}


def test_no_damage_goes_unseen(tmp_path):
    """Every cut, and every byte changed in two ways."""
    url, data = str(tmp_path / "x"), tensors.as_bytes(ARRAYS, {"name": "x"})
    cuts = [data[:n] for n in range(len(data))]
    flips = [
        data[:i] + bytes([data[i] ^ mask]) + data[i + 1 :] for i in range(len(data)) for mask in (1, 0x88)
    ]
    for damaged in (*cuts, *flips, data + b"1", b"\xff" * 99, safetensors.numpy.save(ARRAYS)):
        (tmp_path / "x").write_bytes(damaged)
        with pytest.raises(tensors.DamagedTensors) as error:
            tensors.read(url)
        assert str(error.value).startswith(f"{url}: damaged")
        assert "\n" not in str(error.value)


def test_no_file_is_said_as_such(tmp_path):
    with pytest.raises(FileNotFoundError):
        tensors.read(str(tmp_path / "x"))
    with pytest.raises(FileNotFoundError):
        tensors.read_texts(str(tmp_path / "x"))
