"""The loss of one micro-batch and its gradients: encoder, predictor, targets; each volume by itself.

Nothing is padded, so this is also what a padded batch has to equal.
"""

import math
from typing import NamedTuple

import numpy as np

from octshard.config.train import TrainConfig
from tests.support.numpy_step import layers, levels
from tests.support.numpy_step.layers import Backward
from tests.support.numpy_step.positions import Grid, places
from tests.support.numpy_step.transformer import Mask, Stack, Tokens, encoder, predictor
from tests.support.numpy_step.views import Scan, box_means, patches, views
from tests.support.numpy_step.weights import Array, Weights


class Sample(NamedTuple):
    """A volume; numbers in the grid of the tokens that are read, and of context (in its own grid) and
    targets by mask set.
    """

    scan: Scan
    ids_N: Array
    masks: tuple[tuple[Array, Array], ...]


class Read(NamedTuple):
    """The tokens of a volume's context view, and by token what is to be predicted: features, or voxels."""

    patches: dict[int, Array]
    ids_N: Array
    target_F: dict[int, Array]


class Losses(NamedTuple):
    """losses_B: of the volumes, at targets; whole: what has the gradients."""

    losses_B: Array
    whole: float


def backpropagate(
    samples: list[Sample], cfg: TrainConfig, weights: Weights, share: float, progress: float = 1.0
) -> Losses:
    """Adds the gradients of `share` of the whole to the weights. progress: the share of the budget spent."""
    read = [_read(sample, cfg, weights) for sample in samples]
    if cfg.objective.name == "vjepa2_1":
        return _levels(samples, read, cfg, weights, (share, levels.context_weight(progress, cfg)))
    sets = range(len(cfg.objective.masks))
    predict = _mlp if cfg.objective.name == "byol" else _transformer
    losses_SB = []
    for s in sets:
        predicted, backward = predict([(r, sample.masks[s]) for r, sample in zip(read, samples, strict=True)],
                                      s, cfg, weights)  # fmt: skip
        target = [
            np.stack([r.target_F[i] for i in sample.masks[s][1]])
            for r, sample in zip(read, samples, strict=True)
        ]
        error = ERRORS[cfg.objective.name]
        losses, derivatives = zip(*(error(p, t) for p, t in zip(predicted, target, strict=True)), strict=True)
        backward([d * (share / len(samples) / len(sets)) for d in derivatives])
        losses_SB.append(losses)
    return Losses(np.mean(losses_SB, axis=0), float(np.mean(losses_SB)))


def _levels(
    samples: list[Sample],
    read: list[Read],
    cfg: TrainConfig,
    weights: Weights,
    shares: tuple[float, float],
) -> Losses:
    """shares: of the whole in the gradients, and of the context in the whole."""
    share, of_context = shares
    stacks = stack_of(cfg, "encoder"), stack_of(cfg, "predictor.transformer")
    targets_SB, context_SB = np.zeros((2, len(cfg.objective.masks), len(samples)))
    each = share / targets_SB.size
    for b, (sample, r) in enumerate(zip(samples, read, strict=True)):
        for s, ids in enumerate(sample.masks):
            both = [levels.Predicted(image_tokens(ids_N, cfg), rows(r.target_F, ids_N)) for ids_N in ids]
            parts = levels.level_losses(rows(r.patches, ids[0]), both, s, stacks, weights)
            targets_SB[s, b], context_SB[s, b] = parts.targets, parts.context
            parts.backward(each, each * of_context)
    return Losses(targets_SB.mean(0), float(targets_SB.mean() + of_context * context_SB.mean()))


def l1(predicted_TF: Array, target_TF: Array) -> tuple[float, Array]:
    """mean |z - norm(h)| and its derivative by z."""
    unit_TF, _ = layers.normed(target_TF, 1, layers.LAYER_NORM_EPS)
    error_TF = predicted_TF - unit_TF
    return float(np.abs(error_TF).mean()), np.sign(error_TF) / error_TF.size


def normalised_mse(predicted_TF: Array, target_TF: Array) -> tuple[float, Array]:
    """mean |z / |z| - h / |h||^2 and its derivative by z."""
    length_T1 = np.linalg.norm(predicted_TF, axis=1, keepdims=True)
    z_TF = predicted_TF / length_T1
    h_TF = target_TF / np.linalg.norm(target_TF, axis=1, keepdims=True)
    cosine_T1 = (z_TF * h_TF).sum(1, keepdims=True)
    loss = float(((z_TF - h_TF) ** 2).sum(1).mean())
    return loss, -2 * (h_TF - cosine_T1 * z_TF) / length_T1 / len(z_TF)


def squared_error(predicted_TP: Array, target_TP: Array) -> tuple[float, Array]:
    """mean |z - h|^2, first over the voxels of a patch that are real, and its derivative by z."""
    known_TP = ~np.isnan(target_TP)
    error_TP = np.where(known_TP, predicted_TP - target_TP, 0)
    count_T1 = known_TP.sum(1, keepdims=True)
    return float(((error_TP**2).sum(1) / count_T1[:, 0]).mean()), 2 * error_TP / count_T1 / len(error_TP)


ERRORS = {"vjepa2": l1, "byol": normalised_mse, "mae": squared_error}


