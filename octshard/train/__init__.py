"""Shards -> weights. Never imports prep or eval."""
