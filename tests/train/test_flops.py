"""FLOPs by formula, against torch's counter over a real step and against a computation by hand."""

from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from octshard.config.load import load
from octshard.config.train import TrainConfig
from octshard.imaging.volume import product
from octshard.models import position
from octshard.stream.batch_shape import BatchShape
from octshard.stream.index import load_index
from octshard.train import flops, sequence_lengths
from octshard.train.augment import cross_resolution
from octshard.train.objectives.build import CLASSES, build
from tests.support.tiny_run import config_for, write_dataset
from tests.support.token_lists import draw_lists, packed_lists

TWO_SETS = "objective.masks=[{kind: cubes, context: 8, target: 6}, {kind: blocks, context: 5, target: 9}]"
COUNTS = "objective.masks=[{kind: cubes, context: 960, target: 1450}]"  # the same of all volumes
WORDS = ["model.image_size=[8,32,32]", "model.patch=[2,8,8]", "model.width=48", "model.heads=3",
         "model.depth=5", "model.mlp_ratio=2.5", "predictor.width=24", "predictor.depth=2",
         "predictor.heads=2", TWO_SETS]  # fmt: skip
WITH_SCALES = pytest.mark.parametrize(
    ("objective", "scale"),
    [*((name, "[1,1,1]") for name in CLASSES), *((name, "[2,1,2]") for name in CLASSES if name != "byol")],
)


@pytest.mark.parametrize("checkpointing", ["false", "true"])
@pytest.mark.parametrize("attention", ["joint", "divided"])
@WITH_SCALES
def test_the_formula_counts_what_torch_counts(
    objective: str, scale: str, attention: str, checkpointing: str
) -> None:
    words = [
        f"objective.name={objective}",
        f"objective.context_scale={scale}",
        f"model.attention={attention}",
    ]
    words.append(f"model.checkpointing={checkpointing}")
    cfg = load(TrainConfig, [], [*WORDS, *words])
    model, size = build(cfg), 2
    x, valid_B3 = torch.randn(size, 1, *cfg.model.image_size), torch.tensor([cfg.model.image_size] * size)
    lists = draw_lists(cfg, valid_B3, ["a", "b"])
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # as plain products
        model(cross_resolution.of_context(x, valid_B3, cfg), x, *lists).loss.backward()
    everything = product(position.grid_of(cfg.model))
    assert counter.get_total_flops() == size * flops.step_flops(cfg, everything).total


@WITH_SCALES
def test_the_formula_counts_what_torch_counts_in_closely_packed_sequences(objective: str, scale: str) -> None:
    """Of two volumes of 64 and 32 tokens, which ask for different parts of the lists."""
    masks = "{kind: cubes, context: 0.4, target: 0.3, draws: 2}, {kind: cubes, context: 0.2, target: 9}"
    words = [f"objective.name={objective}", f"objective.context_scale={scale}", f"objective.masks=[{masks}]"]
    cfg = load(TrainConfig, [], [*WORDS, *words])
    extents = [cfg.model.image_size, [8, 16, 32]]
    x, valid_B3 = torch.randn(2, 1, *cfg.model.image_size), torch.tensor(extents)
    lists = packed_lists(draw_lists(cfg, valid_B3, ["a", "b"]))
    assert all(places.context_packing and places.joint_packing for places in lists[1])
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        build(cfg)(cross_resolution.of_context(x, valid_B3, cfg), x, *lists).loss.backward()
    readings = sequence_lengths.exact_readings(cfg, 64, {64: 1, 32: 1})
    assert counter.get_total_flops() == pytest.approx(2 * flops.flops_of(cfg, readings).total, rel=1e-12)


@pytest.mark.parametrize(
    ("attention", "box"), [("joint", (4, 4, 4)), ("divided", (4, 4, 4)), ("divided", (4, 3, 2))]
)
@pytest.mark.parametrize("count", [4, 8, 20])
def test_the_formula_of_the_encoder_counts_what_torch_counts(
    attention: str, box: tuple[int, int, int], count: int
) -> None:
    """Divided: of 4 tokens both are masked, of 20 both are gathered in the smaller box."""
    cfg = load(TrainConfig, [], [*WORDS, f"model.attention={attention}"])
    d, h, w = box
    keep_BK = torch.arange(64).reshape(4, 4, 4)[:d, :h, :w].reshape(1, -1)[:, :count]
    x = torch.randn(1, 1, *(n * p for n, p in zip(box, cfg.model.patch, strict=True)))
    encoder = build(cfg).encoder
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        encoder(x, keep_BK)
    assert counter.get_total_flops() == flops.encoder_flops(cfg.model, count, box)


