"""octshard: OCT volumes -> shards once -> V-JEPA 2 pretraining -> linear probes.

The names below are what programs need. Each imports what it needs when it is first used, so that
`import octshard` and `octshard --help` are quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from octshard import webdataset
    from octshard.dataset.torch_dataset import ShardDataset
    from octshard.errors import OctshardError
    from octshard.frozen_encoder import FrozenEncoder, load_encoder
    from octshard.imaging.volume import Volume
    from octshard.prep.convert.scan_file import open_volume

__version__ = "0.1.0"
__all__ = [
    "FrozenEncoder",
    "OctshardError",
    "ShardDataset",
    "Volume",
    "load_encoder",
    "open_volume",
    "webdataset",
]

_HOMES = {  # name -> the module that holds it
    "FrozenEncoder": "octshard.frozen_encoder",
    "OctshardError": "octshard.errors",
    "ShardDataset": "octshard.dataset.torch_dataset",
    "Volume": "octshard.imaging.volume",
    "load_encoder": "octshard.frozen_encoder",
    "open_volume": "octshard.prep.convert.scan_file",
}


def __getattr__(name: str) -> Any:
    if name == "webdataset":
        return import_module("octshard.webdataset")
    if name not in _HOMES:
        raise AttributeError(f"module 'octshard' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value  # found without this function from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
