"""The control that reads one B-scan at a time: a 2-D encoder of timm, its features averaged over B-scans.

Is 3-D worth it? Its weights come from a local file (`slice_weights`) and must fit the model by name and
shape; nothing is ever downloaded. timm enters here.
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from octshard.devices.backend import Backend
from octshard.errors import UsageError
from octshard.eval.controls import slice_weights
from octshard.eval.feature_table import FeatureInfo
from octshard.eval.features import FeatureSource
from octshard.extras import install_advice
from octshard.models.normalize import grey
from octshard.stream.batch import Batch

TIMM = "timm:"  # how a name of timm begins
PREFIX = "slices-"  # how its arm is called
CHUNK = 16  # B-scans per forward pass; always as many, so that nothing is compiled twice


@dataclass(frozen=True, eq=False)
class SliceEncoder:
    """A frozen 2-D encoder. mean_C, std_C, size: what its inputs are brought to; path, sha256: of its
    weights; left_out: names in the file that only heads and decoders have.
    """

    name: str
    model: nn.Module
    mean_C: Tensor
    std_C: Tensor
    size: tuple[int, int]
    path: str
    sha256: str
    left_out: tuple[str, ...]

    def inputs(self, voxels_DHW: np.ndarray) -> Tensor:
        """float32 (D, C, H, W): B-scans of a batch in the model's size, normalised as its pictures."""
        grey_D1HW = grey(torch.from_numpy(voxels_DHW)).unsqueeze(1) / 255
        sized_D1HW = interpolate(grey_D1HW, self.size, mode="bicubic", antialias=True).clamp(0, 1)
        mean_C11, std_C11 = self.mean_C[:, None, None], self.std_C[:, None, None]
        return (sized_D1HW - mean_C11) / std_C11

    @property
    def arm(self) -> str:
        """What it is called in tables: also part of a file's name."""
        return f"{PREFIX}{self.name.removeprefix(TIMM)}"

    @property
    def digest(self) -> str:
        """Changes when its features would."""
        pooling = getattr(self.model, "global_pool", "")
        return f"{self.name} {self.sha256} {pooling} {self._inputs()}"

    def notes(self, every: int) -> tuple[str, ...]:
        """For people: what it reads."""
        ordinal = "each B-scan" if every == 1 else f"one of {every} B-scans"
        return (
            f"{self.arm} reads {ordinal} by itself, in {self._inputs()}, and its features are averaged over "
            f"a scan; weights {self.path}, sha256 {self.sha256[:16]}{self._unused()}.",
        )

    def _unused(self) -> str:
        names = len(self.left_out)
        return f", {names} of heads and decoders in it are not used" if names else ""

    def _inputs(self) -> str:
        mean, std = (
            " ".join(f"{value:.4g}" for value in part.tolist()) for part in (self.mean_C, self.std_C)
        )
        return f"{self.size[0]} x {self.size[1]} pixels, mean {mean}, std {std}"


def check_name(encoder: str) -> None:
    """UsageError for what names no model of timm, or where timm is not installed."""
    if not encoder.startswith(TIMM):
        raise UsageError(f"encoder={encoder}: want timm:NAME, for example timm:vit_large_patch16_224")
    timm = _timm()
    name = encoder.removeprefix(TIMM)
    form, _, tag = name.partition(".")
    is_model = re.fullmatch(r"[\w.]+", name) and timm.is_model(form)
    if not is_model or (tag and name not in timm.list_pretrained(f"{form}.*")):
        names = timm.list_pretrained(f"{form}.*") if is_model else timm.list_models()
        close = difflib.get_close_matches(name, names, 1)
        advice = f"did you mean {TIMM}{close[0]}?" if close else "want a name that timm.list_models() has"
        raise UsageError(f"encoder={encoder}: timm {timm.__version__} has no such model; {advice}")


def open_encoder(encoder: str, weights: str) -> SliceEncoder:
    """The model with the weights of a local file; UsageError if they do not fit it exactly."""
    check_name(encoder)
    if not weights:
        raise UsageError(
            f"encoder={encoder}: encoder_weights not set, want encoder_weights=FILE, a local .pth or "
            ".safetensors of its weights; nothing is downloaded"
        )
    weight_of, sha256 = slice_weights.read(weights)
    model = _made(encoder)
    weight_of = slice_weights.named_as(weight_of, model)
    if form := slice_weights.form_of(weight_of, model):
        model = _made(encoder, **form)
    weight_of, left_out = slice_weights.fitted(weight_of, model, f"encoder_weights={weights}", encoder)
    model.load_state_dict(weight_of)
    data = _timm().data.resolve_model_data_config(model)
    size = form.get("img_size", data["input_size"][1:])
    mean_C, std_C = (torch.tensor(data[key]) for key in ("mean", "std"))
    if form.get("in_chans") == 1:
        mean_C, std_C = mean_C.mean(0, keepdim=True), std_C.mean(0, keepdim=True)
    model = model.eval().requires_grad_(False)
    return SliceEncoder(encoder, model, mean_C, std_C, tuple(size), weights, sha256, left_out)


def _made(encoder: str, **form: Any) -> nn.Module:
    """The model without a classifier; UsageError where timm has none such."""
    with torch.random.fork_rng(devices=[]):
        try:
            name = encoder.removeprefix(TIMM)
            model: nn.Module = _timm().create_model(name, pretrained=False, num_classes=0, **form)
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            raise UsageError(f"encoder={encoder}: timm cannot make it of features alone ({error})") from error
    return model


def slice_source(encoder: SliceEncoder, every: int, backend: Backend, view: str) -> FeatureSource:
    """For each scan the mean of its B-scans' features; of every `every`-th B-scan, around the middle. view:
    precision, and the part of a scan that is given.
    """
    model = encoder.model.to(backend.device)

    def values_of(batch: Batch) -> np.ndarray:
        slices = [
            encoder.inputs(voxels[:d, :h, :w][b_scans(d, every)])
            for voxels, (d, h, w) in zip(batch.voxels_BDHW.numpy(), batch.valid_B3.tolist(), strict=True)
        ]
        values_SF = np.concatenate(list(_encoded(torch.cat(slices))))
        ends = np.cumsum([len(part) for part in slices])[:-1]
        return np.stack([part.mean(axis=0) for part in np.split(values_SF, ends)]).astype(np.float32)

    def _encoded(x_SCHW: Tensor) -> Iterator[np.ndarray]:
        for chunk in x_SCHW.split(CHUNK):
            full = torch.cat([chunk, chunk[:1].expand(CHUNK - len(chunk), -1, -1, -1)])
            with torch.no_grad(), backend.autocast():
                values_SF = model(full.to(backend.device))
            backend.mark_step()
            yield backend.to_host(values_SF)[: len(chunk)].double().numpy()  # waits for the device

    info = FeatureInfo(
        encoder.arm,
        view=f"every {every}, {view}",
        checkpoint=encoder.path,
        checkpoint_digest=encoder.sha256,
    )
    return FeatureSource(encoder.arm, f"slices {encoder.digest} every {every} {view}", values_of, info)


def b_scans(depth: int, every: int) -> slice:
    """Every `every`-th of `depth` B-scans, as far from the first as from the last."""
    return slice((depth - 1) % every // 2, None, every)


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise UsageError(
            f"encoder={TIMM}...: timm is not here ({error}); {install_advice('timm')}"
        ) from error
    return timm
