"""Validation: every volume counts once, whatever the batch and the number of processes, and so do the losses
that stand beside its loss.
"""

import contextlib
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch.nn import functional

from octshard import ShardDataset
from octshard.config.train import TrainConfig
from octshard.devices import prefetch, select
from octshard.imaging.crop import crop_pad_into
from octshard.models import normalize
from octshard.models.tokens import Tokens
from octshard.train import setup, val_set, validation
from octshard.train.inputs import load_inputs, val_batches
from octshard.train.objectives.build import build
from octshard.train.objectives.jepa import Jepa
from octshard.train.objectives.places import Places
from octshard.train.objectives.position_only import Losses
from octshard.train.validation import Validation
from tests.support.numpy_step.views import box_means
from tests.support.tiny_run import COARSE_CONTEXT, config_for, objective_words, write_dataset
from tests.support.token_lists import draw_lists

# whatever the batch is, 7 and 5 volumes of two sizes do not fill it
LENGTH = ("run.samples_budget=8", "run.global_batch=8", "run.val_samples=99", "run.cpu_threads=1")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("data")
    first = write_dataset(folder / "one", {"train": 21, "val": 7}, device="one")
    second = write_dataset(folder / "two", {"train": 8, "val": 5}, (4, 32, 16), device="two")
    return f"{first},{second}"


def validate(cfg: TrainConfig) -> Validation:
    with contextlib.closing(select.open_backend(cfg.run)) as backend:
        run, _ = setup.start(cfg, backend, load_inputs(cfg, backend), None)
        with prefetch.prefetch_to_device(val_batches(run.inputs, backend), backend) as batches:
            result = validation.validate(run, batches, lambda: False)
        assert result is not None
        return result


class Volume(NamedTuple):
    """One of val, read alone, as a program reads it: its centre as the model gets it, and its masks."""

    participant: str
    x: torch.Tensor
    context: torch.Tensor  # at its own spacing
    tokens: Tokens
    places: list[Places]


def volumes_of(cfg: TrainConfig, urls: list[str]) -> list[Volume]:
    """All of val, in the order of the datasets."""
    volumes = []
    d, h, w = cfg.model.image_size
    for item in (
        dataset[i]
        for dataset in (ShardDataset(url, split="val") for url in urls)
        for i in range(len(dataset))
    ):
        image_DHW = np.zeros((d, h, w), np.uint8)
        valid_B3 = torch.tensor([crop_pad_into(image_DHW, item["image"][0].numpy(), None)])
        meta = item["meta"]
        x = normalize.normalize(
            torch.from_numpy(image_DHW)[None],
            torch.tensor([meta["mean"]]),
            torch.tensor([meta["std"]]),
            valid_B3,
        )
        context, lists = context_of(cfg, x, valid_B3[0].tolist()), draw_lists(cfg, valid_B3, [meta["key"]])
        volumes.append(Volume(meta["key"][:6], x, context, *lists))
    return volumes


def context_of(cfg: TrainConfig, x: torch.Tensor, extent: list[int]) -> torch.Tensor:
    """x, or the means of its boxes, box by box."""
    scale = tuple(cfg.objective.context_scale)
    if scale == (1, 1, 1):
        return x
    means = box_means(x[0, 0].numpy()[tuple(map(slice, extent))], scale)
    size = [math.ceil(n / s / p) * p for n, s, p in zip(x.shape[2:], scale, cfg.model.patch, strict=True)]
    room = [(0, n - m) for n, m in zip(size, means.shape, strict=True)]
    return torch.from_numpy(np.pad(means, room).astype(np.float32))[None, None]


@torch.no_grad()
def losses_one_by_one(cfg: TrainConfig, volumes: list[Volume], others: list[int]) -> tuple[float, float]:
    """Of all volumes with their own context, and with that of the others; the model in training mode. At
    targets alone, as validation is.
    """
    model, own, other = build(cfg), [], []
    for volume, number in zip(volumes, others, strict=True):
        own.append(float(model(volume.context, volume.x, volume.tokens, volume.places).losses_S.mean()))
        other_x = volumes[number].context
        other.append(float(model(other_x, volume.x, volume.tokens, volume.places).losses_S.mean()))
    return float(np.mean(own)), float(np.mean(other))


