"""The folder of `octshard export`: model.safetensors and config.json beside a model card, as Hugging Face's
libraries lay them out. This file is the format, both directions.

No place and no name of a volume is in it, and digests of persons only where they were asked for. config.json
holds the sha256 of each file that is read.
"""

import hashlib
import json
import textwrap
from collections.abc import Mapping
from dataclasses import asdict
from operator import index
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

from octshard import __version__
from octshard.config import fields
from octshard.config.load import load_saved
from octshard.config.prep import KEEP, PrepConfig
from octshard.config.train import TrainConfig
from octshard.dataset import participant_digests
from octshard.dataset.participant_digests import ParticipantDigests
from octshard.errors import OctshardError, UsageError
from octshard.models.normalize import STD_FLOOR
from octshard.models.trained_encoder import Origin, TrainedEncoder
from octshard.models.vit import Encoder
from octshard.storage import json_object, store, tensors

FORMAT = 1
MODEL_TYPE = "octshard"
WEIGHTS, CONFIG, CARD, ONNX = "model.safetensors", "config.json", "README.md", "model.onnx"
PEOPLE = "participants.json"  # salted digests, as a checkpoint has them
FILES = frozenset({WEIGHTS, CONFIG, CARD, ONNX, PEOPLE})
PRIVATE = ("data.drop", "data.filter", "run.init_from")  # names of volumes, maybe of people; a place
PREPROCESSING = {
    "axes": "B, channel, D (B-scans, from superior to inferior), H (depth, vitreous first), W (A-scans)",
    "channels": 1,
    "grey_levels": "8 bits",
    "crop": "the centre of what is larger than image_size; padding stands at the high end of each axis",
    "normalisation": "(x - mean) / max(std, std_floor), of the whole volume before the crop; padding is 0",
    "std_floor": STD_FLOOR,
}
KEPT = "0 to 255; more than 8 bits as octshard prep maps them, but not rounded"  # grey_levels of bits: keep


class DamagedExport(OctshardError):
    """A folder differs from what was exported."""


def files_of(trained: TrainedEncoder, *, people: bool = False) -> dict[str, bytes]:
    """model.safetensors and config.json. Equal encoders give equal bytes. people: participants.json too;
    UsageError if it is not known who was trained on.
    """
    weights = trained.encoder.state_dict()
    arrays = {name: tensor.cpu().float().numpy() for name, tensor in weights.items()}
    files = {WEIGHTS: tensors.as_bytes(arrays, {"format": "pt"})}
    if people:
        if trained.participants is None:
            raise UsageError(f"--people: {trained.path} does not say whom it was trained on")
        payload = trained.participants.payload()
        files[PEOPLE] = (json.dumps({**payload, "digests": payload["digests"].tolist()}) + "\n").encode()
    config = json.dumps(_config(trained, files), indent=1, allow_nan=False) + "\n"
    return {**files, CONFIG: config.encode()}


def is_one(path: str) -> bool:
    """True where config.json is, which no run folder has; UsageError for a file of such a folder."""
    folder, _, name = path.rpartition("/")
    if name in FILES:
        raise UsageError(f"{path}: a file, want its folder: {folder or '.'}")
    return not path.endswith((".pt", ".pth", ".tar")) and store.exists(store.join(path, CONFIG))


def read(folder: str) -> TrainedEncoder:
    """What was exported there; UsageError if it is another project's, DamagedExport if it is not whole."""
    url = store.join(folder, CONFIG)
    config = json_object.read(url)
    if config.get("model_type") != MODEL_TYPE:
        raise UsageError(f"{url}: model_type {config.get('model_type')!r:.60}, want {MODEL_TYPE!r}")
    if config.get("format") != FORMAT:
        raise UsageError(f"{url}: export of format {config.get('format')!r:.60}, want {FORMAT}")
    try:
        cfg = load_saved(TrainConfig, json.dumps(_nested(config["recipe"])), url)
        origin = json_object.as_record(config["origin"], Origin, url)
        preparations = tuple(dict(settings) for settings in config["preprocessing"]["preparations"])
        for settings in preparations:
            load_saved(PrepConfig, json.dumps(settings), url)  # as it checks them
        step, samples_seen = index(config["step"]), index(config["samples_seen"])
        sha256 = config["weights"]["sha256"]
        people_sha256 = config["participants"]["sha256"] if "participants" in config else None
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DamagedExport(f"{url}: not as octshard export wrote it ({type(error).__name__})") from error
    encoder = _with_weights(cfg, store.join(folder, WEIGHTS), sha256)
    people = None if people_sha256 is None else _people(store.join(folder, PEOPLE), people_sha256)
    return TrainedEncoder(encoder, cfg, sha256, preparations, folder, step, samples_seen, people, origin)


