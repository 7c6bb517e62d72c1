"""The model card of an export: README.md, as people and the Hugging Face Hub read it.

What is not known is said to be unknown. Text from elsewhere is escaped; no place and no person is named.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from string import Template
from typing import Any

from octshard import __version__
from octshard.errors import UsageError
from octshard.eval.probe_result import TITLES
from octshard.models.exported_encoder import preprocessing, recipe_of
from octshard.models.trained_encoder import Origin, TrainedEncoder
from octshard.printable import printable

LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]{0,39}")
UNKNOWN_LICENCE = "unknown"
UNKNOWN = "not recorded"
STEERING = re.compile(r"([\\`*_{}\[\]<>|#])")
TEMPLATE = Template("""\
---
library_name: octshard
license: $licence
pipeline_tag: feature-extraction
tags:
- oct
- ophthalmology
- self-supervised
- 3d
---

# OCT encoder: $objective, step $step

A 3-D vision transformer that turns an OCT volume into features. It was trained without labels, by octshard's
objective `$objective`. Licence of the weights: $licence_text.

```python
import octshard

encoder = octshard.load_encoder("FOLDER")  # this folder
features = encoder.embed("scan.dcm")  # ($width,)
```

$model

## Input

`encoder.preprocess` does all of this for a DICOM file, or for an array and its spacing.

$input

Images of another size can be read: `load_encoder("FOLDER", image_size=(D, H, W))`. Positions are computed
from where a token lies, so they are exact at every size; but only the size above was trained on.

## Training data

$data

$devices

## Training recipe

$recipe

## Scores

$scores

## Intended use

Research: features of OCT volumes for classification, regression, retrieval and the like, judged on people
who were not trained on.

## Limits

* It is no medical device, and nothing it gives is a diagnosis.
* Scans of other devices, protocols or spacings than those above were not trained on; measure before use.
* $people
* Features may hold what a scan tells of age, sex, device or site; a model on top of them may read that in
  place of disease.

