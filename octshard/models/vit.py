"""The 3-D vision transformer over patches of an OCT volume: pre-norm, no CLS token, one channel.

Tokens that do not enter are dropped before the embedding, so that a hidden patch cannot reach the output.
Shapes follow from the config and the tokens asked for. Voxels are normalised, padding is 0.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from octshard.config import fields
from octshard.config.model import ModelConfig
from octshard.imaging.volume import Shape, product, triple
from octshard.models import attention, position
from octshard.models.attention import Attend
from octshard.models.blocks import BlockStack, Readers, Rotary, Scales
from octshard.models.divided import Divided, Layout, divided
from octshard.models.packing import Packing
from octshard.models.position import FINE
from octshard.models.tokens import Tokens, as_tokens, packed_closely, valid_ids

LAYER_NORM_EPS = 1e-6  # V-JEPA 2, Assran et al. 2025
INIT_STD = 0.02


class MaskToken(NamedTuple):
    """Tokens that enter as one learned vector instead of their voxels: token_F, where mask_BK is true."""

    mask_BK: Tensor
    token_F: Tensor


class Attention(nn.Module):
    """Multi-head self-attention; `rotary` rotates queries and keys (see `position.apply_rotary`)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self,
        z_BNF: Tensor,
        rotary: Rotary,
        attend: Attend = attention.every_token,
    ) -> Tensor:
        """(B, N, F) -> (B, N, F). attend: which tokens read each other."""
        qkv = rearrange(self.qkv(z_BNF), "b n (qkv h f) -> qkv b h n f", qkv=3, h=self.heads)
        query, key, value = qkv.unbind(0)
        if rotary is not None:
            query, key = position.apply_rotary(query, rotary), position.apply_rotary(key, rotary)
        return self.out(rearrange(attend(query, key, value), "b h n f -> b n (h f)"))


class Block(nn.Module):
    """Pre-norm transformer block: attention, as a whole or divided, then an MLP with exact GELU."""

    def __init__(self, model: ModelConfig, width: int, heads: int) -> None:
        super().__init__()
        hidden = int(width * model.mlp_ratio)
        self.norm1 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.attention = Attention(width, heads)
        if model.attention == "divided":
            self.depth_norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
            self.depth_attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(
        self,
        z_BNF: Tensor,
        rotary: Rotary,
        attend: Readers = attention.every_token,
        scales_RBN1: Scales = None,
    ) -> Tensor:
        """(B, N, F) -> (B, N, F); attend as for `Attention`, two of them where it is divided.

        scales_RBN1: what the branches, attentions and MLP, are multiplied by; None: 1.
        """
        plane = attend.plane if isinstance(attend, Divided) else attend
        z_BNF = _plus(z_BNF, self.attention(self.norm1(z_BNF), rotary, plane), scales_RBN1, 0)
        if isinstance(attend, Divided):
            mixed_BNF = self.depth_attention(self.depth_norm(z_BNF), rotary, attend.depth)
            z_BNF = _plus(z_BNF, mixed_BNF, scales_RBN1, 1)
        return _plus(z_BNF, self.mlp(self.norm2(z_BNF)), scales_RBN1, -1)


def _plus(z_BNF: Tensor, branch_BNF: Tensor, scales_RBN1: Scales, number: int) -> Tensor:
    if scales_RBN1 is None:
        return z_BNF + branch_BNF
    return z_BNF + (branch_BNF * scales_RBN1[number]).to(z_BNF.dtype)


