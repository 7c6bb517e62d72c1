"""Heads fitted side by side: one pass of the stream, and one of each encoder, for all heads of an epoch."""

import copy
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from octshard.config.dense import DenseHeads
from octshard.devices.backend import Backend, put
from octshard.errors import OctshardError
from octshard.eval.dense import heads as dense_heads
from octshard.eval.dense import token_source
from octshard.eval.dense.dense_batches import DenseBatch, DenseStream
from octshard.eval.dense.losses import Loss
from octshard.eval.dense.token_source import Scale, ScaleSums, TokenSource
from octshard.imaging.volume import Shape, triple
from octshard.models import normalize
from octshard.models.tokens import Tokens
from octshard.models.vit import Encoder
from octshard.progress import OnProgress
from octshard.rng import seed_for


@dataclass
class Arm:
    """A head on a source at one lr while it is fitted; afterwards with the weights of its best epoch."""

    source: TokenSource
    head: str
    lr: float
    module: nn.Module
    optimizer: torch.optim.Optimizer
    val_losses: list[float] = field(default_factory=list)  # one an epoch, inf where it is no number
    best_state: Mapping[str, Any] = field(default_factory=dict)

    @property
    def best_epoch(self) -> int:
        """From 1; 0 before any."""
        return 1 + min(range(len(self.val_losses)), key=self.val_losses.__getitem__) if self.val_losses else 0

    def waits(self, patience: int) -> bool:
        """True as long as it may still become better."""
        return self.val_losses[-1:] != [math.inf] and len(self.val_losses) - self.best_epoch < patience


