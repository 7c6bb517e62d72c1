"""What is learned: objectives, their masks and predictors, and the statistics of collapse.

`objective` is the protocol, each method has a file of its own, `build` makes the one of `objective.name`
(CONTRIBUTING.md, "Adding an objective").
"""
