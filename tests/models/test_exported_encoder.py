"""An export gives back the encoder bit for bit, names nobody and no place, and is told from what is none."""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from octshard.dataset.participant_digests import digest_participants
from octshard.errors import OctshardError, UsageError
from octshard.models import exported_encoder
from octshard.models.encoder import read_encoder
from octshard.models.exported_encoder import CONFIG, PEOPLE, WEIGHTS, DamagedExport
from octshard.storage import store
from tests.support.tiny_run import FORM, config_for, write_checkpoint

PREPARATION = {"target_spacing": [0.05, 0.02, 0.02], "image_size": [8, 32, 16], "fit": "crop_pad"}
MORE = {
    "participants": digest_participants(["1001", "1002"], "salt").payload(),
    "devices": {"triton": {"volumes": 3, "people": 2}},
    "data": {"data.digest": "0123", "data.samples": 3},
}


def written(folder: Path, *settings: str, people: bool = False, **more: Any) -> tuple[str, str]:
    """A checkpoint, and what is exported of it."""
    cfg = config_for("/home/jane/shards", folder / "run", "data.drop=[1001-x]", "run.tags=[mine]", *settings)
    run = write_checkpoint(folder / "run", cfg, PREPARATION, **more)
    for name, data in exported_encoder.files_of(read_encoder(run), people=people).items():
        store.write(store.join(str(folder), "export", name), data)
    return run, str(folder / "export")


@pytest.mark.parametrize("settings", [(), ("model.position=sincos",), FORM, ("run.precision=bf16",)])
def test_it_is_the_encoder_bit_for_bit(tmp_path: Path, settings: tuple[str, ...]) -> None:
    run, export = written(tmp_path, *settings, **MORE)
    before, after = read_encoder(run), read_encoder(export)
    weights = before.encoder.state_dict()
    assert weights.keys() == after.encoder.state_dict().keys()
    assert all(torch.equal(weights[name], value) for name, value in after.encoder.state_dict().items())
    x_BCDHW = torch.randn(2, 1, 8, 32, 16)
    assert torch.equal(before.encoder(x_BCDHW), after.encoder(x_BCDHW))
    assert not after.encoder.training
    for group in ("objective", "optim", "views", "predictor"):
        assert getattr(after.config, group) == getattr(before.config, group)
    assert after.config.run.precision == before.config.run.precision
    assert (after.step, after.samples_seen, after.preparations) == (1, 4, (PREPARATION,))
    assert after.origin == before.origin
    assert after.origin.checkpoint == before.digest
    assert (after.origin.people, after.origin.devices) == (2, MORE["devices"])
    data = store.read(store.join(export, WEIGHTS))
    assert after.digest == hashlib.sha256(data).hexdigest()


def test_an_older_checkpoint_says_less(tmp_path: Path) -> None:
    _, export = written(tmp_path)
    origin = read_encoder(export).origin
    assert (origin.people, origin.devices, origin.data) == (None, {}, {})


def test_no_place_no_volume_and_no_person_is_in_it(tmp_path: Path) -> None:
    _, export = written(tmp_path, **MORE)
    digests = [struct.pack("<q", value) for value in MORE["participants"]["digests"].tolist()]
    for name in store.list_names(export):
        data = store.read(store.join(export, name))
        for word in (b"jane", b"1001", b"mine", str(tmp_path).encode(), *digests):
            assert word not in data


def test_who_was_trained_on_goes_along_where_it_is_asked_for(tmp_path: Path) -> None:
    _, export = written(tmp_path, people=True, **MORE)
    known = read_encoder(export).participants
    assert known is not None
    assert known.members(["1001", "1002", "1003"]) == {"1001", "1002"}
    for name in store.list_names(export):
        assert b"1001" not in store.read(store.join(export, name))
    _, silent = written(tmp_path / "silent", **MORE)
    assert read_encoder(silent).participants is None
    with pytest.raises(UsageError, match=r"--people: .*export does not say whom it was trained on"):
        exported_encoder.files_of(read_encoder(silent), people=True)


@pytest.mark.parametrize("data", [None, b"", b'{"version": 1}\n'])
def test_people_that_are_damaged_or_gone(tmp_path: Path, data: bytes | None) -> None:
    _, export = written(tmp_path, people=True, **MORE)
    url = store.join(export, PEOPLE)
    if data is None:
        store.remove(url)
    else:
        store.write(url, data)
    with pytest.raises(DamagedExport, match=rf"{PEOPLE}: (no such file|.* the file is damaged)"):
        read_encoder(export)


def test_people_of_another_version_are_unknown_and_others_are_damage(tmp_path: Path) -> None:
    _, export = written(tmp_path, people=True, **MORE)
    for data, damaged in ((b'{"version": 2, "digests": []}', False), (b'{"version": 1}', True)):
        store.write(store.join(export, PEOPLE), data)
        change(export, participants={"file": PEOPLE, "sha256": hashlib.sha256(data).hexdigest()})
        if damaged:
            with pytest.raises(DamagedExport, match="not as octshard export wrote it"):
                read_encoder(export)
        else:
            assert read_encoder(export).participants is None


