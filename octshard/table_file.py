"""A table of any kind: TSV, CSV or a workbook of Excel -> cells, as `octshard.tsv` has them."""

from octshard import delimited, tsv, workbook


def parse(data: bytes, source: str) -> tsv.Table:
    """By content: a workbook is a ZIP, all else is text. UsageError as those that read them."""
    if data.startswith(tsv.ZIP):
        return workbook.parse(data, source)
    return delimited.parse(tsv.decode(data, source), source)
