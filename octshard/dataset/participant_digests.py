"""Who was trained on: salted digests of participant ids, kept in checkpoints so that eval can tell leakage.

A checkpoint holds 8 bytes a person and no id. The salt is the digest of the run's sample table, so the same
person has other digests in runs over other samples. Ids are short: whoever holds a checkpoint and a list of
possible ids can still try them all. A number that is written in two ways is one id (`participants`).
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from octshard.dataset.participants import canonical

VERSION = 1  # of the digests: a change of their meaning makes the recorded ones unknown


@dataclass(frozen=True, eq=False)
class ParticipantDigests:
    """values_P: sorted int64 digests under `salt` (at most 16 bytes)."""

    salt: str
    values_P: np.ndarray

    def members(self, participants: Iterable[str]) -> frozenset[str]:
        """Those of `participants` that are in the set."""
        names = sorted(set(participants))
        is_member_P = np.isin(_digests(names, self.salt), self.values_P)
        return frozenset(name for name, member in zip(names, is_member_P.tolist(), strict=True) if member)

    def including(self, participants: Iterable[str]) -> "ParticipantDigests":
        """The set with `participants` in it too, under its own salt."""
        more_P = _digests(set(filter(canonical, participants)), self.salt)
        return ParticipantDigests(self.salt, np.union1d(self.values_P, more_P))

    def payload(self) -> dict[str, Any]:
        """As a checkpoint keeps it: a tensor and plain values."""
        return {"version": VERSION, "salt": self.salt, "digests": torch.from_numpy(self.values_P)}


def digest_participants(participants: Iterable[str], salt: str) -> ParticipantDigests:
    """The set of `participants`; rows without a participant are nobody."""
    return ParticipantDigests(salt, np.sort(_digests(set(filter(canonical, participants)), salt)))


def from_payload(payload: Any) -> ParticipantDigests | None:
    """What `payload` of a checkpoint says; None where it says nothing, or in a way of another version."""
    if not isinstance(payload, Mapping) or payload.get("version") != VERSION:
        return None
    return ParticipantDigests(payload["salt"], payload["digests"].numpy())


def _digests(participants: Iterable[str], salt: str) -> np.ndarray:
    ids = (canonical(name).encode("utf-8", "surrogatepass") for name in participants)
    values = [hashlib.blake2b(person, digest_size=8, salt=salt.encode()).digest() for person in ids]
    return np.frombuffer(b"".join(values), "<i8").astype(np.int64)