class TokenReader:
    """Normalised voxels and frozen features of a batch. encoder: whose patch and grid all sources have."""

    def __init__(self, encoder: Encoder, backend: Backend) -> None:
        self.patch, self.grid = encoder.patch, encoder.grid
        self._encoder, self._backend, self.scales = encoder, backend, dict[str, list[Scale]]()

    def put(self, dense: DenseBatch) -> tuple[Tensor, Tensor, Tokens]:
        """(x_BCDHW, target, tokens) on the device."""
        valid_B3 = dense.batch.valid_B3
        moved, target, tokens = put(self._backend, (dense.batch, dense.target, self.tokens_of(valid_B3)))
        x = normalize.normalize(moved.voxels_BDHW, moved.mean_B, moved.std_B, moved.valid_B3)
        return x, target, tokens

    def tokens_of(self, valid_B3: Tensor) -> Tokens:
        """On the host."""
        return self._encoder.tokens_of(valid_B3, packed=self._backend.sequences != "none")

    def levels(self, source: TokenSource, x_BCDHW: Tensor, tokens: Tokens) -> Sequence[Tensor]:
        """As the source has them; nothing is learned through it."""
        with torch.no_grad(), self._backend.autocast():
            return source.levels_of(x_BCDHW, tokens)

    def maps(self, source: TokenSource, x_BCDHW: Tensor, tokens: Tokens) -> list[Tensor]:
        """Standardised, on the grid of tokens of x."""
        box: Shape = triple([n // p for n, p in zip(x_BCDHW.shape[2:], self.patch, strict=True)])
        levels = self.levels(source, x_BCDHW, tokens)
        return token_source.maps(levels, self.scales[source.name], tokens, self.grid, box)

    def standardise(self, sources: Sequence[TokenSource], train: DenseStream) -> None:
        """One pass over train, at the centre of its volumes."""
        sums = {source.name: ScaleSums(source.widths) for source in sources}
        for dense in train.batches(self._backend, None):
            x_BCDHW, _, tokens = self.put(dense)
            real = slice(dense.batch.count)
            padding = None if tokens.padding_BV is None else tokens.padding_BV[real]
            for source in sources:
                levels = [level[real] for level in self.levels(source, x_BCDHW, tokens)]
                sums[source.name].add(levels, padding)
            self._backend.mark_step()
        device = self._backend.device
        self.scales = {name: each.scales(device) for name, each in sums.items()}


def build_arms(
    sources: Sequence[TokenSource], outputs: int, patch: Shape, cfg: DenseHeads, seed: int
) -> list[Arm]:
    """Every head on every source at every lr; first weights of a head are the same on sources of the same
    widths.
    """
    arms = []
    for source, name, lr in itertools.product(sources, dict.fromkeys(cfg.names), dict.fromkeys(cfg.lr)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for(seed, "head", name))
            module = dense_heads.build(name, source, outputs, patch, cfg)
        optimizer = torch.optim.AdamW(module.parameters(), lr, weight_decay=cfg.weight_decay)
        arms.append(Arm(source, name, lr, module, optimizer))
    return arms


def best_arms(arms: Sequence[Arm]) -> list[Arm]:
    """Of each head on each source that with the lowest loss on val; OctshardError where none is finite."""
    best: dict[tuple[str, str], Arm] = {}
    for arm in arms:
        other = best.setdefault((arm.source.name, arm.head), arm)
        if min(arm.val_losses) < min(other.val_losses):
            best[arm.source.name, arm.head] = arm
    for arm in best.values():
        if not arm.best_state:
            same = [a for a in arms if (a.source.name, a.head) == (arm.source.name, arm.head)]
            tried = ", ".join(f"{each.lr:g}" for each in same)
            raise OctshardError(
                f"head {arm.head} on {arm.source.name}: no finite loss on val at lr {tried}; try a smaller "
                "heads.lr"
            )
    return list(best.values())


@dataclass(frozen=True, eq=False)
class Fit:
    """Fits arms on train, and keeps of each the weights of the epoch with the lowest loss on val.

    An arm whose loss is no number any more ends there.
    """

    reader: TokenReader
    backend: Backend
    loss: Loss
    cfg: DenseHeads

    def run(self, arms: Sequence[Arm], train: DenseStream, val: DenseStream, on_progress: OnProgress) -> None:
        """Until no arm has become better for cfg.patience epochs, or cfg.epochs are over."""
        narrow = self.backend.device.type == "cpu" and self.cfg.width <= dense_heads.NARROW
        for arm in arms:
            arm.module.to(self.backend.device)
            if narrow:
                arm.module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.reader.standardise(list({arm.source.name: arm.source for arm in arms}.values()), train)
        for epoch in range(self.cfg.epochs):
            on_progress(epoch, self.cfg.epochs, "epochs")
            live = [arm for arm in arms if arm.waits(self.cfg.patience)]
            if not live:
                break
            for arm in live:
                for group in arm.optimizer.param_groups:
                    group["lr"] = arm.lr * (1 + math.cos(math.pi * epoch / self.cfg.epochs)) / 2
            self._train(live, train, epoch)
            self._validate(live, val)
        on_progress(self.cfg.epochs, self.cfg.epochs, "epochs")
        for arm in arms:
            if arm.best_state:
                arm.module.load_state_dict(arm.best_state)
            arm.module.eval()

    def _train(self, arms: Sequence[Arm], train: DenseStream, epoch: int) -> None:
        for arm in arms:
            arm.module.train()
        for dense in train.batches(self.backend, epoch):
            for arm, loss in self._losses(arms, dense):
                arm.optimizer.zero_grad()
                loss.backward()
                arm.optimizer.step()
            self.backend.mark_step()

    def _validate(self, arms: Sequence[Arm], val: DenseStream) -> None:
        totals, count = [0.0] * len(arms), 0
        for arm in arms:
            arm.module.eval()
        with torch.no_grad():
            for dense in val.batches(self.backend, None):
                losses = torch.stack([loss for _, loss in self._losses(arms, dense)])
                self.backend.mark_step()
                count += dense.batch.count
                for i, value in enumerate(self.backend.to_host(losses).tolist()):
                    totals[i] += value * dense.batch.count
        for arm, total in zip(arms, totals, strict=True):
            arm.val_losses.append(total / count if math.isfinite(total) else math.inf)
            if math.isfinite(total) and arm.best_epoch == len(arm.val_losses):
                arm.best_state = copy.deepcopy(arm.module.state_dict())

    def _losses(self, arms: Sequence[Arm], dense: DenseBatch) -> Sequence[tuple[Arm, Tensor]]:
        """The loss of each arm on the real scans of a batch; each source is asked once."""
        x_BCDHW, target, tokens = self.reader.put(dense)
        real = slice(dense.batch.count)
        maps_of: dict[str, list[Tensor]] = {}
        losses = []
        for arm in arms:
            name = arm.source.name
            if name not in maps_of:
                maps_of[name] = self.reader.maps(arm.source, x_BCDHW, tokens)
            with self.backend.autocast():
                output = arm.module([level[real] for level in maps_of[name]], x_BCDHW[real])
            losses.append((arm, self.loss(output.float(), target[real], dense.batch.valid_B3[real])))
        return losses
