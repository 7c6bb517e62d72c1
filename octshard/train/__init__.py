"""Shards -> weights. Never imports prep or eval.

`setup` makes what a run needs, `loop` runs it; `objectives` says what is learned, `augment` what is done to a
volume before.
"""
