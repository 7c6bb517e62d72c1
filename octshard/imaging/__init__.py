"""Volumes and what is done to their voxels, without I/O."""
