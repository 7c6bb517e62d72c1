"""The table and the JSON say the same."""

import json

from octshard import __version__
from octshard.doctor.checks import Check
from octshard.doctor.report import Report

REPORT = Report(
    {
        "versions": [Check("numpy", "pass", "2.0"), Check("gcsfs", "pass", "not installed", "pip install x")],
        "a longer title": [
            Check("RLE lossless", "fail", "broken", "mend"),
            Check("disk", "warn", "small", "buy"),
        ],
    }
)
TABLE = """\
versions
  pass  numpy         2.0
  pass  gcsfs         not installed
                      -> pip install x

a longer title
  fail  RLE lossless  broken
                      -> mend
  warn  disk          small
                      -> buy

2 pass, 1 warn, 1 fail: see the lines with an arrow"""


def test_the_table_is_aligned_and_advice_stands_below() -> None:
    assert REPORT.text() == TABLE


def test_an_advice_that_several_lines_share_stands_once_below_them() -> None:
    lost = [Check(name, "fail", "lost", "look") for name in ("a", "b")]
    text = Report({"things": [*lost, Check("c", "pass", "there"), lost[0]]}).text()
    assert text.splitlines()[1:7] == [
        "  fail  a  lost",
        "  fail  b  lost",
        "           -> look",
        "  pass  c  there",
        "  fail  a  lost",
        "           -> look",
    ]


def test_json_has_every_check() -> None:
    whole = json.loads(REPORT.json())
    assert whole["octshard"] == __version__
    assert whole["status"] == "fail"
    assert whole["counts"] == {"pass": 2, "warn": 1, "fail": 1}
    assert whole["checks"][2] == {
        "group": "a longer title",
        "name": "RLE lossless",
        "status": "fail",
        "found": "broken",
        "advice": "mend",
    }
    assert len(whole["checks"]) == 4


def test_the_worst_status_counts_and_a_warning_is_no_failure() -> None:
    assert REPORT.failed == ["a longer title: RLE lossless"]
    warned = Report({"disk": [Check("disk", "warn", "small", "buy")]})
    assert warned.failed == []
    assert json.loads(warned.json())["status"] == "warn"
    assert json.loads(Report({}).json())["status"] == "pass"
    assert warned.text().endswith("0 pass, 1 warn, 0 fail: this machine is ready")