def test_padding_by_hand() -> None:
    """ViT-B at the seed preset: the target encoder over all 9,216 tokens, of which 2,736 or 2,432 are valid.
    K and T are 35 % and 53 % of these, and the lists of all are those of the larger ones.
    """
    cfg = load(TrainConfig, ["pretrain_vjepa_single_domain"], ["objective.name=vjepa2"])

    def layer(n: int, f: int) -> float:
        return n * f**2 * (8 + 4 * 4) + 4 * n**2 * f

    def target(n: int) -> float:
        return 12 * layer(n, 768) + 2 * n * 1024 * 768

    def trained(K: int, T: int) -> tuple[float, float]:
        encoder = 3 * 12 * layer(K, 768) + 2 * 2 * K * 1024 * 768
        return encoder, 3 * (12 * layer(K + T, 384) + 2 * K * 768 * 384 + 2 * T * 384 * 768)

    larger, smaller = trained(958, 1450), trained(851, 1289)
    assert flops.step_flops(cfg, 9216, 2736) == pytest.approx((target(9216), *larger))
    whole = target(9216) + sum(larger)
    useful = 0.75 * (target(2736) + sum(larger)) + 0.25 * (target(2432) + sum(smaller))
    by_hand = 1 - useful / whole
    assert 0.6 < by_hand < 0.8
    assert flops.padding_share(cfg, 9216, {2736: 3, 2432: 1}) == pytest.approx(by_hand)
    assert flops.padding_share(cfg, 2736, {2736: 5}) == 0
    assert flops.padding_share(cfg, 2432, {2736: 5}) == pytest.approx(
        0
    )  # what is left out of a volume is no padding


def test_padding_of_divided_attention_by_hand() -> None:
    """Two scans of a Triton and one of a flatter box, in boxes and lists of 16 x 9 x 19 tokens."""
    cfg = load(TrainConfig, [], ["model.attention=divided", COUNTS])
    grids = {(16, 9, 19): 2.0, (16, 6, 19): 1.0}
    shape = BatchShape((64, 144, 304), 2736, 1824, 2736)

    def layer(n: int, f: int, pairs: int) -> float:
        return n * f**2 * (16 + 4 * 4) + 4 * pairs * f

    def cost(n: int, plane: int) -> float:
        pairs = 16 * plane**2 + plane * 16**2
        context, joint = (min(16 * plane**2, N**2) + plane * 16**2 for N in (960, 2410))
        target = 12 * layer(n, 768, pairs) + 2 * n * 1024 * 768
        encoder = 3 * 12 * layer(960, 768, context) + 2 * 2 * 960 * 1024 * 768
        predictor = 3 * (12 * layer(2410, 384, joint) + 2 * 2410 * 768 * 384)
        return target + encoder + predictor

    assert flops.step_flops(cfg, 2736, 2736, (16, 9, 19)).total == pytest.approx(cost(2736, 171))
    by_hand = 1 - (2 * cost(2736, 171) + cost(1824, 114)) / 3 / cost(2736, 171)
    assert 0 < by_hand < 0.15
    assert flops.divided_padding_share(cfg, shape, grids) == pytest.approx(by_hand)
    assert flops.divided_padding_share(cfg, shape, {(16, 9, 19): 1.0}) == 0


def test_volumes_count_as_often_as_they_are_seen(tmp_path: Path) -> None:
    """Two devices of 2 x 3 x 2 and 2 x 2 x 2 valid tokens: by number of volumes, and in equal shares."""
    folders = [
        write_dataset(tmp_path / name, {"train": count}, shape, device=name)
        for name, count, shape in (("wide", 6, (4, 24, 16)), ("flat", 2, (4, 16, 16)))
    ]
    more = ["data.lanes=1", "objective.masks=[{kind: cubes, cube: [1,1,1], context: 4, target: 4}]"]
    for balance, share in (("none", 0.75), ("device", 0.5)):
        cfg = config_for(",".join(folders), tmp_path / "run", *more, f"data.balance={balance}")
        counted = flops.valid_counts(load_index(cfg, "train", 1), cfg)
        assert counted == pytest.approx({12: share, 8: 1 - share})


def test_no_padding_is_never_said_as_less_than_none() -> None:
    """Shares whose sum is not exactly 1."""
    cfg = load(TrainConfig, ["pretrain_vjepa_single_domain"], [COUNTS])
    for weights in ([1 / 3] * 3, [0.1] * 10, [1 / 7] * 7, [0.7, 0.1, 0.1, 0.1]):
        valid = {2736 + i: weight for i, weight in enumerate(weights)}
        share = flops.padding_share(cfg, 2736, valid)
        assert f"{share:.1%}" == "0.0%"
        assert share >= 0


@pytest.mark.parametrize(
    ("count", "text"), [(2.94e8, "0.294 GFLOP"), (9.99e11, "999 GFLOP"), (5.93e12, "5.93 TFLOP")]
)
def test_numbers_have_a_unit_that_fits(count: float, text: str) -> None:
    assert flops.text(count) == text
