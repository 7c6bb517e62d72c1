"""A trained encoder for programs: scans in, features out, exactly as `octshard eval` makes them.

Part of the public interface (`octshard.load_encoder`): it may import every package below, none imports it.
"""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from octshard.config.prep import KEEP, PrepConfig
from octshard.config.train import TrainConfig
from octshard.dataset import preparation
from octshard.devices.backend import DTYPES, autocast_for, map_tensors
from octshard.errors import UsageError
from octshard.export import run as export_run
from octshard.export.card import ModelCard
from octshard.imaging.crop import fill_padded
from octshard.imaging.intensity import batch_voxels
from octshard.imaging.resample import resample_to_shape
from octshard.imaging.tiles import CENTRE, VIEWS, WHOLE, View
from octshard.imaging.volume import SampleKey, Shape, Volume, product, triple
from octshard.models import encoder_input, normalize, pooling
from octshard.models.encoder import TrainedEncoder, read_encoder
from octshard.models.encoder_input import EncoderInput as EncoderInput
from octshard.models.pooling import TileSummary, merge
from octshard.models.tokens import Tokens, to_grid
from octshard.models.vit import Encoder
from octshard.prep.convert import scan_file
from octshard.prep.convert.spacing import ResolvedSpacing
from octshard.prep.convert.voxels import stored_shape

ARRAY_KEY = SampleKey("", "", "", "", "array")
HALF_VOXEL = 0.5 + 1e-4  # tolerance of a stored volume's extent, plus rounding to float32
Scan = Volume | np.ndarray | str | Path

logger = logging.getLogger(__name__)


