"""Volumes and operations on their voxels, without I/O."""
