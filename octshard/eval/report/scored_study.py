"""A study with every head fitted and scored: what figures and pictures are drawn from."""

from collections.abc import Callable, Sequence
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
        """What pictures are drawn from: the trained arms alone."""
        study, trained = self.study, self.trained()
        sources = {source for arm in trained for source in study.sources_of[arm.name]}
        return PictureRequest(
            scans=study.scans,
            labelled=study.labelled,
            predictions={
                arm.name: tuple(run for each in self.fitted for run in each.probed[arm.name].predictions)
                for arm in trained
            },
            values={arm.name: arm.draws[0] for arm in trained},
            encoders=tuple(each for each in study.encoders if each.info.source in sources),
            asked=self.encoded.asked,
            devices=self.encoded.devices,
            seed=study.cfg.seed,
            attentive=self._of_sources(trained, lambda probed: probed.heads),
            attended=self._of_sources(trained, lambda probed: probed.predictions),
        )

    def _of_sources(
        self, trained: list[FeatureArm], of_arm: Callable[[ProbedArm], Sequence[T]]
    ) -> dict[str, T]:
        """Source of an encoder -> what `of_arm` has of it from the head on its tokens, where there is one."""
        by_source: dict[str, T] = {}
        for fitted in self.fitted:
            for arm in trained if fitted.head in build.TOKENS else ():
                sources = self.study.sources_of[arm.name]
                by_source |= zip(sources, of_arm(fitted.probed[arm.name]), strict=True)
        return by_source