class FrozenEncoder(nn.Module):
    """The target encoder of a run; no weight is trained. `.to(device)` moves it; batches are moved to it.

    config: of the run; path, step and digest (sha256): of the checkpoint file; prep: how a scan that was
    never stored is brought to the grid of the training shards, None if the checkpoint does not record it;
    image_size: what a scan is cropped and padded to, D, H, W. It computes in config.run.precision, as eval
    does.
    """

    def __init__(
        self, trained: TrainedEncoder, prep: PrepConfig | None, image_size: Shape | None = None
    ) -> None:
        super().__init__()
        encoder = trained.encoder.eval().requires_grad_(False)
        self.config: TrainConfig = trained.config
        self.image_size = image_size or triple(self.config.model.image_size)
        self.encoder = encoder if image_size is None else encoder.of_size(image_size)
        self.path, self.step, self.digest, self.prep = trained.path, trained.step, trained.digest, prep
        self._trained = trained

    def preprocess(self, scan: Scan, spacing: Sequence[float] | None = None) -> EncoderInput:
        """One scan as a batch of one, as prep and the stream would have prepared it.

        scan: the path of a DICOM file (local or remote), a Volume, or an array (D, H, W) of uint8 or uint16;
        spacing: (dz, dy, dx) mm, required for an array; for a path it replaces the file's own.
        """
        return self._tiles(scan, spacing, CENTRE)

    def tiles(self, scan: Scan, spacing: Sequence[float] | None = None) -> EncoderInput:
        """As `preprocess`, but the whole scan: a batch of its tiles, as `octshard eval embed` cuts them."""
        return self._tiles(scan, spacing, WHOLE)

    def _tiles(self, scan: Scan, spacing: Sequence[float] | None, kind: str) -> EncoderInput:
        keep = self._require_prep().bits == KEEP
        # the moments are of the whole stored volume, not of the tile
        voxels_DHW, stored = batch_voxels(self._resampled(scan, spacing), keep=keep)
        d, h, w = voxels_DHW.shape
        windows = View(kind, self.image_size, self.encoder.patch).windows((d, h, w))
        images_BDHW = np.empty((len(windows), *self.image_size), voxels_DHW.dtype)
        pairs = zip(images_BDHW, windows, strict=True)
        valid_B3 = torch.tensor([fill_padded(image, voxels_DHW[window]) for image, window in pairs])
        mean_B, std_B = (torch.full((len(windows),), value) for value in (stored.mean, stored.std))
        x_BCDHW = normalize.normalize(torch.from_numpy(images_BDHW), mean_B, std_B, valid_B3)
        return EncoderInput(x_BCDHW, valid_B3)

    @staticmethod
    def collate(batches: Sequence[EncoderInput]) -> EncoderInput:
        """Several results of `preprocess` as one batch, in order."""
        return EncoderInput(*(torch.cat(tensors) for tensors in zip(*batches, strict=True)))

    def forward(self, batch: EncoderInput) -> Tensor:
        """(B, N, F): features of all tokens of the grid; 0 for those of padding (see `valid_tokens`), which
        no token reads.
        """
        return to_grid(*self._encode(batch), product(self.encoder.grid))

    def valid_tokens(self, batch: EncoderInput) -> Tensor:
        """(B, N) bool: the token holds a voxel of the volume."""
        tokens = self._tokens(batch, self.encoder)
        ones_BV1 = torch.ones((*tokens.index_BV.shape, 1), device=self.device)
        return to_grid(ones_BV1, tokens, product(self.encoder.grid)).squeeze(-1) > 0

    def forward_features(self, x: Tensor | EncoderInput) -> Tensor:
        """(B, N, F): as `forward`, for images of any size that patches fill; a tensor has no padding.

        x: (B, 1, D, H, W) float32, normalised; UsageError for anything else.
        """
        return self.forward_intermediates(x, [])[0]

    def forward_intermediates(
        self, x: Tensor | EncoderInput, indices: int | Sequence[int] | None = None, *, norm: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """What `forward_features` gives, and (B, F, d, h, w) behind each of some blocks: as timm's method.

        indices: numbers of blocks from 0 on, or from the last one, which is -1; n: the last n; None: all.
        norm: those too go through the encoder's last norm.
        """
        batch = encoder_input.as_batch(x, self.encoder.patch)
        size = triple(batch.x_BCDHW.shape[2:])
        encoder = self.encoder if size == self.image_size else self.encoder.of_size(size)
        chosen = encoder_input.block_numbers(indices, len(encoder.blocks))
        depths = sorted({*(number + 1 for number in chosen), len(encoder.blocks)})
        tokens = self._tokens(batch, encoder)
        with self._autocast():
            levels = encoder.intermediates(batch.x_BCDHW.to(self.device), tokens, depths)
            last = encoder.norm(levels[-1])
            by_depth = {
                depth: encoder.norm(level) if norm else level
                for depth, level in zip(depths, levels, strict=True)
            }
        count, grid = product(encoder.grid), encoder.grid
        parts = [to_grid(by_depth[number + 1], tokens, count) for number in chosen]
        return to_grid(last, tokens, count), [part.mT.unflatten(2, grid) for part in parts]

    def embed_batch(self, batch: EncoderInput, *, pooling: str = pooling.MEAN) -> Tensor:
        """(B, F) float32: for each image its valid tokens pooled; (B, 2 F), mean and std, for mean_std.

        pooling: mean, mean_std or max.
        """
        rows = [merge(pooling, [tile]) for tile in self._summaries(batch, pooling)]
        return torch.from_numpy(np.stack(rows)).to(self.device)

    def _summaries(self, batch: EncoderInput, kind: str) -> list[TileSummary]:
        """Of each image of a batch."""
        if kind not in pooling.POOLINGS:
            raise UsageError(f"pooling={kind}: want {', '.join(pooling.POOLINGS)}")
        z_BVF, tokens = self._encode(batch)
        summary = map_tensors(
            pooling.summarize(z_BVF, tokens.padding_BV, (kind,)), lambda t: t.detach().cpu()
        )
        padding_BV = tokens.padding_BV
        counts = [z_BVF.shape[1]] * len(z_BVF) if padding_BV is None else (~padding_BV).sum(1).tolist()
        return [pooling.of_tile(summary, place, count) for place, count in enumerate(counts)]

    def _encode(self, batch: EncoderInput) -> tuple[Tensor, Tokens]:
        tokens = self._tokens(batch, self.encoder)
        with self._autocast():
            return self.encoder(batch.x_BCDHW.to(self.device), *tokens), tokens

    def _tokens(self, batch: EncoderInput, encoder: Encoder) -> Tokens:
        tokens = encoder.tokens_of(batch.valid_B3.cpu(), packed=self.device.type != "xla")
        return map_tensors(tokens, lambda tensor: tensor.to(self.device))  # type: ignore[no-any-return]

    def embed(
        self,
        scan: Scan,
        spacing: Sequence[float] | None = None,
        *,
        pooling: str = pooling.MEAN,
        view: str = CENTRE,
    ) -> Tensor:
        """(F,) float32 for one scan, given as to `preprocess`; pooling as for `embed_batch`.

        view="whole" reads all of a scan that is larger than an image, in tiles; "centre" one crop of it. What
        `octshard eval` reads by default is view="whole", pooling="mean_std", and this gives the same numbers.
        """
        if view not in VIEWS:
            raise UsageError(f"view={view}: want {' or '.join(VIEWS)}")
        batch = self._tiles(scan, spacing, view)
        tiles = zip(batch.x_BCDHW.split(1), batch.valid_B3.split(1), strict=True)  # one by one: less memory
        parts = [self._summaries(EncoderInput(*tile), pooling)[0] for tile in tiles]
        return torch.from_numpy(merge(pooling, parts)).to(self.device)

    def save_pretrained(self, folder: str | Path, *, replace: bool = False) -> None:
        """Writes what `octshard export` writes, of the encoder as it was trained: image_size is that of the
        run. The folder is there as a whole or not at all; replace: in place of an older export.
        """
        trained = self._trained
        if self.prep is not None:
            trained = trained._replace(preparations=(preparation.settings_of(self.prep),))
        export_run.write(trained, str(folder), ModelCard(), replace=replace)

    @staticmethod
    def from_pretrained(
        folder: str | Path,
        target_spacing: Sequence[float] | None = None,
        image_size: Sequence[int] | None = None,
    ) -> "FrozenEncoder":
        """`load_encoder`."""
        return load_encoder(folder, target_spacing, image_size)

    @property
    def num_features(self) -> int:
        """F."""
        return self.config.model.width

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.encoder.parameters()).device

    def train(self, mode: bool = True) -> "FrozenEncoder":
        """Stays in eval mode, also inside a model that trains."""
        return super().train(False)

    def _autocast(self) -> Any:
        return autocast_for(self.device.type, DTYPES[self.config.run.precision])

    def _resampled(self, scan: Scan, spacing: Sequence[float] | None) -> Volume:
        prep = self._require_prep()
        if isinstance(scan, str | Path):
            opened = scan_file.open_scan(scan, prep)
            if spacing is not None:
                layout = opened.layout._replace(spacing=_checked_spacing(spacing))
                opened = dataclasses.replace(opened, layout=layout)
            elif opened.layout.spacing.assumed:
                logger.warning("%s: no voxel spacing in the file; stretched to %s", scan, prep.image_size)
            return scan_file.stored_volume(opened, prep)
        if isinstance(scan, Volume):
            if spacing is not None:
                raise UsageError(f"{scan.key}: spacing={spacing} for a Volume, which has its own; want one")
            return _on_grid(scan, prep)
        if spacing is None:
            raise UsageError(f"array {scan.shape}: no spacing, want spacing=(dz, dy, dx) in mm")
        return _on_grid(Volume(ARRAY_KEY, scan.view(), _checked_spacing(spacing).spacing_mm), prep)

    def _require_prep(self) -> PrepConfig:
        if self.prep is not None:
            return self.prep
        _, differing = preparation.agreed(self._trained.preparations)
        found = "; ".join(f"{key} {' and '.join(map(str, values))}" for key, values in differing.items())
        raise UsageError(
            f"checkpoint {self.digest[:12]}: how its training shards were prepared is "
            f"{f'not one thing: {found}' if found else 'not recorded'}; "
            "want load_encoder(..., target_spacing=(dz, dy, dx)) in mm"
        )


