"""The writer of .e2e files that practice folders are made with, under the name of the format."""

from octshard.phantom.e2e_file import NOBODY, Series, to_float16u, write

__all__ = ["NOBODY", "Series", "to_float16u", "write"]
