"""A grid of learning rates x weight decays, trained at once on the same batches of features.

Every member has parameters of its own, stacked along G, and the same start, batches and dropout; none sees
another, so each is what it would be alone. AdamW with a warm-up and a cosine to 0. After every epoch val
scores each member, which keeps its best; one without a better score for `patience` epochs has ended.
"""

import dataclasses
import functools
import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from octshard.config.head import GridConfig
from octshard.errors import OctshardError
from octshard.probes.examples import Examples, balance, even, standardisation
from octshard.probes.head import TIE, Candidate, HeadSpec, by_unit, score
from octshard.probes.targets import NUMBERS
from octshard.rng import rng_for, seed_for

WARM_UP = 0.1  # share of the steps
PREDICTED = 64  # scans at once
Parameters = Mapping[str, Tensor]


@dataclass(frozen=True)
class Network:
    """What a grid is made of. `start`: parameters of a member from a generator and the number of outputs;
    `outputs`: of stacked parameters and x_B..., (G, B, C); with a generator it trains, and drops units by it;
    `attention`: of a head for tokens, of stacked parameters and x_BTF, (B, T, G x heads).
    """

    start: Callable[[torch.Generator, int], dict[str, Tensor]]
    outputs: Callable[[Parameters, Tensor, torch.Generator | None], Tensor]
    attention: Callable[[Parameters, Tensor], Tensor] | None = None


@dataclass(frozen=True, eq=False)
class Goal:
    """Targets as a network sees them: indices of classes, or numbers less `mean`, in units of `scale`."""

    kind: str
    outputs: int
    mean: float = 0.0
    scale: float = 1.0

    def target(self, y_N: np.ndarray) -> Tensor:
        """What the loss compares with."""
        if self.kind == NUMBERS:
            return torch.from_numpy((y_N - self.mean) / self.scale).float()
        return torch.from_numpy(y_N)

    def loss(self, out_GBC: Tensor, target_B: Tensor, weight_B: Tensor) -> Tensor:
        """The weighted loss of each member, summed: none has a gradient from another."""
        if self.kind == NUMBERS:
            loss_GB = (out_GBC[..., 0] - target_B).square()
        else:
            target_GB = target_B.expand(out_GBC.shape[:2])
            loss_GB = torch.nn.functional.cross_entropy(out_GBC.transpose(1, 2), target_GB, reduction="none")
        return (loss_GB * weight_B).mean(1).sum()

    def prediction(self, out_GBC: Tensor) -> np.ndarray:
        """(G, B, C) float64: probabilities, or numbers."""
        out_GBC = out_GBC.double()
        if self.kind == NUMBERS:
            return (out_GBC * self.scale + self.mean).numpy()
        return out_GBC.softmax(-1).numpy()


@dataclass
class Member:
    """One pair of the grid: its parameters, and the best of its epochs so far."""

    lr: float
    weight_decay: float
    parameters: dict[str, Tensor]
    best: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    score: float = -math.inf
    epoch: int = 0


def candidates(
    network: Network, cfg: GridConfig, train: Examples, val: Examples, spec: HeadSpec
) -> Iterator[Candidate]:
    """The best epoch of every member, the strongest weight decay and the lowest learning rate first."""
    goal = _goal(train, spec.kind)
    members = Training(network, goal, cfg, spec).run(train, val)
    if not any(member.epoch for member in members):
        raise OctshardError(
            f"head {spec.cfg.head}: lr {sorted(set(cfg.lr))} gave nothing finite, want lower ones"
        )
    for member in members:
        if member.epoch:
            setting = {"lr": member.lr, "weight_decay": member.weight_decay, "epoch": member.epoch}
            predict_one = functools.partial(predict, network, goal, member.best)
            attend = functools.partial(attention, network, member.best) if network.attention else None
            yield Candidate(setting, predict_one(val.x_NF), predict_one, member.epoch < cfg.epochs, attend)