@torch.no_grad()
def position_only_by_loops(cfg: TrainConfig, volumes: list[Volume], first: set[str]) -> tuple[float, float]:
    """The model's loss and the position-only predictor's, over the targets that four of each half hold."""
    model, objective = build(cfg), cfg.objective.name
    features: dict[tuple[int, int], torch.Tensor] = {}
    for v, volume in enumerate(volumes):
        z_VF = model.targets(volume.x, volume.tokens)[0]
        index_BV, padding_BV, _ = volume.tokens
        assert padding_BV is not None
        valid_V = ~padding_BV[0]
        features |= {(v, int(i)): z_F for i, z_F in zip(index_BV[0, valid_V], z_VF[valid_V], strict=True)}
    own, reference, weights = [], [], []
    for v, volume in enumerate(volumes):
        in_first = volume.participant in first
        target_BVX = model.targets(volume.x, volume.tokens)
        errors = model.errors(volume.context, target_BVX, volume.tokens, volume.places)
        for error, (_, target_BT, *_) in zip(errors, volume.places, strict=True):
            for error_F, place in zip(error[0], target_BT[0], strict=True):
                token = int(volume.tokens.index_BV[0, place])
                halves: list[list[torch.Tensor]] = [[], []]
                for (u, i), z_F in features.items():
                    if i == token:
                        halves[(volumes[u].participant in first) == in_first].append(z_F)
                if min(map(len, halves)) < 4:
                    continue
                rows_VF = torch.stack(halves[0])
                if objective in ("vjepa2", "vjepa2_1"):
                    levels_VLF = rows_VF.unflatten(1, (-1, 24))
                    normed = functional.layer_norm(levels_VLF, (24,), eps=1e-6).flatten(1).numpy()
                    center = torch.from_numpy(np.median(normed, axis=0))
                elif objective == "mae":
                    center = mean_where_known(rows_VF)
                else:
                    center = (rows_VF / rows_VF.norm(dim=1, keepdim=True)).sum(0)
                compared = model.distance.as_compared(features[v, token][None, None])
                error_BT = model.distance.error(center[None, None], compared)
                own.append(float(error_F.mean()))
                reference.append(float(error_BT.mean()))
                weights.append(1 / target_BT.shape[1])
    return float(np.average(own, weights=weights)), float(np.average(reference, weights=weights))


def mean_where_known(rows_VF: torch.Tensor) -> torch.Tensor:
    """A row with n numbers counts 1/n in each of them; 0 where no row has one."""
    center = []
    for f in range(rows_VF.shape[1]):
        known = [
            (float(row_F[f]), 1 / int((~row_F.isnan()).sum())) for row_F in rows_VF if row_F[f] == row_F[f]
        ]
        total = sum(weight for _, weight in known)
        center.append(sum(value * weight for value, weight in known) / total if known else 0.0)
    return torch.tensor(center)


SETS = (
    "objective.masks=[{kind: cubes, cube: [1,1,1], context: 6, target: 5},"
    " {kind: cubes, cube: [1,1,1], context: 4, target: 8}]"
)
# the next volume of another participant that is as large; those of the last two are in front
OTHERS = [1, 2, 3, 4, 5, 6, 0, 8, 9, 10, 11, 7]
FIRST_HALF = {"val000", "val002", "val004", "val006"}


# with rope the hidden tokens of `byol` are all but equal at the start, and a norm blows up their rounding
@pytest.mark.parametrize(
    ("objective", "position", "context"),
    [
        ("vjepa2", "rope", ()),
        ("vjepa2_1", "rope", ()),
        ("byol", "sincos", ()),
        ("mae", "rope", ()),
        ("vjepa2", "rope", COARSE_CONTEXT),
    ],
    ids=["vjepa2", "vjepa2_1", "byol", "mae", "coarse"],
)
def test_all_losses_are_those_of_volumes_each_alone_whatever_the_batch(
    shards: str, tmp_path: Path, objective: str, position: str, context: tuple[str, ...]
) -> None:
    more = (*LENGTH, *objective_words(objective), f"model.position={position}", SETS, *context)
    cfgs = [config_for(shards, tmp_path, *more, f"run.per_device_batch={size}") for size in (8, 4, 2, 1)]
    volumes = volumes_of(cfgs[0], shards.split(","))
    assert len(volumes) == 12
    expected = losses_one_by_one(cfgs[0], volumes, OTHERS)
    model, position_only = position_only_by_loops(cfgs[0], volumes, FIRST_HALF)
    for cfg in cfgs:
        result = validate(cfg)
        assert (result.loss, result.loss_other_context) == pytest.approx(expected, rel=1e-6)
        assert result.references is not None
        assert result.references.model == pytest.approx(model, rel=1e-5)
        assert result.references.position_only == pytest.approx(position_only, rel=1e-5)


