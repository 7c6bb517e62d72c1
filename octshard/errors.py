"""The two ways in which a command stops: the work failed (exit 1), or the command was wrong (exit 2).

Bad input is neither: it is `octshard.prep.refusals.Refused` and becomes a row.
"""


class OctshardError(Exception):
    """The work cannot go on. The message is one line: object, found, wanted, next step. Exit code 1."""


class UsageError(OctshardError):
    """The command or its config is wrong: unknown key, changed plan, missing argument. Exit code 2."""