def test_the_file_is_plain_safetensors(tmp_path: Path) -> None:
    """Read by hand: a header's length, JSON, bytes."""
    run, export = written(tmp_path)
    data = store.read(store.join(export, WEIGHTS))
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    assert header.pop("__metadata__")["format"] == "pt"  # as transformers wants it
    weights = read_encoder(run).encoder.state_dict()
    assert header.keys() == weights.keys()
    for name, entry in header.items():
        start, stop = entry["data_offsets"]
        values = np.frombuffer(data[8 + length + start : 8 + length + stop], np.float32)
        np.testing.assert_array_equal(values.reshape(entry["shape"]), weights[name].numpy())
    parameters = json.loads(store.read(store.join(export, CONFIG)))["weights"]["parameters"]
    assert parameters == sum(weight.numel() for weight in weights.values())


def test_equal_encoders_are_equal_files(tmp_path: Path) -> None:
    run, _ = written(tmp_path)
    assert exported_encoder.files_of(read_encoder(run)) == exported_encoder.files_of(read_encoder(run))


def change(export: str, **values: Any) -> None:
    url = store.join(export, CONFIG)
    store.write(url, json.dumps({**json.loads(store.read(url)), **values}).encode())


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ({"model_type": "vit"}, UsageError, "config.json: model_type 'vit', want 'octshard'"),
        ({"format": 2}, UsageError, "config.json: export of format 2, want 1"),
        ({"recipe": None}, DamagedExport, "config.json: not as octshard export wrote it"),
        ({"recipe": {"model.depht": 3}}, UsageError, "config.json: unknown key model.depht; did you mean"),
        ({"recipe": {}}, DamagedExport, "model.safetensors: its weights do not fit config.json"),
        ({"origin": {"people": 3}}, OctshardError, "config.json: missing or unknown fields"),
        ({"step": "1"}, DamagedExport, "config.json: not as octshard export wrote it"),
        ({"preprocessing": []}, DamagedExport, "config.json: not as octshard export wrote it"),
        ({"preprocessing": {"preparations": [1]}}, DamagedExport, "not as octshard export wrote it"),
        ({"preprocessing": {"preparations": [{"fitt": 1}]}}, UsageError, "config.json: unknown key fitt"),
        (
            {"preprocessing": {"preparations": [{"target_spacing": ["a", 1, 1]}]}},
            UsageError,
            r"config.json: target_spacing\[0\] is 'a', want",
        ),
        ({"recipe": {"model.width": "wide"}}, UsageError, "config.json: model.width is 'wide', want a whole"),
        ({"weights": {"sha256": "00"}}, DamagedExport, "model.safetensors: .* want 00: the file is damaged"),
    ],
)
def test_another_config_is_one_line(
    tmp_path: Path, values: dict[str, Any], kind: type[OctshardError], message: str
) -> None:
    _, export = written(tmp_path)
    change(export, **values)
    with pytest.raises(kind, match=message) as caught:
        read_encoder(export)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"model_type": "octshard"'])
def test_a_damaged_config_is_one_line(tmp_path: Path, data: bytes) -> None:
    store.write(str(tmp_path / CONFIG), data)
    with pytest.raises(OctshardError, match=r"config.json: (empty|not JSON|JSON of a list)"):
        read_encoder(str(tmp_path))


def test_weights_that_are_damaged_or_gone(tmp_path: Path) -> None:
    _, export = written(tmp_path)
    url = store.join(export, WEIGHTS)
    data = store.read(url)
    for damaged in (data[:-1], data[:100], b"", data[:-1] + bytes([data[-1] ^ 1])):
        store.write(url, damaged)
        with pytest.raises(DamagedExport, match=rf"{WEIGHTS}: {len(damaged)} bytes with sha256 "):
            read_encoder(export)
        config = json.loads(store.read(store.join(export, CONFIG)))
        if damaged != data[:-1] + bytes([data[-1] ^ 1]):
            digest = hashlib.sha256(damaged).hexdigest()
            change(export, weights={**config["weights"], "sha256": digest})
            with pytest.raises(DamagedExport, match=f"{WEIGHTS}: its weights do not fit"):
                read_encoder(export)
            store.write(store.join(export, CONFIG), json.dumps(config).encode())
    store.remove(url)
    with pytest.raises(DamagedExport, match=f"{WEIGHTS}: no such file, want it beside config.json"):
        read_encoder(export)


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_a_file_of_it_names_its_folder(tmp_path: Path, name: str) -> None:
    _, export = written(tmp_path)
    with pytest.raises(UsageError, match=rf"{name}: a file, want its folder: {export}"):
        read_encoder(f"{export}/{name}")