def load_encoder(
    run_or_checkpoint: str | Path,
    target_spacing: Sequence[float] | None = None,
    image_size: Sequence[int] | None = None,
) -> FrozenEncoder:
    """The encoder of a run folder's newest checkpoint, of RUN/best or RUN/best-robustness, of a .pt file, or
    of a folder that `octshard export` wrote; local or remote. If that one is damaged, an OctshardError
    says so: another one is never taken in its place.

    target_spacing: (dz, dy, dx) mm, for a checkpoint that does not record one: of octshard 0.1, or of shards
    that were prepared differently. In what is recorded, and the same for all shards with this spacing (for
    all shards if none has it), it changes nothing else; the rest is as by default, image_size the model's.
    image_size: (D, H, W) voxels that scans are cropped and padded to, if not those of the run.
    """
    trained = read_encoder(str(run_or_checkpoint))
    size = None if image_size is None else encoder_input.checked_size(image_size)
    if target_spacing is not None:
        spacing_mm = list(_checked_spacing(target_spacing).spacing_mm)
        alike = [known for known in trained.preparations if known.get("target_spacing") == spacing_mm]
        settings, _ = preparation.agreed(alike or trained.preparations)
        default = {"image_size": list(trained.config.model.image_size)}
        prep = preparation.prep_config({**default, **settings, "target_spacing": spacing_mm})
        return FrozenEncoder(trained, prep, size)
    settings, differing = preparation.agreed(trained.preparations)
    one = settings and not differing
    return FrozenEncoder(trained, preparation.prep_config(settings) if one else None, size)


def _checked_spacing(spacing: Sequence[float]) -> ResolvedSpacing:
    values = [float(mm) for mm in spacing]
    if len(values) != 3 or not all(0 < mm < float("inf") for mm in values):
        raise UsageError(f"spacing {values} mm, want three numbers (dz, dy, dx) > 0")
    return ResolvedSpacing(triple(values), "given", False, ())


def _on_grid(volume: Volume, prep: PrepConfig) -> Volume:
    """`volume` in the shape in which prep stores it.

    An axis is kept if its extent is within half a voxel of the target's, so a stored volume is not changed.
    """
    d, h, w = volume.voxels_DHW.shape
    shape_out: Sequence[int] = stored_shape((d, h, w), _checked_spacing(volume.spacing_mm), prep)
    if prep.fit != "resize":
        axes = zip((d, h, w), volume.spacing_mm, prep.target_spacing, shape_out, strict=True)
        shape_out = [n if abs(n * mm / target - n) <= HALF_VOXEL else out for n, mm, target, out in axes]
    return resample_to_shape(volume, triple(shape_out))
