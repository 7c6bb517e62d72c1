"""Weights -> numbers. Never imports prep or train.

`linear_probe` is the command: labels, features, probe, scores, page. The heads are those of `octshard.probes`
(CONTRIBUTING.md, "Adding a probe").
"""
