"""The dataset folder: tar shards and Parquet tables, both directions."""