class Encoder(nn.Module):
    """Voxels to token features. `torch.manual_seed` determines the weights; build it on the CPU."""

    def __init__(self, model: ModelConfig) -> None:
        super().__init__()
        _, self.patch = position.shape_of(model)
        self._model = model
        position.check("model", model.position, model.width, model.heads)
        self.embed = nn.Linear(product(self.patch), model.width)
        self.read_at(FINE)
        self.blocks = BlockStack(
            [Block(model, model.width, model.heads) for _ in range(model.depth)],
            checkpointing=model.checkpointing,
        )
        self.norm = nn.LayerNorm(model.width, eps=LAYER_NORM_EPS)
        init_weights(self, self.blocks)

    def read_at(self, scale: Shape) -> None:
        """From now on a token covers `scale` tokens of the image: grid and positions change, weights stay."""
        model = self._model
        self.grid: Shape = position.coarser(position.grid_of(model), scale)
        place_N3 = position.coordinates(self.grid, scale)
        self.position = position.Position(model.position, place_N3, model.width, model.heads)

    def of_size(self, image_size: Shape) -> "Encoder":
        """The same encoder for images of another size, frozen; its weights lie where these do.

        Positions are a formula of where a token is, so they are computed, not interpolated: a token at the
        same place of the grid has the position that it had.
        """
        model = dataclasses.replace(self._model, image_size=list(image_size))
        position.shape_of(model)
        fields.check(model)
        with torch.device("meta"):  # no weight is allocated, or drawn
            other = Encoder(model).requires_grad_(False)
        other.load_state_dict(self.state_dict(), assign=True)
        other.position.to(self.embed.weight.device)
        return other.eval()

    def forward(
        self,
        x_BCDHW: Tensor,
        index_BK: Tensor | None = None,
        padding_BK: Tensor | None = None,
        packing: Packing | None = None,
        hidden: MaskToken | None = None,
        scale_BLR: Tensor | None = None,
    ) -> Tensor:
        """Features (B, K, F) of the tokens `index_BK`: no others enter. None: all N of a whole image.

        x_BCDHW may end at a whole patch behind its volumes: index_BK counts in the grid of the whole image.
        padding_BK: tokens that no other reads, as their places only pad a list (see `Tokens`).
        packing: how they are computed, in one sequence without that padding; features are the same.
        scale_BLR: as in `Places`, in training alone.
        """
        embedded = self._embedded(x_BCDHW, Tokens(index_BK, padding_BK, packing), hidden)  # type: ignore[arg-type]
        z_BKF = self.norm(self.blocks(*embedded, _scales(scale_BLR, packing)))
        return z_BKF if packing is None else packing.unpack(z_BKF)

    def levels(
        self, x_BCDHW: Tensor, tokens: Tokens, depths: Sequence[int], scale_BLR: Tensor | None = None
    ) -> list[Tensor]:
        """Features (B, K, F) after the first so many blocks, for each of `depths`, which ascend.

        The last one is all blocks: these are the features of `forward`; the others are not normed.
        """
        *levels, last = self.intermediates(x_BCDHW, tokens, depths, scale_BLR)
        return [*levels, self.norm(last)]

    def intermediates(
        self, x_BCDHW: Tensor, tokens: Tokens, depths: Sequence[int], scale_BLR: Tensor | None = None
    ) -> list[Tensor]:
        """As `levels`, but none is normed, and the last one may be of any depth."""
        embedded, scales = self._embedded(x_BCDHW, tokens), _scales(scale_BLR, tokens.packing)
        levels = self.blocks.levels(*embedded, scales, depths)
        return levels if tokens.packing is None else [tokens.packing.unpack(level) for level in levels]

    def _embedded(
        self, x_BCDHW: Tensor, tokens: Tokens, hidden: MaskToken | None = None
    ) -> tuple[Tensor, Rotary, Readers]:
        """What the blocks take; packed, where the tokens are. No index_BV: all tokens."""
        index_BK, padding_BK, packing = tokens
        if index_BK is None:
            patches_BNP = patchify(x_BCDHW, self.patch)
        else:
            patches_BNP = token_patches(x_BCDHW, index_BK, self.patch, self.grid)
        attend: Readers = attention.no_padding(padding_BK)
        if self._model.attention == "divided":
            d, h, w = (n // p for n, p in zip(x_BCDHW.shape[2:], self.patch, strict=True))
            index_BK = all_tokens(patches_BNP) if index_BK is None else index_BK
            attend = divided(index_BK, self.grid, Layout(padding_BK, (d, h, w)))
        elif packing is not None and index_BK is not None:
            patches_BNP, index_BK = packing.pack(patches_BNP), packing.pack(index_BK)
            hidden = hidden and hidden._replace(mask_BK=packing.pack(hidden.mask_BK))
            attend = packing.attend()
        z_BKF = self.embed(patches_BNP)
        if hidden is not None:
            z_BKF = torch.where(hidden.mask_BK.unsqueeze(-1), hidden.token_F.to(z_BKF.dtype), z_BKF)
        return self.position.add_sincos(z_BKF, index_BK), self.position.rotary(index_BK), attend

    def tokens_of(self, valid_B3: Tensor, length: int | None = None, *, packed: bool = False) -> Tokens:
        """All tokens of each volume, on the host. valid_B3: its extent (D, H, W) in voxels, on the host.

        length: V, no less than the largest of their numbers; None takes that. packed: for a device on which
        sequences may have any length.
        """
        rows = [valid_ids(self.grid, self.patch, triple(extent)) for extent in valid_B3.tolist()]
        tokens = as_tokens(rows, length or max(map(len, rows)))
        return packed_closely(tokens) if packed and self._model.attention == "joint" else tokens


def token_patches(x_BCDHW: Tensor, index_BK: Tensor, patch: Shape, grid: Shape) -> Tensor:
    """(B, K, voxels of a patch): what tokens hold; their numbers are those of `grid`, which may be larger."""
    d, h, w = (n // p for n, p in zip(x_BCDHW.shape[2:], patch, strict=True))
    return position.gather_tokens(patchify(x_BCDHW, patch), position.in_box(index_BK, grid, (d, h, w)))


def patchify(x_BCDHW: Tensor, patch: Shape) -> Tensor:
    """(B, N, voxels of a patch): a reshape, so that the embedding is one matrix product on every backend."""
    pd, ph, pw = patch
    return rearrange(x_BCDHW, "b c (d pd) (h ph) (w pw) -> b (d h w) (c pd ph pw)", pd=pd, ph=ph, pw=pw)


def _scales(scale_BLR: Tensor | None, packing: Packing | None) -> Scales:
    """For the blocks, of each volume or, where these are packed, of each token."""
    if scale_BLR is None:
        return None
    if packing is None:
        return scale_BLR.permute(1, 2, 0)[..., None, None]
    of_tokens_BVLR = scale_BLR.unsqueeze(1).expand(-1, packing.place_BV.shape[1], -1, -1)
    return packing.pack(of_tokens_BVLR).permute(2, 3, 0, 1).unsqueeze(-1)


def all_tokens(x_BNX: Tensor) -> Tensor:
    """(B, N): the numbers of all tokens, where every volume has all, in order."""
    return torch.arange(x_BNX.shape[1], device=x_BNX.device).expand(x_BNX.shape[0], -1)


def init_weights(module: nn.Module, blocks: nn.ModuleList) -> None:
    """trunc_normal 0.02, biases 0; output layers of block i (from 1) are divided by sqrt(2 i). V-JEPA 2."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=INIT_STD)
            nn.init.zeros_(layer.bias)
    for i, block in enumerate(blocks, start=1):
        assert isinstance(block, Block)
        with torch.no_grad():
            for part in block.children():
                if isinstance(part, Attention):
                    part.out.weight.div_((2 * i) ** 0.5)
            block.mlp[-1].weight.div_((2 * i) ** 0.5)  # type: ignore[operator, union-attr]
