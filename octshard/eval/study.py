"""A study: trained encoders and all controls on the labelled scans of some shards.

`open_study` reads and checks everything before anything is encoded; `encode` reads the scans once for all of
it, and goes on where a killed one stopped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from octshard.config.eval import StudyConfig
from octshard.devices.backend import Backend
from octshard.errors import UsageError
from octshard.eval import arms, embed, encoders, extraction, features, setup, token_values
from octshard.eval.arms import Draws, FeatureArm
from octshard.eval.controls import (
    INTENSITY,
    RANDOM,
    THICKNESS,
    intensity,
    provenance,
    slice_encoder,
    thickness,
)
from octshard.eval.controls.provenance import Provenance, Sites
from octshard.eval.controls.slice_encoder import SliceEncoder
from octshard.eval.encoders import Asked, Devices, NamedEncoder
from octshard.eval.feature_table import TOKENS
from octshard.eval.features import FeatureSource
from octshard.eval.probe_result import ScoredCheckpoint
from octshard.eval.scans import Scans, open_scans
from octshard.imaging.tiles import View
from octshard.models.encoder import TrainedEncoder
from octshard.probes import labels
from octshard.probes.labels import LabelledScans
from octshard.probes.targets import Target
from octshard.progress import OnProgress
from octshard.storage import store


class Entry(NamedTuple):
    """A checkpoint that is scored. arm: checkpoints of one name are its seeds; source: as its files are
    called, different for each.
    """

    arm: str
    source: str
    checkpoint: TrainedEncoder


@dataclass(frozen=True, eq=False)
class Study:
    """encoders: the trained ones, then the random ones; sources_of: arm of encoders -> their sources;
    random_of: arm of trained encoders -> that of random ones of its form; scored: by arm, seed by seed.
    """

    cfg: StudyConfig
    encoders: tuple[NamedEncoder, ...]
    sources_of: Mapping[str, tuple[str, ...]]
    random_of: Mapping[str, str]
    scored: Mapping[str, tuple[ScoredCheckpoint, ...]]
    scans: Scans
    labelled: LabelledScans
    sites: Sites
    slices: SliceEncoder | None

    @property
    def view(self) -> View:
        """Of the first encoder; controls without an encoder see the same."""
        return encoders.view_of(self.encoders[0].config, self.cfg.view)


@dataclass(frozen=True, eq=False)
class EncodedArms:
    """arms_of: pooling, or tokens -> every arm, trained ones first; arms without tokens are the same in both.

    notes: what is to be said of the controls; asked, devices: how encoders read.
    """

    arms_of: Mapping[str, tuple[FeatureArm, ...]]
    provenance: Provenance
    notes: tuple[str, ...]
    asked: Asked
    devices: Devices


def open_study(cfg: StudyConfig, target: Target, entries: Sequence[Entry]) -> Study:
    """Everything that can be known before anything is encoded; UsageError for what cannot be."""
    sites = provenance.read_sites(cfg.participants, "" if cfg.site == cfg.label else cfg.site)
    slices = slice_encoder.open_encoder(cfg.encoder, cfg.encoder_weights) if cfg.encoder else None
    scans = open_scans(cfg.shards, entries[0].checkpoint.config, cfg.filter)
    with scans.left_out.named():
        labelled = labels.join(target, scans.rows)
    people = set(labelled.subsets["test"].participants)
    scored: dict[str, tuple[ScoredCheckpoint, ...]] = {}
    sources_of: dict[str, tuple[str, ...]] = {}
    for arm, source, checkpoint in entries:
        each = setup.scored_checkpoint(checkpoint, people, allow_seen_people=cfg.allow_seen_people)
        scored[arm] = (*scored.get(arm, ()), each)
        sources_of[arm] = (*sources_of.get(arm, ()), source)
    setup.check_resamples(cfg, labelled)
    named = [encoders.trained_encoder(source, checkpoint) for _, source, checkpoint in entries]
    embed.check_distinct(named)
    random_of = _random_of(entries)
    for number, arm in enumerate(dict.fromkeys(random_of.values()), 1):
        form = next(entry.checkpoint.config for entry in entries if random_of[entry.arm] == arm)
        made = encoders.random_encoders(form, cfg.seed, cfg.random_draws)
        drawn = [_of_form(each, number) for each in made]
        sources_of[arm] = tuple(each.info.source for each in drawn)
        named += drawn
    embed.check_names(named)
    encoders.check_layers(named, (cfg.layer,), "layer")
    parts = (tuple(named), sources_of, random_of, scored, scans, labelled, sites, slices)
    return Study(cfg, *parts)


def encode(
    study: Study, poolings: Sequence[str], out: str, files: Sequence[str], on_progress: OnProgress
) -> EncodedArms:
    """Every arm in each of these poolings (TOKENS is one), from features stored under `out`, into which
    `files` will be written.
    """
    cfg, scans = study.cfg, study.scans
    if TOKENS in poolings:
        _check_tokens(study)
    asked = Asked(cfg.view, (cfg.layer,), tuple(poolings), cfg.batch)
    devices = Devices(cfg.device)
    made = encoders.sources_of(study.encoders, scans, asked, devices)
    setup.check_out(out, files)
    controls = _controls(study, made.backend)
    sources = [*made.sources, *controls]
    request = scans.request(study.sites.site_of)
    folder = store.join(out, "features", request.digest)
    stream = scans.stream(made.batch_size, made.backend, on_progress)
    extracted = extraction.extract(sources, request, folder, stream).values()
    values = {each.info.source: each.values_NF for each in extracted}
    folders = token_values.folders(sources, request, folder)
    known = provenance.provenance(scans.rows, study.sites.site_of)
    train = study.labelled.subsets["train"].places_N
    arms_of: dict[str, tuple[FeatureArm, ...]] = {}
    for pooling in poolings:
        draws: dict[str, Draws] = {
            arm: token_values.TokenDraws([folders[name] for name in names])
            if pooling == TOKENS
            else tuple(values[name] for name in names)
            for arm, names in study.sources_of.items()
        }
        draws |= {source.name: (values[source.name],) for source in controls}
        arms_of[pooling], notes = arms.with_controls(draws, known, train)
    slice_notes = study.slices.notes(cfg.encoder_every) if study.slices else ()
    notes = (*scans.left_out.notes, *notes, *study.sites.notes, *slice_notes)
    return EncodedArms(arms_of, known, notes, asked, devices)


def _controls(study: Study, backend: Backend) -> list[FeatureSource]:
    """Those without an encoder of ours, which need no tiles."""
    view, rows = study.view, study.scans.rows
    controls = [
        intensity.intensity_source(INTENSITY, view.field),
        thickness.thickness_source(THICKNESS, rows, view.field),
    ]
    if study.slices is not None:
        given = f"{study.encoders[0].config.run.precision} {view.field}"
        every = study.cfg.encoder_every
        controls.append(slice_encoder.slice_source(study.slices, every, backend, given))
    return [features.in_view(source, view) for source in controls]


def _random_of(entries: Sequence[Entry]) -> dict[str, str]:
    """Arm -> that of random encoders of its form: random-init for the first form, for another one with the
    name of the first arm that has it. UsageError for seeds of several forms.
    """
    random_of: dict[str, str] = {}
    forms: dict[str, str] = {}  # digest of a form -> arm of random encoders
    for arm, _, checkpoint in entries:
        digest = encoders.form_of(checkpoint.config)
        random = forms.setdefault(digest, f"{RANDOM} of {arm}" if forms else RANDOM)
        if random_of.setdefault(arm, random) != random:
            raise UsageError(
                f"names: the checkpoints of {arm} are encoders of several forms, want one form, or another "
                "name for each"
            )
    return random_of


def _of_form(encoder: NamedEncoder, number: int) -> NamedEncoder:
    """A random encoder whose source has the number of its form; names of arms may become one in a file."""
    source = encoder.info.source
    return encoder.called(source.replace(RANDOM, f"{RANDOM}-form-{number}") if number > 1 else source)


def _check_tokens(study: Study) -> None:
    """UsageError if the tokens of the largest encoder cannot fit into memory; they are read one by one."""
    shapes, cfg = study.scans.shapes, study.cfg
    most = max(
        token_values.most_tokens(encoders.view_of(each.config, cfg.view), shapes) * each.config.model.width
        for each in study.encoders
    )
    setup.check_tokens(len(shapes), most)
