"""Shards to batches: in order, ahead of their use, verified, resumable."""
