"""The attentive probe's pooler against torch's own attention; padding is never read."""

import numpy as np
import pytest
import torch

from octshard.config.head import AttentiveConfig, HeadConfig
from octshard.errors import OctshardError, UsageError
from octshard.probes import attentive, build
from octshard.probes.examples import Examples
from octshard.probes.head import HeadSpec
from octshard.probes.targets import CLASSES

WIDTH, HEADS = 8, 2


def made(count: int = 12, seed: int = 0) -> Examples:
    rng = np.random.default_rng(seed)
    x_NTF = rng.normal(2, 3, size=(count, 5, WIDTH)).astype(np.float32)
    x_NTF[::3, 3:] = 0
    return Examples(x_NTF, np.arange(count) % 2, tuple(f"p{n}" for n in range(count)))


def test_the_pooler_is_multi_head_attention_of_one_query() -> None:
    network = attentive.network(made(), AttentiveConfig(heads=HEADS))
    members = [network.start(torch.Generator().manual_seed(seed), 3) for seed in (1, 2)]
    for i, own in enumerate(members):
        own["value_bias"] += 0.1 * (i + 1)
        own["out_bias"] -= 0.2 * (i + 1)
    stacked = {name: torch.stack([own[name] for own in members]) for name in members[0]}
    z_BTF = torch.from_numpy(np.random.default_rng(5).normal(size=(4, 5, WIDTH))).float()
    valid_BT = torch.ones(4, 5, dtype=torch.bool)
    valid_BT[1, 2:] = False
    z_GBF = attentive.pooled(stacked, z_BTF, valid_BT, HEADS)
    for own, z_BF in zip(members, z_GBF, strict=True):
        theirs = torch.nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        with torch.no_grad():
            # theirs projects the query too: by the unit matrix it is ours
            parts = [torch.eye(WIDTH), own["key"].T, own["value"].T]
            theirs.in_proj_weight.copy_(torch.cat(parts))
            theirs.in_proj_bias.copy_(torch.cat([torch.zeros(2 * WIDTH), own["value_bias"]]))
            theirs.out_proj.weight.copy_(own["out"].T)
            theirs.out_proj.bias.copy_(own["out_bias"])
            query_B1F = own["query"].expand(4, 1, WIDTH)
            said, _ = theirs(query_B1F, z_BTF, z_BTF, key_padding_mask=~valid_BT)
        torch.testing.assert_close(z_BF, own["query"] + said[:, 0], rtol=1e-5, atol=1e-5)


def test_padding_and_the_order_of_tokens_change_nothing() -> None:
    train, val = made(), made(seed=1)
    cfg = HeadConfig(
        head="attentive", attentive=AttentiveConfig(lr=[1e-2], weight_decay=[0.1], epochs=2, heads=2)
    )
    spec = HeadSpec(cfg, CLASSES, 0)
    head = build.fit(spec, train, val)
    turned = val.x_NF[:, [4, 2, 0, 1, 3]]
    longer = np.pad(val.x_NF, ((0, 0), (0, 3), (0, 0)))
    for x_NTF in (turned, longer):
        np.testing.assert_allclose(head.predict(x_NTF), head.predict(val.x_NF), rtol=1e-5)


def test_tokens_are_standardised_over_the_valid_ones_and_people() -> None:
    """Two scans of a: tokens 1, 3 and 5; one of b: 7. Means of scans 2, 5, 7; of people 3.5, 7."""
    x_NTF = np.array([[[1.0], [3.0]], [[5.0], [0.0]], [[7.0], [0.0]]], np.float32)
    mean_F, scale_F = attentive.token_standardisation(Examples(x_NTF, np.array([0, 0, 1]), ("a", "a", "b")))
    assert mean_F == pytest.approx(5.25)
    squares = ((1 + 9) / 2 + 25) / 2 / 2 + 49 / 2
    assert scale_F == pytest.approx(np.sqrt(squares - 5.25**2))


def test_a_scan_without_tokens_and_heads_that_do_not_fit_are_refused() -> None:
    train, val = made(), made(seed=1)
    spec = HeadSpec(HeadConfig(head="attentive", attentive=AttentiveConfig(heads=3)), CLASSES, 0)
    with pytest.raises(UsageError, match=r"attentive.heads=3: features have width 8, want a divisor"):
        build.fit(spec, train, val)
    train.x_NF[4] = 0
    with pytest.raises(OctshardError, match="a scan of p4 has no token but zeros"):
        build.fit(spec, train, val)


def test_a_fitted_head_tells_what_it_attends_to() -> None:
    """As `weights` has it of the chosen member's parameters: 1 over the valid tokens, alone or in a batch."""
    train, val = made(), made(seed=1)
    cfg = AttentiveConfig(lr=[1e-2], weight_decay=[0.1], epochs=2, heads=HEADS)
    head = build.fit(HeadSpec(HeadConfig(head="attentive", attentive=cfg), CLASSES, 0), train, val)
    assert head.attention is not None
    attention_NTH = head.attention(val.x_NF)
    assert attention_NTH.shape == (12, 5, HEADS)
    np.testing.assert_allclose(attention_NTH.sum(1), 1, rtol=1e-5)
    assert (attention_NTH[::3, 3:] == 0).all()
    assert np.ptp(attention_NTH[1], axis=0).min() > 0
    alone = head.attention(val.x_NF[:1, :3])
    np.testing.assert_allclose(alone[0], attention_NTH[0, :3], rtol=1e-5)


def test_heads_without_attention_say_so() -> None:
    pooled = [Examples(each.x_NF.mean(1), each.y_N, each.participants) for each in (made(), made(seed=1))]
    assert build.fit(HeadSpec(HeadConfig(), CLASSES, 0), *pooled).attention is None
