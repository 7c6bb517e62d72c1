"""Heads on frozen features, one file each: fit on train, choose on val, predict. They never see test.

What reads shards, asks for features and scores stands above, as `octshard.eval.linear_probe` does.
"""
