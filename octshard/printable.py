"""Foreign names on a terminal, in a log, on a page: what would steer it is shown escaped."""

import unicodedata

STEERING = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control and format characters, surrogates, ends of lines


def printable(text: str, keep: str = "") -> str:
    """`text` on one line, with escapes (\\x1b) for characters that have no form of their own but `keep`."""
    if text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode()
        if unicodedata.category(char) in STEERING and char not in keep
        else char
        for char in text
    )
