"""Weights -> numbers. Never imports prep or train.

`linear_probe` is the command: labels, features, probe, scores, page. `probes` holds the heads alone
(CONTRIBUTING.md, "Adding a probe").
"""
