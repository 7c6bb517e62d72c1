"""A fine-tuning on torch_xla's CPU device: that of the CPU, few compiled graphs, 1 device = 4 devices."""

import dataclasses
import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from octshard.config.eval import ProbeConfig
from octshard.config.finetune import FinetuneConfig
from octshard.eval.finetune import run
from tests.eval.test_linear_probe import eyes  # noqa: F401 (a fixture)
from tests.support import xla_runs
from tests.support.processes import ROOT

pytestmark = [
    pytest.mark.xla,
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("torch_xla") is None, reason="torch_xla is not installed"),
]
SCRIPT = """
import json, sys
sys.path.insert(0, {root!r})
from octshard.config.finetune import FinetuneConfig
from octshard.eval.finetune import fit, run

counters, score_on_val = [], fit._score_on_val
def counted(job):
    score = score_on_val(job)
    counters.append(job.reader.backend.counters())
    return score
fit._score_on_val = counted
result = run.finetune(FinetuneConfig(**{values!r}, device="xla", out={out!r}))
score = result.arms[0].score.metrics["macro_auroc"].value
print(json.dumps([result.losses["pretrained"], score, counters]))
"""


def test_it_is_that_of_the_cpu_and_compiles_nothing_once_all_is_trained(
    eyes: ProbeConfig,  # noqa: F811
    tmp_path: Path,
) -> None:
    same = ("checkpoint", "shards", "participants", "label")
    cfg = FinetuneConfig(
        **{key: getattr(eyes, key) for key in same},
        device="cpu", out=str(tmp_path / "cpu"), epochs=4, warmup_epochs=1, unfreeze_epoch=1, lr=1e-2,
        batch=8, bootstrap=9, random_draws=0, patience=9,
    )  # fmt: skip
    on_cpu = run.finetune(cfg)
    values = {key: value for key, value in dataclasses.asdict(cfg).items() if key not in ("device", "out")}
    results = xla_runs.results_of(
        lambda devices: SCRIPT.format(root=str(ROOT), values=values, out=str(tmp_path / f"xla{devices}"))
    )
    for losses, score, counters in results.values():
        assert losses == pytest.approx(on_cpu.losses["pretrained"], rel=1e-3)
        assert score == pytest.approx(on_cpu.arms[0].score.metrics["macro_auroc"].value, abs=0.02)
        assert counters[-1]["compiles"] == counters[-2]["compiles"] <= 8  # of both stages, and of val
        assert [name for name in counters[-1] if name.startswith("aten::")] == []
    assert json.loads((tmp_path / "xla4" / "finetune.json").read_text())["losses"]["pretrained"]
