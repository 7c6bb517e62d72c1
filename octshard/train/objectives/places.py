"""Where context and targets stand in the list of tokens that an encoder reads of a volume.

On the device a feature is looked up by its place in the list; its number in the grid says where it lies.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from octshard.config.train import TrainConfig
from octshard.imaging.volume import Shape, triple
from octshard.models import position
from octshard.models.divided import Layout
from octshard.models.packing import Packing, pack_closely, pack_in_blocks
from octshard.models.tokens import Tokens, as_tokens, valid_ids
from octshard.rng import rng_for
from octshard.stream.batch_shape import BatchShape
from octshard.train.objectives import footprints
from octshard.train.objectives.masks import Masks


class Places(NamedTuple):
    """Places of one mask set in the lists of `Tokens`, int64.

    padding: bool, True behind the last place of a volume that has fewer than K or T, where its own repeat;
    None if none has fewer. coarse: the context has a grid of its own (`objective.context_scale`), and
    context_BK are the numbers of its tokens there. box: of the targets' `Layout`. scale_BLR: float32, what
    the R branches of the L blocks of an encoder that is trained are multiplied by (`drop_path`); None: 1.
    packing: how the context, and the joint list of context and targets, are computed; None: in lists.
    """

    context_BK: Tensor
    target_BT: Tensor
    context_padding_BK: Tensor | None = None
    target_padding_BT: Tensor | None = None
    coarse: bool = False
    box: Shape | None = None
    scale_BLR: Tensor | None = None
    context_packing: Packing | None = None
    joint_packing: Packing | None = None


def token_numbers(tokens: Tokens, places: Places) -> tuple[Tensor, Tensor]:
    """(B, K) and (B, T): of the context in its grid, of the targets in that of the image."""
    context_BK = places.context_BK if places.coarse else tokens.index_BV.gather(1, places.context_BK)
    return context_BK, tokens.index_BV.gather(1, places.target_BT)


def joint_layout(places: Places) -> Layout:
    """Of context and targets together, N = K + T. No property: torch.compile traces none."""
    return Layout(_joint_padding(places), places.box, places.joint_packing)


def packed_closely(places: Places) -> Places:
    """As `tokens.packed_closely`: no padding is left in what blocks compute."""
    context, target = (
        padding_BX if padding_BX is not None and padding_BX.any() else None for padding_BX in places[2:4]
    )
    places = places._replace(context_padding_BK=context, target_padding_BT=target)
    joint = _joint_padding(places)
    return places._replace(
        context_packing=None if context is None else pack_closely(context),
        joint_packing=None if joint is None else pack_closely(joint),
    )


def packed_in_blocks(places: Places, context_length: int, joint_length: int) -> Places:
    """As `tokens.packed_in_blocks`, in sequences of these lengths; lists that need no padding stay lists."""
    context, joint = places.context_padding_BK, _joint_padding(places)
    return places._replace(
        context_packing=None if context is None else pack_in_blocks(context, [context_length]),
        joint_packing=None if joint is None else pack_in_blocks(joint, [joint_length]),
    )


def _joint_padding(places: Places) -> Tensor | None:
    context_BK, target_BT, context_padding_BK, target_padding_BT = places[:4]
    if context_padding_BK is None and target_padding_BT is None:
        return None
    pairs = ((context_BK, context_padding_BK), (target_BT, target_padding_BT))
    return torch.cat(
        [
            torch.zeros_like(place_BX, dtype=torch.bool) if padding_BX is None else padding_BX
            for place_BX, padding_BX in pairs
        ],
        dim=1,
    )


def list_tokens(
    cfg: TrainConfig,
    shape: BatchShape,
    mask_sets: Sequence[Masks],
    valid_B3: Tensor,
    passes_B: Sequence[tuple[int, str]],
) -> tuple[Tokens, list[Places]]:
    """The tokens of each volume that an encoder reads, and the places of its mask sets among them.

    A volume of more than shape.tokens is subsampled, by (seed, epoch, key): what a mask set names stays.
    valid_B3: as `masks.draw` has it; passes_B: epoch and key of each volume.
    """
    (_, patch), grid = position.shape_of(cfg.model), position.grid_of(cfg.model)
    coarse = footprints.is_coarse(cfg)
    rows = []
    for i, (extent, (epoch, key)) in enumerate(zip(valid_B3.tolist(), passes_B, strict=True)):
        ids_V = valid_ids(grid, patch, triple(extent))
        if len(ids_V) > shape.tokens:
            listed = (index_BX for masks in mask_sets for index_BX in (masks[1:2] if coarse else masks[:2]))
            named = np.concatenate([index_BX[i].numpy() for index_BX in listed])
            rng = rng_for("tokens", cfg.run.seed, epoch, key)
            ids_V = _subsample(ids_V, np.unique(named), shape.tokens, rng)
        rows.append(ids_V)
    place_sets = [
        Places(
            masks.context_BK if coarse else _places(rows, masks.context_BK),
            _places(rows, masks.target_BT),
            masks.context_padding_BK,
            masks.target_padding_BT,
            coarse,
            shape.grid(cfg),
        )
        for masks in mask_sets
    ]
    return as_tokens(rows, shape.tokens, padded=shape.padded), place_sets


def _subsample(ids_V: np.ndarray, named: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` of ids_V, ascending: all of `named`, the rest at random."""
    others = np.setdiff1d(ids_V, named, assume_unique=True)
    return np.sort(np.concatenate([named, rng.permutation(others)[: count - len(named)]]))


def _places(rows: Sequence[np.ndarray], index_BX: Tensor) -> Tensor:
    pairs = zip(rows, index_BX.numpy(), strict=True)
    return torch.from_numpy(np.stack([np.searchsorted(ids_V, index_X) for ids_V, index_X in pairs]))
