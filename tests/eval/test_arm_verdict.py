"""The sentence on a checkpoint: what beats what, and why nothing can be told where nothing can."""

from octshard.eval.arm_verdict import ArmVerdict
from octshard.eval.controls.shuffled import Control
from octshard.eval.verdict import Verdict

BETTER = Verdict("better", {}, 0.001)
WORSE = Verdict("worse", {}, 0.001)
FEW = {"few_participants": "fewer than 10 test participants in ill (3)"}
ZERO = {"holds_zero": "the interval of the difference holds 0"}


def sentence(**comparisons: Verdict) -> str:
    return ArmVerdict("ours", Control(19, {}, 0, 0.05), {}, comparisons, ()).sentence


def untold(**reasons: str) -> Verdict:
    return Verdict("cannot tell", reasons, 0.5)


def test_winners_are_named_without_reasons() -> None:
    assert sentence(a=BETTER, b=BETTER) == "ours is better than every control: a and b."
    assert sentence(a=BETTER, b=WORSE) == "ours is better than a; worse than b."


def test_where_the_data_carry_nothing_the_shared_reason_is_the_sentence() -> None:
    text = sentence(a=untold(**FEW, **ZERO), b=untold(**FEW, swap_p="p = 0.3"))
    assert text == "Cannot tell ours from any control: fewer than 10 test participants in ill (3)."


def test_some_are_told_and_the_reasons_are_of_the_others() -> None:
    assert sentence(a=BETTER, b=untold(**ZERO), c=untold(**ZERO, swap_p="p = 0.3")) == (
        "ours is better than a; not to be told from b and c: the interval of the difference holds 0."
    )


def test_without_a_shared_reason_the_first_of_each_is_said() -> None:
    assert sentence(a=untold(**ZERO), b=untold(swap_p="p = 0.3")) == (
        "ours is not to be told from a and b: the interval of the difference holds 0; p = 0.3."
    )
