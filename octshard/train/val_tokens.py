"""Target features and errors at a few positions of the validation volumes, collected on the device.

Every volume has its row, so that neither the batch nor the number of processes matters; shapes are fixed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from octshard.devices.backend import Backend, map_tensors
from octshard.models import position
from octshard.models.tokens import Tokens
from octshard.train.objectives import position_only
from octshard.train.objectives.distance import Distance
from octshard.train.objectives.places import Places
from octshard.train.val_set import ValSet


class Sites(NamedTuple):
    """Of a batch: rows_B, where its volumes are kept; keeps_B: 1, or 0 for one that is not; place_BP: where
    the positions stand in the lists of `Tokens`; held_BP: 1, or 0 where the volume has no such token.
    """

    rows_B: Tensor
    keeps_B: Tensor
    place_BP: Tensor
    held_BP: Tensor


class TokenSums(NamedTuple):
    """Sums over the batches so far; the fields of `position_only.ValTokens`, on the device."""

    features_RPF: Tensor
    held_RP: Tensor
    weight_RP: Tensor
    error_RP: Tensor


def sites(val: ValSet, rows_B: Sequence[int], tokens: Tokens) -> Sites:
    """Those of a batch on the host; rows_B: -1 for a volume that is not kept, and for a repeat."""
    index_BV, padding_BV, _ = tokens
    rows = np.asarray(rows_B)
    place_BP = np.zeros((len(rows), len(val.positions_P)), np.int64)
    held_BP = np.zeros(place_BP.shape, np.float32)
    for i, index_V in enumerate(index_BV.numpy()):
        if padding_BV is not None:
            index_V = index_V[~padding_BV[i].numpy()]
        place_P = np.searchsorted(index_V, val.positions_P).clip(max=len(index_V) - 1)
        held_BP[i] = index_V[place_P] == val.positions_P
        place_BP[i] = place_P
    parts = (rows.clip(min=0), (rows >= 0).astype(np.float32), place_BP, held_BP)
    return Sites(*map(torch.from_numpy, parts))


def no_tokens(val: ValSet, width: int, backend: Backend) -> TokenSums:
    """Sums over nothing."""
    shape = (len(val.second_R), len(val.positions_P))
    zeros = TokenSums(torch.zeros(*shape, width), *(torch.zeros(shape) for _ in range(3)))
    return map_tensors(zeros, backend.replicate)  # type: ignore[no-any-return]


def add(
    sums: TokenSums,
    sites: Sites,
    distance: Distance,
    target_BVX: Tensor,
    errors: Sequence[Tensor],
    place_sets: Sequence[Places],
) -> TokenSums:
    """With a further batch, in place; errors: `Objective.errors` of its own context."""
    held_BP = sites.held_BP * sites.keeps_B.unsqueeze(1)
    weight_BV = error_BV = target_BVX.new_zeros(target_BVX.shape[:2], dtype=torch.float32)
    for error_BT, places in zip(errors, place_sets, strict=True):
        target_BT, padding_BT = places.target_BT, places.target_padding_BT
        share_BT = torch.ones_like(error_BT)  # of a token in the loss of its volume
        if padding_BT is not None:
            share_BT = share_BT.masked_fill(padding_BT, 0)
        share_BT = share_BT / (len(errors) * share_BT.sum(1, keepdim=True))
        error_BV = error_BV.scatter_add(1, target_BT, share_BT * error_BT)
        weight_BV = weight_BV.scatter_add(1, target_BT, share_BT)
    features_BPX = distance.as_compared(position.gather_tokens(target_BVX, sites.place_BP))
    parts = (
        features_BPX.where(held_BP.unsqueeze(-1) > 0, 0),  # a feature may be NaN
        held_BP,
        weight_BV.gather(1, sites.place_BP) * held_BP,
        error_BV.gather(1, sites.place_BP) * held_BP,
    )
    return TokenSums(
        *(total.index_add_(0, sites.rows_B, part) for total, part in zip(sums, parts, strict=True))
    )


def to_host(sums: TokenSums, backend: Backend) -> position_only.ValTokens:
    """Those of all processes. Waits for the device."""
    everywhere = TokenSums(*(backend.all_reduce_sum(total) for total in sums))
    features, held, weight, error = (total.numpy() for total in backend.to_host(everywhere))
    return position_only.ValTokens(features, held > 0.5, weight, error)
