"""A study with every head fitted and scored: what figures and pictures are drawn from."""

from dataclasses import dataclass

from octshard.eval.arms import FeatureArm
from octshard.eval.pictures.request import PictureRequest
from octshard.eval.report.heads import FittedHeads
from octshard.eval.report.result import ReportResult
from octshard.eval.study import EncodedArms, Study
from octshard.probes import build
from octshard.probes.head import FittedHead
from octshard.probes.scores import Resamples


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
            predictions={arm.name: self.fitted[0].probed[arm.name].predictions for arm in trained},
            values={arm.name: arm.draws[0] for arm in trained},
            encoders=tuple(each for each in study.encoders if each.info.source in sources),
            asked=self.encoded.asked,
            devices=self.encoded.devices,
            seed=study.cfg.seed,
            attentive=self._attentive(trained),
        )

    def _attentive(self, trained: list[FeatureArm]) -> dict[str, FittedHead]:
        """Source of an encoder -> the head on its tokens, where there is one."""
        heads: dict[str, FittedHead] = {}
        for fitted in self.fitted:
            for arm in trained if fitted.head in build.TOKENS else ():
                sources = self.study.sources_of[arm.name]
                heads |= zip(sources, fitted.probed[arm.name].heads, strict=True)
        return heads