Written by octshard $version.
""")
NO_PEOPLE = """\
Who was trained on is not in this folder. Whether a test set holds such people can be told only from the
  checkpoint that it was exported from (`octshard eval`)."""
PEOPLE = """\
`participants.json` holds salted digests of those who were trained on, so that `octshard eval` can tell
  whether a test set holds them. Ids are short: whoever has a list of possible ones can try them all."""


@dataclass(frozen=True)
class ModelCard:
    """What the card says that the weights do not. licence: its id on the Hub, such as `cc-by-nc-4.0`; probes:
    the content of probe.json files, by path; people: who was trained on is in the folder.
    """

    licence: str = ""
    probes: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    people: bool = False

    def check(self, trained: TrainedEncoder) -> None:
        """UsageError for a licence that is no id, or for a probe of another model."""
        if self.licence and not LICENCE.fullmatch(self.licence):
            raise UsageError(f"--licence={self.licence!r:.80}: want an id such as apache-2.0 or cc-by-nc-4.0")
        digests = {trained.digest, trained.origin.checkpoint}
        for path, probe in self.probes:
            digest = probe.get("checkpoint_digest")
            if digest not in digests:
                raise UsageError(
                    f"{path}: of checkpoint {digest!s:.12}, want one of the exported {trained.digest:.12}"
                )
            try:
                _probe(probe)
            except (LookupError, TypeError, AttributeError) as error:
                problem = f"no probe.json of octshard eval ({type(error).__name__}: {error})"
                raise UsageError(f"{path}: {problem}; want its label, arms and verdicts") from error


def render(card: ModelCard, trained: TrainedEncoder) -> str:
    """README.md."""
    cfg = trained.config
    return TEMPLATE.substitute(
        licence=card.licence or UNKNOWN_LICENCE,
        licence_text=card.licence or "not stated; ask those who exported it",
        objective=cfg.objective.name,
        step=f"{trained.step:,}",
        width=cfg.model.width,
        model=_table(("", ""), _model_rows(trained)),
        input=_table(("", ""), _input_rows(trained)),
        data=_table(("", ""), _data_rows(trained)),
        devices=_devices(trained.origin),
        recipe=_table(("setting", "value"), _recipe_rows(trained)),
        scores=_scores(card.probes),
        people=PEOPLE if card.people else NO_PEOPLE,
        version=__version__,
    )


def _model_rows(trained: TrainedEncoder) -> Iterable[Sequence[Any]]:
    model = trained.config.model
    yield "parameters", f"{sum(weight.numel() for weight in trained.encoder.parameters()):,}"
    yield "width, depth, heads", f"{model.width}, {model.depth}, {model.heads}"
    yield "positions, attention", f"{model.position}, {model.attention}"
    yield "image size, patch (D, H, W)", f"{list(model.image_size)}, {list(model.patch)} voxels"
    yield "precision of the run", trained.config.run.precision
    yield "checkpoint", f"sha256 {trained.origin.checkpoint}"


def _input_rows(trained: TrainedEncoder) -> Iterable[Sequence[Any]]:
    for settings in trained.preparations:
        yield "spacing of voxels (D, H, W)", f"{settings.get('target_spacing', UNKNOWN)} mm"
        yield "fit to it", settings.get("fit", UNKNOWN)
    if not trained.preparations:
        yield "spacing of voxels (D, H, W)", f"{UNKNOWN}: give `load_encoder` a `target_spacing`"
    for key in ("axes", "grey_levels", "crop", "normalisation"):
        yield key.replace("_", " "), preprocessing(trained)[key]


def _data_rows(trained: TrainedEncoder) -> Iterable[Sequence[Any]]:
    origin = trained.origin
    yield "people", UNKNOWN if origin.people is None else f"{origin.people:,}"
    yield "volumes", _number(origin.data.get("data.samples"))
    yield "digest", origin.data.get("data.digest", UNKNOWN)
    yield "samples seen, repeats included", f"{trained.samples_seen:,}"


def _devices(origin: Origin) -> str:
    if not origin.devices:
        return f"Devices: {UNKNOWN}."
    rows = [
        (name, _number(counts.get("volumes")), _number(counts.get("people")))
        for name, counts in sorted(origin.devices.items())
    ]
    return _table(("device", "volumes", "people"), rows)


def _recipe_rows(trained: TrainedEncoder) -> Iterable[Sequence[Any]]:
    for key, value in recipe_of(trained.config).items():
        yield f"`{key}`", value


def _scores(probes: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    if not probes:
        return "None were given."
    return "\n\n".join(_probe(probe) for _, probe in probes)


def _probe(probe: Mapping[str, Any]) -> str:
    metrics_of = [(arm["name"], arm["score"]["metrics"]) for arm in probe["arms"]]
    shown = dict.fromkeys(name for _, metrics in metrics_of for name in metrics)
    rows = [(arm, *(_interval(metrics.get(name)) for name in shown)) for arm, metrics in metrics_of]
    table = _table(("features", *(TITLES.get(name, name) for name in shown)), rows)
    sentences = [*probe["verdicts"], *probe.get("provenance", [])]
    lines = [f"* {_text(sentence)}" for sentence in sentences]
    return "\n".join([f"Label: {_text(probe['label'])}.", "", table, "", *lines]).rstrip()


def _interval(estimate: Any) -> str:
    if not isinstance(estimate, Mapping) or not isinstance(estimate.get("value"), float):
        return "none"
    ends = [estimate.get("low"), estimate.get("high")]
    interval = f" [{ends[0]:.3f}, {ends[1]:.3f}]" if all(isinstance(end, float) for end in ends) else ""
    return f"{estimate['value']:.3f}{interval}"


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else UNKNOWN


def _table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(_cell(value) for value in line)} |" for line in lines)


def _cell(value: Any) -> str:
    text = str(value)
    return text if re.fullmatch(r"`[\w.]+`", text) else _text(text)


def _text(value: Any) -> str:
    """On one line, and nothing in it is markup."""
    return STEERING.sub(r"\\\1", printable(" ".join(str(value).split())))
