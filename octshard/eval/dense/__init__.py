"""Frozen tokens -> maps: a class for every voxel (`segment`), or vessels seen from above (`translate`).

The encoder is not trained; small heads on its tokens are, beside the same heads on random tokens and on the
voxels themselves.
"""
