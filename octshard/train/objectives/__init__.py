"""What is learned: an objective, its masks and predictors, and the statistics of collapse.

`jepa` holds both objectives, `vjepa2` and `byol`: they share encoder, target encoder and masks, and
`objective.name` picks predictor and loss. A method that predicts something else gets a file of its own here
(CONTRIBUTING.md, "Adding an objective").
"""
