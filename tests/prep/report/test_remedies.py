"""What refusals and flags ask for: every one of ours is placed, one that is not ours explains nothing."""

import dataclasses

from octshard.dataset.tables import SampleRow
from octshard.prep.refusals import FLAG_MEANS, REASONS
from octshard.prep.report import remedies
from octshard.prep.report.remedies import DAMAGED, HARMLESS, KINDS, LIBRARY, NO_STACK, UNEXPLAINED

ROW = SampleRow("k", "p", "d", "", "", "often", "", "L", "train", "s")


def test_every_reason_has_its_kind_and_only_these_explain_nothing() -> None:
    kinds = {kind: {reason for reason in REASONS if remedies.kind_of(reason) == kind} for kind in KINDS}
    assert kinds[UNEXPLAINED] == {
        "unreadable", "decoder_crash", "decoder_timeout", "unsupported_syntax", "frame_order", "too_large",
        "parts_differ",
    }  # fmt: skip
    assert {reason for reason in REASONS if reason.startswith("geometry_")} < kinds[NO_STACK]
    assert "truncated" in kinds[DAMAGED]
    assert kinds[LIBRARY] == {"missing_library"}
    assert remedies.kind_of("of tomorrow") == UNEXPLAINED


def test_harmless_flags_are_flags_and_any_other_asks_for_a_look() -> None:
    assert set(FLAG_MEANS) > HARMLESS
    row = dataclasses.replace(ROW, flags=("slow_axis_flipped", "saturated", "of tomorrow"))
    assert remedies.to_look_at(row) == ("saturated", "of tomorrow")
