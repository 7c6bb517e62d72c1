"""Formats of scan files: bytes -> facts and frames, a file for each format behind one protocol."""
