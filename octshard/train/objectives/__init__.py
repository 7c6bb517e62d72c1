"""What is learned: one file an objective, and what it needs: masks, predictor, statistics of collapse."""
