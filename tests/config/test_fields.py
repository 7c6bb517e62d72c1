"""Every number of every config class has bounds: what no use can want is an error that names its key."""

from collections.abc import Iterator
from typing import Any

import pytest

from octshard.config import fields
from octshard.config.kinds import CLASSES
from octshard.config.load import load
from octshard.errors import UsageError

BELOW_ZERO = {"seed", "run.seed"}  # any whole number is a seed
ABSURD = (".nan", ".inf", "-.inf", "1e30", "-1e30", "100000000000000000000", "-100000000000000000000")


def numbers() -> Iterator[Any]:
    for name, kind in CLASSES.items():
        for setting in fields.settings(kind):
            if "number" in setting.type:
                yield pytest.param(kind, setting, id=f"{name} {setting.key}")


def word(setting: fields.Setting, value: str) -> str:
    value = f"[{', '.join([value] * (setting.rule.length or 1))}]" if "list" in setting.type else value
    group, _, name = setting.key.partition("[i].")
    return f"{group}=[{{{name}: {value}}}]" if name else f"{setting.key}={value}"


@pytest.mark.parametrize(("kind", "setting"), list(numbers()))
def test_a_number_that_is_none_or_absurd_is_refused_by_its_key(kind: type, setting: fields.Setting) -> None:
    negative = () if setting.key in BELOW_ZERO else ("-1",)
    for value in (*ABSURD, *negative):
        with pytest.raises(
            UsageError, match=setting.key.replace("[i]", r"\[0\]").replace(".", r"\.")
        ) as error:
            load(kind, [], [word(setting, value)])
        assert "\n" not in str(error.value)
        assert "want" in str(error.value)


@pytest.mark.parametrize(("kind", "setting"), list(numbers()))
def test_the_edges_that_bounds_name_are_allowed(kind: type, setting: fields.Setting) -> None:
    """A second reading of the bounds: `at least` and `at most` mean the value itself too."""
    rule = setting.rule
    for edge in (rule.least, rule.most):
        if abs(edge) != float("inf"):
            value = str(edge) if "whole" not in setting.type else str(int(edge))
            load(kind, [], [word(setting, value)])
