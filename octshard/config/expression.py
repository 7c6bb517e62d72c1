"""The text of an expression over columns in one spelling, so that blanks and quotes are no other setting.

What it means is read by `dataset.row_filter`; here it is only compared.
"""

import ast
import warnings
from functools import lru_cache

KEYS = ("where", "filter")  # the last words of settings that are expressions
LONGEST = 1000  # characters that are read


@lru_cache
def canonical(text: str) -> str:
    """As Python writes it; text that is no expression stays what it is."""
    text = text.strip()
    if len(text) > LONGEST:
        return text
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.unparse(_Plain().visit(ast.parse(text, mode="eval"))) if text else text
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return text


class _Plain(ast.NodeTransformer):
    """Lists of constants as tuples: both say one of several."""

    def visit_List(self, node: ast.List) -> ast.Tuple:
        return ast.Tuple(node.elts, node.ctx)
