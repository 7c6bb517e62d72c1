"""Weights -> numbers. Imports of train only what DESIGN §2 lists."""
