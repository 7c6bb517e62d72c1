"""A feature table: a folder of scans.parquet, and one tensor file for each source, layer and pooling.

Row n of every tensor is row n of scans.parquet, which has the columns to join by. What a tensor file says of
itself, and the digest of its scans, stand in its header; a file that is not whole is never used.
"""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from octshard.dataset import tables
from octshard.dataset.tables import SampleRow
from octshard.errors import OctshardError, UsageError
from octshard.eval.token_files import AGAIN, TokenFolder, file_url, folder_url
from octshard.eval.token_files import SUFFIX as TOKEN_SUFFIX
from octshard.imaging.volume import Shape, Spacing
from octshard.storage import json_object, store, tensors

SCANS, NOTES = "scans.parquet", "notes.json"
VALUES = "values_NF"  # the tensor of a file
PRETRAINED = "pretrained"  # the source of a table of one checkpoint, whatever it is called there
LAST = "last"  # layer: what the encoder returns, normed
TOKENS = "tokens"  # as a pooling: none

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scan:
    """One row of scans.parquet: the columns of samples.parquet to join by, and the site of the participant,
    empty where it is not known. shape: voxels stored; spacing: known_spacing; sha256: of the voxels.
    """

    key: str
    participant: str
    eye: str = ""
    device: str = ""
    manufacturer: str = ""
    model: str = ""
    protocol: str = ""
    region: str = ""
    site: str = ""
    split: str = ""
    source: str = ""
    sop_instance_uid: str = ""
    shape: Shape | None = None
    spacing: Spacing | None = None
    sha256: str = ""


@dataclass(frozen=True)
class FeatureInfo:
    """Where features come from. layer: last, or the number of blocks; pooling: mean, mean_std, max or tokens;
    view: the part of a scan that is read; all empty where they mean nothing (raw intensity has no layer).
    checkpoint_digest: sha256 of the file, or of the weights where there is none; step: None there.
    """

    source: str
    layer: str = ""
    pooling: str = ""
    view: str = ""
    precision: str = ""
    checkpoint: str = ""
    checkpoint_digest: str = ""
    step: int | None = None

    @property
    def name(self) -> str:
        """source, layer and pooling, as files are named."""
        return "-".join(part for part in (self.source, self.layer, self.pooling) if part)


@dataclass(frozen=True, eq=False)
class Features:
    """values_NF float32, row n for keys[n]; `digest` names their source and scans."""

    keys: tuple[str, ...]
    values_NF: np.ndarray
    digest: str
    info: FeatureInfo = FeatureInfo("")


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """A folder as `read` has it: the scans, and the digest and origin of each set of features in it."""

    folder: str
    scans: tuple[Scan, ...]
    infos: Mapping[str, FeatureInfo]  # by digest
    notes: tuple[str, ...] = ()  # what is to be said of the choice of scans

    def find(self, source: str, layer: str = LAST, pooling: str = "mean_std") -> Features:
        """The features of that source; layer and pooling count only where it has them.

        source: as it is called in the table, or `pretrained` for the checkpoint in a table of one. UsageError
        if they are not there, or more than once.
        """
        digest, info = self._match(source, layer, pooling)
        features = find_features(self.folder, tuple(scan.key for scan in self.scans), digest)
        if features is None:
            raise OctshardError(f"{store.join(self.folder, file_name(info, digest))}: damaged; {AGAIN}")
        return dataclasses.replace(features, info=info)

    def find_tokens(self, source: str, layer: str = LAST) -> TokenFolder:
        """The tokens of that source and layer; UsageError as for `find`."""
        digest, info = self._match(source, layer, TOKENS)
        return TokenFolder(folder_url(self.folder, info.name, digest), len(self.scans), digest)

    def text(self) -> str:
        """What is there, for people, with the checkpoints: a name is that of the list it was first in."""
        infos = sorted(self.infos.values(), key=lambda info: (info.name, info.checkpoint))
        names = "\n".join(
            f"  {info.name} ({info.checkpoint})" if info.checkpoint else f"  {info.name}" for info in infos
        )
        head = f"{self.folder}: {len(self.scans)} scans, {len(self.infos)} sets of features"
        return "\n".join([head, *self.notes, names])

    def _match(self, source: str, layer: str, pooling: str) -> tuple[str, FeatureInfo]:
        alike = {
            digest: info
            for digest, info in self.infos.items()
            if info.layer in ("", layer) and info.pooling in ("", pooling)
        }
        matches = [(digest, info) for digest, info in alike.items() if info.source == source]
        if not matches and source == PRETRAINED:
            matches = [(digest, info) for digest, info in alike.items() if info.step is not None]
        if len(matches) != 1:
            names = ", ".join(sorted(info.name for info in self.infos.values())) or "nothing"
            raise UsageError(
                f"{self.folder}: {len(matches) or 'no'} features {FeatureInfo(source, layer, pooling).name}, "
                f"want one; there are: {names}"
            )
        return matches[0]


def scan_of(row: SampleRow, site: str = "") -> Scan:
    """The row of scans.parquet of a stored sample."""
    same: dict[str, Any] = {item.name: getattr(row, item.name, None) for item in dataclasses.fields(Scan)}
    return Scan(**{**same, "site": site, "shape": row.shape_out, "spacing": row.known_spacing})


