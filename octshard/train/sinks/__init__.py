"""Where the log of a run goes: a file of lines, a folder of pictures, W&B, TensorBoard."""
