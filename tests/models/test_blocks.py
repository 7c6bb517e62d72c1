"""Blocks whose insides are computed again, and branches that are left out."""

import pytest
import torch
from torch import Tensor

from octshard.models.vit import Encoder
from octshard.train.objectives.build import build
from tests.train.objectives.test_objective import FORMS, STEADY, config, inputs

EVERY = pytest.mark.parametrize("form", FORMS)


def step(form: str, *, checkpointing: bool, precision: torch.dtype | None = None) -> list[Tensor]:
    """The loss of a step and all its gradients."""
    cfg = config(form, STEADY[form], sets=2)
    cfg.model.checkpointing = checkpointing
    model = build(cfg)
    with torch.autocast("cpu", precision, enabled=precision is not None):
        loss = model(*inputs(cfg)).loss
    loss.backward()
    return [loss.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]


@EVERY
def test_what_is_computed_again_is_the_same_bit_for_bit(form: str) -> None:
    for precision in (None, torch.bfloat16):
        kept, again = (step(form, checkpointing=on, precision=precision) for on in (False, True))
        assert len(kept) == len(again) > 20
        assert all(torch.equal(a, b) for a, b in zip(kept, again, strict=True))


@pytest.mark.parametrize("form", ["vjepa2", "vjepa2 divided"])
def test_only_what_enters_a_block_is_kept(form: str) -> None:
    """Of an encoder that is six deep, beside its embedding and its norm."""
    sizes = []
    for depth in (3, 6):
        for checkpointing in (False, True):
            cfg, kept = config(form, depth=depth), dict[int, int]()
            cfg.model.checkpointing = checkpointing
            encoder, own = Encoder(cfg.model), set[int]()
            own = {p.untyped_storage().data_ptr() for p in encoder.parameters()}

            def keep(tensor: Tensor, kept: dict[int, int] = kept) -> Tensor:
                kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
                return tensor

            x = torch.zeros(2, 1, *cfg.model.image_size)
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                z = encoder(x)
            sizes.append(sum(size for place, size in kept.items() if place not in own))
            assert z.requires_grad
    of_three_blocks = sizes[2] - sizes[0], sizes[3] - sizes[1]
    assert of_three_blocks[1] == 3 * 4 * 2 * 24 * 24  # float32 of two volumes, 24 tokens, 24 features
    assert of_three_blocks[0] > 10 * of_three_blocks[1]


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("attention", ["joint", "divided"])
def test_a_branch_is_multiplied_by_its_scale_for_each_volume(attention: str, checkpointing: bool) -> None:
    """With 0 everywhere a volume passes unchanged; with 1 as without; one branch of one volume moves it."""
    cfg = config(f"vjepa2 {attention}" if attention == "divided" else "vjepa2", depth=3)
    cfg.model.checkpointing = checkpointing
    encoder, branches = Encoder(cfg.model), 3 if attention == "divided" else 2
    x = torch.randn(2, 1, *cfg.model.image_size, generator=torch.Generator().manual_seed(0))
    scale_BLR = torch.ones(2, 3, branches)
    plain = encoder(x)
    torch.testing.assert_close(encoder(x, scale_BLR=scale_BLR), plain)
    scale_BLR[1] = 0
    some = encoder(x, scale_BLR=scale_BLR)
    torch.testing.assert_close(some[0], plain[0])
    embedded = encoder._embedded(x, encoder.tokens_of(torch.tensor([cfg.model.image_size] * 2)))[0]
    torch.testing.assert_close(some[1], encoder.norm(embedded)[1])
    seen = []
    for block in range(3):
        for branch in range(branches):
            scale_BLR = torch.ones(2, 3, branches)
            scale_BLR[0, block, branch] = 0
            changed = encoder(x, scale_BLR=scale_BLR)
            torch.testing.assert_close(changed[1], plain[1])
            seen.append(float((changed[0] - plain[0]).detach().abs().max()))
    assert min(seen) > 1e-6
    assert len(set(seen)) == len(seen)


def test_packed_volumes_have_the_scales_of_lists() -> None:
    cfg = config("vjepa2", depth=2)
    encoder, extents = Encoder(cfg.model), torch.tensor([cfg.model.image_size, [4, 8, 16]])
    x = torch.randn(2, 1, *cfg.model.image_size, generator=torch.Generator().manual_seed(0))
    scale_BLR = torch.rand(2, 2, 2, generator=torch.Generator().manual_seed(1))
    listed, packed = (
        encoder(x, *encoder.tokens_of(extents, packed=packed), scale_BLR=scale_BLR)
        for packed in (False, True)
    )
    torch.testing.assert_close(packed[0], listed[0])
    torch.testing.assert_close(packed[1, :16], listed[1, :16])