def scans_digest(scans: Sequence[Scan]) -> str:
    """16 hex digits that change when the scans, their order or their voxels do."""
    text = "\n".join(f"{scan.key} {scan.sha256}" for scan in scans)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read(folder: str) -> FeatureTable:
    """The table in `folder`. Its tensors are read by `find`; UsageError if there is no such table."""
    if not store.exists(store.join(folder, SCANS)):
        raise UsageError(f"{folder}: no {SCANS} here, want a folder made by octshard eval embed")
    try:
        scans = read_scans(folder)
    except OctshardError as error:
        raise UsageError(f"{error}; want a folder made by octshard eval embed") from error
    digest, infos = scans_digest(scans), {}
    for name in store.list_names(folder):
        url = store.join(folder, name)
        if name.endswith(TOKEN_SUFFIX) and len(store.list_names(url)) == len(scans):
            url = file_url(url, 0)
        elif not name.endswith(tensors.SUFFIX):
            continue
        texts = tensors.read_texts(url)
        if texts.get("scans") == digest:
            infos[texts.get("digest", "")] = _info(texts)
    return FeatureTable(folder, scans, infos, _notes(folder))


def write_notes(folder: str, notes: Sequence[str]) -> None:
    """Keeps what is to be said of the choice of scans beside them."""
    if notes or store.exists(store.join(folder, NOTES)):
        store.write(store.join(folder, NOTES), json.dumps({"notes": list(notes)}, indent=1).encode())


def _notes(folder: str) -> tuple[str, ...]:
    try:
        return tuple(map(str, json_object.read(store.join(folder, NOTES)).get("notes") or ()))
    except (FileNotFoundError, json_object.DamagedJson):
        return ()


def read_scans(folder: str) -> tuple[Scan, ...]:
    """The rows of scans.parquet; OctshardError if it is missing or damaged."""
    url = store.join(folder, SCANS)
    columns = tables.read_table(url)
    names = [item.name for item in dataclasses.fields(Scan)]
    if missing := sorted({*names} - {*columns}):
        raise OctshardError(f"{url}: columns {missing} are missing")
    values: list[list[Any]] = [[_frozen(value) for value in columns[name]] for name in names]
    return tuple(Scan(*row) for row in zip(*values, strict=True))


def write_scans(folder: str, scans: Sequence[Scan]) -> None:
    """Makes `folder` the table of these scans. What is there already stays if it is the same.

    UsageError if it is the table of other scans, so that nothing computed is lost; damage is written anew.
    """
    url = store.join(folder, SCANS)
    if store.exists(url):
        try:
            stored = read_scans(folder)
        except OctshardError:
            logger.warning("%s: damaged, it is written again", url)
        else:
            if [scan.key for scan in stored] != [scan.key for scan in scans] or scans_digest(
                stored
            ) != scans_digest(scans):
                raise UsageError(
                    f"{folder}: holds the features of {len(stored)} other scans, want a folder for these "
                    f"{len(scans)}"
                )
            if stored == tuple(scans):
                return
    columns = {
        item.name: [_plain(getattr(scan, item.name)) for scan in scans] for item in dataclasses.fields(Scan)
    }
    tables.write_table(url, columns)


def file_name(info: FeatureInfo, digest: str) -> str:
    """Of the tensor file in its folder."""
    return f"{info.name}-{digest}{tensors.SUFFIX}"


def write_features(url: str, features: Features, scans: str) -> None:
    """Stores features, atomically. scans: the digest of their scans."""
    tensors.write(url, {VALUES: features.values_NF}, texts_of(features.info, features.digest, scans))


def find_features(folder: str, keys: tuple[str, ...], digest: str) -> Features | None:
    """The features of that digest, whatever their source is called there; None as for `read_features`."""
    for name in store.list_names(folder):
        if name.endswith(f"-{digest}{tensors.SUFFIX}"):
            return read_features(store.join(folder, name), keys, digest)
    return None


def read_features(url: str, keys: tuple[str, ...], digest: str) -> Features | None:
    """The features at `url`; None if there are none, or, with a warning, if they are not those of that digest
    for so many scans: the file is damaged.
    """
    try:
        arrays, texts = tensors.read(url)
        values_NF, info = arrays[VALUES], _info(texts)
    except FileNotFoundError:
        return None
    except (tensors.DamagedTensors, LookupError):
        pass
    else:
        right_shape = values_NF.ndim == 2 and len(values_NF) == len(keys) and values_NF.dtype == np.float32
        if texts.get("digest") == digest and right_shape and np.isfinite(values_NF).all():
            return Features(keys, values_NF, digest, info)
    logger.warning("%s: damaged, its features are computed again", url)
    return None


def texts_of(info: FeatureInfo, digest: str, scans: str) -> dict[str, str]:
    """What stands in the header of a tensor file."""
    values = {name: "" if value is None else str(value) for name, value in dataclasses.asdict(info).items()}
    return {**values, "digest": digest, "scans": scans}


def _info(texts: Mapping[str, str]) -> FeatureInfo:
    values: dict[str, Any] = {item.name: texts.get(item.name, "") for item in dataclasses.fields(FeatureInfo)}
    step = values["step"]
    return FeatureInfo(**{**values, "step": int(step) if step.isdigit() else None})


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