def _config(trained: TrainedEncoder, files: Mapping[str, bytes]) -> dict[str, Any]:
    cfg, encoder = trained.config, trained.encoder
    sha256 = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    return {
        "model_type": MODEL_TYPE,
        "architectures": ["FrozenEncoder"],
        "format": FORMAT,
        "octshard": __version__,
        "weights": {
            "file": WEIGHTS,
            "sha256": sha256[WEIGHTS],
            "dtype": "float32",
            "parameters": sum(weight.numel() for weight in encoder.parameters()),
        },
        "preprocessing": {
            **preprocessing(trained),
            "image_size": list(cfg.model.image_size),
            "patch": list(cfg.model.patch),
            "preparations": [dict(settings) for settings in trained.preparations],
        },
        "recipe": recipe_of(cfg),
        "step": trained.step,
        "samples_seen": trained.samples_seen,
        "origin": asdict(trained.origin),
        **({"participants": {"file": PEOPLE, "sha256": sha256[PEOPLE]}} if PEOPLE in files else {}),
    }


def preprocessing(trained: TrainedEncoder) -> dict[str, Any]:
    """How a scan becomes an input, in words."""
    keeps = any(settings.get("bits") == KEEP for settings in trained.preparations)
    return {**PREPROCESSING, **({"grey_levels": KEPT} if keeps else {})}


def recipe_of(cfg: TrainConfig) -> dict[str, Any]:
    """Settings that change the result, by dotted key."""
    values = fields.result_values(cfg)
    return {key: value for key, value in values.items() if key not in PRIVATE}


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """{a: {b: 1}} of {"a.b": 1}."""
    nested: dict[str, Any] = {}
    for key, value in values.items():
        group, _, name = key.partition(".")
        nested.setdefault(group, {})[name] = value
    return nested


def _with_weights(cfg: TrainConfig, url: str, sha256: str) -> Encoder:
    """The encoder of `cfg` with the weights of a file, if these are of its digest."""
    data = _read_checked(url, sha256)
    with torch.device("meta"):  # nothing is allocated for weights that a file denies
        encoder = Encoder(cfg.model).requires_grad_(False)
    try:
        weights: dict[str, Tensor] = load_tensors(data)
        encoder.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, assign=True)
    except (SafetensorError, RuntimeError) as error:
        problem = textwrap.shorten(str(error), 200)
        raise DamagedExport(f"{url}: its weights do not fit {CONFIG}: {problem}") from error
    return encoder.requires_grad_(True).eval()


def _people(url: str, sha256: str) -> ParticipantDigests | None:
    """Who was trained on; None where digests of another version say it."""
    values = json_object.parse(_read_checked(url, sha256), url)
    try:
        digests = torch.tensor(values["digests"], dtype=torch.int64)
        return participant_digests.from_payload({**values, "digests": digests})
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        raise DamagedExport(f"{url}: not as octshard export wrote it ({type(error).__name__})") from error


def _read_checked(url: str, sha256: str) -> bytes:
    """The bytes of a file that config.json names with its sha256; DamagedExport if they are others."""
    try:
        data, digest = store.read_checked(url, lambda data: _other_digest(data, sha256))
    except FileNotFoundError:
        raise DamagedExport(f"{url}: no such file, want it beside {CONFIG}") from None
    if digest:
        raise DamagedExport(
            f"{url}: {len(data)} bytes with sha256 {digest[:12]}, want {sha256!s:.12}: the file is damaged"
        )
    return data


def _other_digest(data: bytes, sha256: str) -> str:
    """The sha256 of the bytes where it is another one."""
    return "" if (digest := hashlib.sha256(data).hexdigest()) == sha256 else digest
