"""`octshard eval report`: one page for checkpoints, heads and all controls."""
