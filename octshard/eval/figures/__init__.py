"""Figures of an evaluation: scores and features in, charts out."""
