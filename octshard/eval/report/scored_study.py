"""A study with every head fitted and scored: what figures and pictures are drawn from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from octshard.eval.arms import FeatureArm
from octshard.eval.head_probe import ProbedArm
from octshard.eval.pictures.request import PictureRequest
from octshard.eval.report.heads import FittedHeads
from octshard.eval.report.result import ReportResult
from octshard.eval.study import EncodedArms, Study
from octshard.probes import build
from octshard.probes.scores import Resamples

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class ScoredStudy:
    """fitted: head by head, the first one decides."""

    result: ReportResult
    study: Study
    encoded: EncodedArms
    fitted: tuple[FittedHeads, ...]

    @property
    def resamples(self) -> Resamples:
        """Of the people of test, the same for everything."""
        return self.fitted[0].asked.resamples

    def trained(self) -> list[FeatureArm]:
        """The arms of checkpoints, pooled."""
        study = self.study
        return [arm for arm in self.encoded.arms_of[study.cfg.pooling] if arm.name in study.scored]

    def pictured(self) -> PictureRequest:
        """What pictures are drawn from: the trained arms alone, the first seed of each before others."""
        study, trained, shown = self.study, self.trained(), self._shown()
        encoder_of = {each.info.source: each for each in study.encoders}
        return PictureRequest(
            scans=study.scans,
            labelled=study.labelled,
            predictions={
                arm.name: tuple(run for each in self.fitted for run in each.probed[arm.name].predictions)
                for arm in trained
            },
            values={arm.name: arm.draws[0] for arm in trained},
            encoders=tuple(encoder_of[source].called(name) for source, name in shown.items()),
            asked=self.encoded.asked,
            devices=self.encoded.devices,
            seed=study.cfg.seed,
            attentive=self._of_encoders(shown, lambda probed: probed.heads),
            attended=self._of_encoders(shown, lambda probed: probed.predictions),
        )

    def _shown(self) -> dict[str, str]:
        """Source of a trained encoder -> its arm, and which of its seeds it is."""
        arms = [(arm.name, self.study.sources_of[arm.name]) for arm in self.trained()]
        return {
            sources[seed]: name if len(sources) == 1 else f"{name}, seed {seed + 1} of {len(sources)}"
            for seed in range(max(len(sources) for _, sources in arms))
            for name, sources in arms
            if seed < len(sources)
        }

    def _of_encoders(
        self, shown: Mapping[str, str], of_arm: Callable[[ProbedArm], Sequence[T]]
    ) -> dict[str, T]:
        """Name of an encoder -> what `of_arm` has of it from the head on its tokens, where there is one."""
        by_name: dict[str, T] = {}
        for fitted in self.fitted:
            for arm in self.trained() if fitted.head in build.TOKENS else ():
                names = [shown[source] for source in self.study.sources_of[arm.name]]
                by_name |= zip(names, of_arm(fitted.probed[arm.name]), strict=True)
        return by_name