def normed_voxels(patch_P: Array, real_P: Array) -> Array:
    """Of mean 0 and variance 1 over the voxels of the volume; NaN beyond it."""
    voxels = patch_P[real_P > 0]
    normed_P = (patch_P - voxels.mean()) / np.sqrt(voxels.var() + 1e-6)
    return np.where(real_P > 0, normed_P, np.nan)


def stack_of(cfg: TrainConfig, prefix: str) -> Stack:
    """The blocks of `encoder`, `target_encoder`, or what begins with `predictor`."""
    sizes = cfg.predictor if prefix.startswith("predictor") else cfg.model
    return Stack(prefix, sizes.depth, sizes.heads, cfg.model.position, cfg.model.attention)


def rows(by_token: dict[int, Array], ids_N: Array) -> Array:
    """(N, F)."""
    return np.stack([by_token[int(i)] for i in ids_N])


def image_tokens(ids_N: Array, cfg: TrainConfig) -> Tokens:
    """Those of the image with these numbers, without padding."""
    return Tokens(places(ids_N, grid_of(cfg)), np.ones(len(ids_N), bool))


def context_tokens(ids_K: Array, cfg: TrainConfig) -> Tokens:
    """Those of the context with these numbers in its own grid."""
    scale = tuple(cfg.objective.context_scale)
    return Tokens(places(ids_K, grid_of(cfg, scale), scale), np.ones(len(ids_K), bool))


def grid_of(cfg: TrainConfig, scale: Grid = (1, 1, 1)) -> Grid:
    """Tokens along (D, H, W) that cover `scale` tokens of the image each; the last may reach beyond it."""
    d, h, w = (
        math.ceil(size / (side * s))
        for size, side, s in zip(cfg.model.image_size, cfg.model.patch, scale, strict=True)
    )
    return d, h, w


def _read(sample: Sample, cfg: TrainConfig, weights: Weights) -> Read:
    stack, grid, scale = stack_of(cfg, "target_encoder"), grid_of(cfg), tuple(cfg.objective.context_scale)
    size, patch = tuple(cfg.model.image_size), tuple(cfg.model.patch)
    context_DHW, target_DHW = views(sample.scan, size)
    context = patches(box_means(context_DHW, scale), patch, grid_of(cfg, scale))
    target = patches(target_DHW, patch, grid)
    if cfg.objective.name == "mae":
        real = patches(np.ones(sample.scan.voxels_DHW.shape), patch, grid)
        return Read(context, sample.ids_N, {i: normed_voxels(target[i], real[i]) for i in real})
    tokens = image_tokens(sample.ids_N, cfg)
    if cfg.objective.name == "vjepa2_1":
        target_NF = levels.target_levels(rows(target, sample.ids_N), tokens, stack, weights)
    else:
        target_NF, _ = encoder(rows(target, sample.ids_N), tokens, stack, weights)
    return Read(context, sample.ids_N, dict(zip(map(int, sample.ids_N), target_NF, strict=True)))


Volumes = list[tuple[Read, tuple[Array, Array]]]


def _transformer(volumes: Volumes, s: int, cfg: TrainConfig, weights: Weights):  # type: ignore[no-untyped-def]
    """Predictions of each volume, and their backward pass. The encoder reads the context alone."""
    predictions, passes = [], list[Backward]()
    for read, (context, target) in volumes:
        seen, hidden = context_tokens(context, cfg), image_tokens(target, cfg)
        z_KF, into_encoder = encoder(rows(read.patches, context), seen, stack_of(cfg, "encoder"), weights)
        z_TF, into_predictor = predictor(z_KF, (seen, hidden), s, stack_of(cfg, "predictor"), weights)
        predictions.append(z_TF)
        passes.append(lambda d, e=into_encoder, p=into_predictor: e(p(d)))

    def backward(derivatives: list[Array]) -> None:
        for back, derivative in zip(passes, derivatives, strict=True):
            back(derivative)

    return predictions, backward


def _mlp(volumes: Volumes, s: int, cfg: TrainConfig, weights: Weights):  # type: ignore[no-untyped-def]
    """The same for `byol`: every token enters, those that are not context as the mask token; the batch norm
    sees the targets of all volumes.
    """
    features, passes = [], []
    for read, (context, target) in volumes:
        mask = Mask(~np.isin(read.ids_N, context), "predictor.token_F")
        z_NF, into_encoder = encoder(
            rows(read.patches, read.ids_N),
            image_tokens(read.ids_N, cfg),
            stack_of(cfg, "encoder"),
            weights,
            mask,
        )
        rows_T = np.searchsorted(read.ids_N, target)
        features.append(z_NF[rows_T])
        passes.append((into_encoder, rows_T, z_NF.shape))
    h, into_in = layers.linear(np.concatenate(features), weights, "predictor.proj_in")
    h, into_norm = layers.scaled_norm(h, weights, "predictor.norm", axis=0)
    h, into_gelu = layers.gelu(h)
    z, into_out = layers.linear(h, weights, "predictor.proj_out")
    ends = np.cumsum([len(f) for f in features])[:-1]

    def backward(derivatives: list[Array]) -> None:
        d = into_in(into_norm(into_gelu(into_out(np.concatenate(derivatives)))))
        for (into_encoder, rows_T, shape), d_TF in zip(passes, np.split(d, ends), strict=True):
            d_NF = np.zeros(shape)
            d_NF[rows_T] = d_TF
            into_encoder(d_NF)

    return np.split(z, ends), backward
