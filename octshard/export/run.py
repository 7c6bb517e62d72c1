"""`octshard export`: a run or a checkpoint -> a folder that `octshard.load_encoder` reads anywhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from octshard.errors import UsageError
from octshard.export import card, onnx_model
from octshard.export.card import ModelCard
from octshard.imaging.volume import triple
from octshard.models import exported_encoder
from octshard.models.encoder import read_encoder
from octshard.models.exported_encoder import CARD, CONFIG, FILES, MODEL_TYPE, ONNX
from octshard.models.trained_encoder import TrainedEncoder
from octshard.storage import json_object, store, whole_folder
from octshard.storage.json_object import DamagedJson


@dataclass(frozen=True)
class ExportRequest:
    """run_or_checkpoint: as `load_encoder` has it; probes: probe.json files, whose scores the card shows;
    people: also the salted digests of those who were trained on.
    """

    run_or_checkpoint: str
    out: str
    licence: str
    probes: Sequence[str]
    onnx: bool
    people: bool
    replace: bool


def export(request: ExportRequest) -> str:
    """Writes the folder; a line that says what it holds. Nothing is written before everything is known to be
    right.
    """
    check_out(request.out, replace=request.replace)
    probes = tuple((path, _read_probe(path)) for path in request.probes)
    trained = read_encoder(request.run_or_checkpoint)
    model_card = ModelCard(request.licence, probes, request.people)
    write(trained, request.out, model_card, onnx=request.onnx, replace=request.replace)
    return f"{request.out}: the encoder of {trained.path}, step {trained.step}"


def write(
    trained: TrainedEncoder, out: str, model_card: ModelCard, *, onnx: bool = False, replace: bool = False
) -> None:
    """Puts the folder at `out`, as a whole."""
    check_out(out, replace=replace)
    model_card.check(trained)
    if onnx:
        onnx_model.check(trained.encoder)
    files = exported_encoder.files_of(trained, people=model_card.people)
    files[CARD] = card.render(model_card, trained).encode()
    if onnx:
        files[ONNX] = onnx_model.to_onnx(trained.encoder, triple(trained.config.model.image_size))
    whole_folder.write(out, files, CONFIG, replace=replace)


def _read_probe(path: str) -> dict[str, Any]:
    try:
        return json_object.read(path)
    except (FileNotFoundError, store.NotAFile):
        raise UsageError(f"{path}: no such file, want a probe.json of octshard eval") from None


def check_out(out: str, *, replace: bool) -> None:
    """UsageError unless an export may be put there: over nothing, or, with `replace`, over an older one."""
    if not out:
        raise UsageError("OUT: empty, want a folder that is not there yet")
    whole_folder.check(out, FILES, replace=replace)
    try:
        config = json_object.read(store.join(out, CONFIG))
    except FileNotFoundError:
        return
    except DamagedJson:
        config = {}
    if config.get("model_type") != MODEL_TYPE:
        raise UsageError(f"{out}: its {CONFIG} is not octshard's; want another folder")
