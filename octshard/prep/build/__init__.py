"""The run: which shards there are to make, who makes them, and what is published."""
