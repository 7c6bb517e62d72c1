"""octshard: OCT volumes -> shards once -> V-JEPA 2 pretraining -> linear probes."""

__version__ = "0.1.0"
