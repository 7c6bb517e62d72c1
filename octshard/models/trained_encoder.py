"""A trained encoder, and what is known of its training: out of a checkpoint, or of an export."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from octshard.config.train import TrainConfig
from octshard.dataset.participant_digests import ParticipantDigests
from octshard.models.vit import Encoder


@dataclass(frozen=True)
class Origin:
    """Where weights come from. checkpoint: sha256 of its file; people: how many were trained on, None where
    the checkpoint does not say; devices: name -> {volumes, people} trained on, empty where it does not say;
    data: the fingerprint of the data.
    """

    checkpoint: str
    people: int | None
    devices: dict
    data: dict


class TrainedEncoder(NamedTuple):
    """What a checkpoint says of its encoder. digest: sha256 of the file; preparations: the distinct settings
    of prep (`dataset.preparation`) behind the shards of the run, empty where the checkpoint is older;
    participants: who was trained on, None where the file does not say.
    """

    encoder: Encoder
    config: TrainConfig
    digest: str
    preparations: tuple[Mapping[str, Any], ...]
    path: str
    step: int
    samples_seen: int
    participants: ParticipantDigests | None
    origin: Origin