@pytest.mark.parametrize("samples", [1, 5, 9])
def test_the_volumes_are_the_same_ones_and_from_all_datasets(
    shards: str, tmp_path: Path, samples: int
) -> None:
    chosen = []
    for size in (8, 2):
        cfg = config_for(
            shards, tmp_path, *LENGTH, f"run.val_samples={samples}", f"run.per_device_batch={size}"
        )
        backend = select.open_backend(cfg.run)
        batches = val_batches(load_inputs(cfg, backend), backend)
        chosen.append(
            [key for inputs in batches for key in inputs.own.batch.keys[: int(inputs.own.weight_B.sum())]]
        )
    assert chosen[0] == chosen[1]
    assert len(set(chosen[0])) == samples
    of_second = sum("-two-" in key for key in chosen[0])
    assert abs(of_second - samples * 5 / 12) < 1


def test_few_positions_give_the_skill_of_all(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = config_for(shards, tmp_path, *LENGTH, SETS, "run.per_device_batch=8")
    exact = validate(cfg)
    monkeypatch.setattr(val_set, "BYTES", 12 * 6 * 24 * 4)  # 6 of the 12 positions
    monkeypatch.setattr(val_set, "LEAST_POSITIONS", 1)
    part = validate(cfg)
    assert exact.skill is not None
    assert part.skill is not None
    assert (part.loss, part.loss_other_context) == (exact.loss, exact.loss_other_context)
    assert part.references != exact.references
    assert part.skill == pytest.approx(exact.skill, abs=0.03)


def test_too_few_volumes_have_a_loss_but_no_skill(shards: str, tmp_path: Path) -> None:
    few = validate(config_for(shards, tmp_path, *LENGTH, "run.val_samples=5", "run.per_device_batch=8"))
    assert (few.references, few.skill, few.score) == (None, None, None)
    assert set(few.metrics()) == {"val_loss", "val_loss_other_context"}
    first = shards.split(",")[0]  # 7 volumes: 4 of one half, 3 of the other
    uneven = validate(config_for(first, tmp_path, *LENGTH, "run.per_device_batch=8"))
    assert (uneven.references, uneven.skill) == (None, None)
    one = validate(config_for(shards, tmp_path, *LENGTH, "run.val_samples=1", "run.per_device_batch=8"))
    assert set(one.metrics()) == {"val_loss"}


def test_one_half_with_enough_volumes_gives_no_skill_of_the_other(tmp_path: Path) -> None:
    """Four volumes could fit the one position that shapes keep, and three be judged on it."""
    mask = "objective.masks=[{kind: cubes, cube: [1,1,1], context: 6, target: 12}]"
    url = write_dataset(tmp_path / "seven", {"train": 4, "val": 7})
    few = validate(config_for(url, tmp_path, *LENGTH, mask, "run.val_samples=7"))
    assert (few.references, few.score) == (None, None)


@pytest.mark.parametrize(
    ("losses", "skill", "line"),
    [
        (Losses(0.3, 0.6, 0.8), 0.5, ""),
        (Losses(0.9, 0.6, 0.8), -0.5, ""),
        (Losses(0.3, 0.8, 0.6), 0.5, ""),  # of few volumes: the constant is the better reference
        (Losses(0.01, 0.002, 0.8), -4, "say only where a token lies"),
        (Losses(0.0, 0.0, 0.8), None, "say only where a token lies"),
        (Losses(0.3, 1e-4, 1e-4), None, "are the same for all tokens"),
        (None, None, ""),
    ],
)
def test_skill_and_the_collapse_that_it_cannot_see(
    losses: Losses | None, skill: float | None, line: str
) -> None:
    result = Validation(0.3, 0.4, losses, "1234")
    assert result.skill == (None if skill is None else pytest.approx(skill))
    assert (result.score is None) == (skill is None)
    text = str(result.collapse_line(7) or "")
    assert (line in text) == (text.startswith("step 7: target features of") if line else text == "")


@pytest.mark.parametrize(
    ("embedding", "position", "line"),
    [
        (0, "sincos", "say only where a token lies"),
        (0, "rope", "are the same for all tokens"),
        (1, "rope", ""),
    ],
)
def test_a_collapse_is_seen_though_volumes_differ_in_size(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embedding: int, position: str, line: str
) -> None:
    def with_embedding(cfg: TrainConfig) -> Jepa:
        model = build(cfg)
        assert isinstance(model, Jepa)
        with torch.no_grad():
            model.target_encoder.embed.weight *= embedding
        return model

    monkeypatch.setattr(setup, "build", with_embedding)
    cfg = config_for(shards, tmp_path, *LENGTH, f"model.position={position}", "run.per_device_batch=1")
    text = validate(cfg).collapse_line(1)
    assert (line in text) if line and text else text is None and not line
