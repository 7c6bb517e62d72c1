"""Weights -> numbers: frozen features, probes, scores by participant. Never imports prep or train."""
