"""Settings of `octshard train`: the encoder and the predictor."""

from dataclasses import dataclass

from octshard.config.fields import field

# Far beyond any use: what is more is a slip of the pen, and would end in memory or time without end.
LONG_AXIS = 100_000  # voxels or tokens
WIDE = 1_000_000  # features
DEEP = 10_000  # blocks

# ViT (Dosovitskiy et al. 2021) base and large; tiny and small of DeiT (Touvron et al. 2021)
PRESETS = {
    "tiny": {"width": 192, "depth": 12, "heads": 3},
    "small": {"width": 384, "depth": 12, "heads": 6},
    "base": {"width": 768, "depth": 12, "heads": 12},
    "large": {"width": 1024, "depth": 24, "heads": 16},
}


@dataclass
class ModelConfig:
    """The 3-D ViT encoder."""

    image_size: list[int] = field(
        [64, 384, 384],
        "volumes are cropped and padded to it, D, H, W",
        unit="voxels",
        length=3,
        least=1,
        limit=LONG_AXIS,
    )
    patch: list[int] = field(
        [4, 16, 16], "one token (tubelet), D, H, W", unit="voxels", length=3, least=1, limit=LONG_AXIS
    )
    width: int = field(768, "features of a token", least=1, limit=WIDE)
    depth: int = field(12, "blocks", least=1, limit=DEEP)
    heads: int = field(12, "attention heads; they divide width", least=1, limit=WIDE)
    mlp_ratio: float = field(4.0, "hidden width of the MLP / width", above=0, limit=100)
    position: str = field("rope", "rope: 3-D rotary; sincos: fixed, added", choices=("rope", "sincos"))
    preset: str | None = field(
        None,
        "width, depth and heads of a ViT: 192/12/3, 384/12/6, 768/12/12, 1024/24/16. What is saved are these "
        "numbers. The predictor is not changed: V-JEPA 2 has the same beside encoders of every size",
        choices=tuple(PRESETS),
    )
    attention: str = field(
        "joint",
        "joint: tokens read all others of their list; divided: those of their plane (the same B-scans), then "
        "those along depth D. In the encoders, and in a predictor that is a transformer",
        choices=("joint", "divided"),
    )
    checkpointing: bool = field(
        False,
        "of a block only what enters it is kept for backward, the rest is computed again: less memory, more "
        "time. In the encoder and in a predictor that is a transformer",
        speed=True,
    )
    drop_path: float = field(
        0.0,
        "stochastic depth: how often a branch of the last block is left out, for a volume in a step; of "
        "block l of L l / L as often. In the encoder that is trained",
        least=0,
        below=1,
    )


@dataclass
class PredictorConfig:
    """The transformer of `vjepa2`, `vjepa2_1` and `mae`; the MLP of `byol` is `width` wide inside."""

    width: int = field(384, "features of a token", least=1, limit=WIDE)
    depth: int = field(12, "blocks", least=1, limit=DEEP)
    heads: int = field(6, "attention heads: head_dim 64 (V-JEPA 2 takes 12 heads of 32)", least=1, limit=WIDE)
