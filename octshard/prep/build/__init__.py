"""The build: which shards are to be made, the engines that make them, and what is published."""