@dataclass(frozen=True, eq=False)
class Training:
    """All members of a grid, from start to end."""

    network: Network
    goal: Goal
    cfg: GridConfig
    spec: HeadSpec

    def run(self, train: Examples, val: Examples) -> list[Member]:
        """The members, each with its best epoch; 0 and no parameters where none had a score."""
        order_N = _order(train)
        weight_N = even(train) if self.goal.kind == NUMBERS else balance(train)
        name, scans = self.spec.cfg.head, len(train.y_N)
        generator = torch.Generator().manual_seed(seed_for(self.spec.seed, name))
        members = self._members(self.network.start(generator, self.goal.outputs))
        optimizer, batches = torch.optim.AdamW(_groups(members)), -(-scans // self.cfg.batch)
        for epoch in range(1, self.cfg.epochs + 1):
            drawn_N = order_N[rng_for(self.spec.seed, name, epoch).permutation(scans)]
            for i, rows in enumerate(np.array_split(drawn_N, batches)):
                share = _share_of_lr((epoch - 1) * batches + i, self.cfg.epochs * batches)
                for group in optimizer.param_groups:
                    group["lr"] = group["highest"] * share
                stacked = _stacked([member.parameters for member in members])
                out_GBC = self.network.outputs(stacked, _tensor(train.x_NF[rows]), generator)
                optimizer.zero_grad(set_to_none=True)
                weight_B = torch.from_numpy(weight_N[rows]).float()
                self.goal.loss(out_GBC, self.goal.target(train.y_N[rows]), weight_B).backward()
                optimizer.step()
            self._keep_best(members, val, epoch)
            if not any(self._is_live(member, epoch) for member in members):
                break
        return members

    def _members(self, start: Parameters) -> list[Member]:
        pairs = itertools.product(sorted(set(self.cfg.weight_decay), reverse=True), sorted(set(self.cfg.lr)))
        return [
            Member(lr, decay, {name: t.clone().requires_grad_() for name, t in start.items()})
            for decay, lr in pairs
        ]

    def _is_live(self, member: Member, epoch: int) -> bool:
        return epoch - member.epoch < self.cfg.patience

    def _keep_best(self, members: list[Member], val: Examples, epoch: int) -> None:
        val_GNC = _predict(self.network, self.goal, _stacked([m.parameters for m in members]), val.x_NF)
        for member, val_NC in zip(members, val_GNC, strict=True):
            if not self._is_live(member, epoch - 1) or not np.isfinite(val_NC).all():
                continue
            value = score(by_unit(self.spec.kind, val_NC, val), self.spec.kind)
            if value > member.score + TIE:
                member.score, member.epoch = value, epoch
                member.best = {name: t.detach().clone() for name, t in member.parameters.items()}


def predict(network: Network, goal: Goal, parameters: Parameters, x_NF: np.ndarray) -> np.ndarray:
    """What one member says of each scan: p_NC, or y_N1; float64."""
    return _predict(network, goal, _stacked([parameters]), x_NF)[0]


def attention(network: Network, parameters: Parameters, x_NTF: np.ndarray) -> np.ndarray:
    """(N, T, heads): how much each head of one member attends to each token; adds up to 1 over T."""
    assert network.attention is not None
    with torch.no_grad():
        weights_NTH: np.ndarray = network.attention(_stacked([parameters]), _tensor(x_NTF)).numpy()
    return weights_NTH


def drawn(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """A start: normal, its variance 1 / the number of inputs."""
    return torch.randn(shape, generator=generator) / shape[0] ** 0.5


def _predict(network: Network, goal: Goal, stacked: Parameters, x_NF: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        parts = [
            goal.prediction(network.outputs(stacked, _tensor(x_NF[i : i + PREDICTED]), None))
            for i in range(0, len(x_NF), PREDICTED)
        ]
    return np.concatenate(parts, axis=1)


def _goal(train: Examples, kind: str) -> Goal:
    if kind != NUMBERS:
        return Goal(kind, int(train.y_N.max()) + 1)
    mean, scale = standardisation(train.y_N[:, None], even(train))
    return Goal(kind, 1, float(mean[0]), float(scale[0]))


def _order(examples: Examples) -> np.ndarray:
    """By participant, then by features: no order in which scans come changes a batch."""
    digests = [hashlib.sha256(row.tobytes()).digest() for row in examples.x_NF]
    return np.array(sorted(range(len(digests)), key=lambda n: (examples.participants[n], digests[n])))


def _groups(members: list[Member]) -> list[dict[str, Any]]:
    """Of AdamW: only matrices decay."""
    return [
        {
            "params": [t for t in member.parameters.values() if (t.ndim > 1) == decays],
            "highest": member.lr,
            "weight_decay": member.weight_decay if decays else 0.0,
        }
        for member in members
        for decays in (True, False)
    ]


def _share_of_lr(step: int, steps: int) -> float:
    warm_up = WARM_UP * steps
    if step < warm_up:
        return (step + 1) / (warm_up + 1)
    return (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up))) / 2


def _stacked(parameters: list[Parameters]) -> dict[str, Tensor]:
    return {name: torch.stack([own[name] for own in parameters]) for name in parameters[0]}


def _tensor(x_BF: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(x_BF, np.float32))
