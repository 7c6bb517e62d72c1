"""The encoder, its positions, and its checkpoints, without the trainer."""
