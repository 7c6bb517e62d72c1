"""The compared readers: octshard's, the bare limit, and each peer set up as its documentation advises.

Peers are imported where they are used, because each has its own environment; the imports at the top are in
all of them. Every batch is a dict: voxels (B, D, H, W) uint8 tensor, key, mean, std.
"""

import itertools
import json
import math
import os
import tarfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

BUFFER = 16  # samples in webdataset's shuffle buffer: few, so that an epoch begins at once
AHEAD = 4  # batches: 2 workers times DataLoader's prefetch_factor of 2
VOXELS = ".vol.zst"

Batch = dict[str, Any]


@dataclass(frozen=True)
class ReaderSpec:
    """One reader and its settings. plain: frames without checksum, python-zstandard's default."""

    reader: str
    source: str  # the folder with our tars
    folder: str  # the reader's own copy
    workers: int  # worker processes; threads for raw and ours; 0: all in the loop's thread
    batch: int
    samples: int
    per_file: int = 0
    plain: bool = False


def raw(spec: ReaderSpec) -> Iterator[Batch]:
    """Bytes of a slice into a reused buffer, unpacked into another: no order, no check, no batch. Endless."""
    places = [place for tar in _tars(spec.source) for place in _frames(tar)]
    np.random.default_rng(0).shuffle(places)
    files = {tar: os.open(tar, os.O_RDONLY) for tar, _, _ in places}
    threads = max(1, spec.workers)
    buffers = [_ThreadBuffers(files, max(size for _, _, size in places)) for _ in range(threads)]
    order = itertools.cycle(places)
    if not spec.workers:
        while True:
            for place in itertools.islice(order, spec.batch):
                buffers[0].read(place)
            yield {}
    pool, pending = ThreadPoolExecutor(threads), deque[Future[None]]()
    for number, place in enumerate(order):  # each thread has its own buffers: one task at a time for each
        if len(pending) == threads:
            pending.popleft().result()
            if number % spec.batch == 0:
                yield {}
        pending.append(pool.submit(buffers[number % threads].read, place))


def octshard(spec: ReaderSpec) -> Iterator[Batch]:
    """octshard's stream: verified, in the order of its seed, threads of this process. Endless.

    It reads ahead as many batches as DataLoader does with 2 workers; its default is more.
    """
    from octshard.config.train import TrainConfig
    from octshard.devices.buffers import BufferPool
    from octshard.stream.batch import BatchTransform, RankSlice
    from octshard.stream.index import load_index
    from octshard.stream.loader import train_batches
    from octshard.stream.sampler import StreamPosition

    cfg, shape = TrainConfig(), _shape(spec.source)
    cfg.data.shards, cfg.data.threads = [spec.source], spec.workers or 1
    cfg.data.prefetch_bytes = AHEAD * spec.batch * math.prod(shape)
    cfg.model.image_size = shape
    transform = BatchTransform(lambda batch: batch, BufferPool().empty)
    index = load_index(cfg, "train", 0)
    for batch in train_batches(index, cfg, RankSlice(spec.batch, 0, 1), StreamPosition(0, 0), transform):
        yield {"voxels": batch.voxels_BDHW, "key": batch.keys, "mean": batch.mean_B, "std": batch.std_B}


def webdataset(spec: ReaderSpec) -> Iterable[Batch]:
    """Our tars as they are; batches made in the workers, the shuffle buffer before decompression, both as its
    documentation says. torch's own collation, because in a worker it writes straight into shared memory.
    """
    import webdataset as wds
    from torch.utils.data import default_collate

    pipeline = (
        wds.WebDataset(_tars(spec.source), shardshuffle=100)
        .shuffle(BUFFER, initial=BUFFER)
        .map(Unpack())
        .batched(spec.batch, collation_fn=default_collate)
    )
    return wds.WebLoader(pipeline, batch_size=None, **_workers(spec))  # type: ignore[no-any-return]


def mds(spec: ReaderSpec) -> Iterable[Batch]:
    """MosaicML Streaming: a local folder, no remote, shuffled by its default algorithm."""
    from streaming import StreamingDataLoader, StreamingDataset

    class Frames(StreamingDataset):  # type: ignore[misc]
        unpack = None

        def __getitem__(self, index: int) -> Batch:
            self.unpack = self.unpack or Unpack()
            return self.unpack(super().__getitem__(index))

    data = Frames(local=spec.folder, shuffle=True, batch_size=spec.batch, num_canonical_nodes=1)
    return StreamingDataLoader(data, batch_size=spec.batch, **_workers(spec))  # type: ignore[no-any-return]


def litdata(spec: ReaderSpec) -> Iterable[Batch]:
    """litData: chunks read in place, shuffled by its default."""
    from litdata import StreamingDataLoader, StreamingDataset

    class Frames(StreamingDataset):  # type: ignore[misc]
        unpack = None

        def __getitem__(self, index: Any) -> Batch:
            self.unpack = self.unpack or Unpack()
            return self.unpack(super().__getitem__(index))

    data = Frames(spec.folder, shuffle=True, drop_last=False)
    return StreamingDataLoader(data, batch_size=spec.batch, **_workers(spec))  # type: ignore[no-any-return]


def npz(spec: ReaderSpec) -> Iterable[Batch]:
    """torch's DataLoader over files of np.savez_compressed, found by their names."""
    from torch.utils.data import DataLoader

    return DataLoader(_Files(spec.folder), batch_size=spec.batch, shuffle=True, **_workers(spec))  # type: ignore[arg-type]


def dicom(spec: ReaderSpec) -> Iterable[Batch]:
    """The first design: pydicom and MONAI for every sample, every time, with the settings of scan.json."""
    from torch.utils.data import DataLoader

    ahead = {"prefetch_factor": 1} if spec.workers else {}  # seconds a volume: 2 would only lengthen the run
    scans = _Scans(spec.folder)
    return DataLoader(scans, batch_size=spec.batch, shuffle=True, **_workers(spec), **ahead)  # type: ignore[arg-type]


READERS: dict[str, Callable[[ReaderSpec], Iterable[Batch]]] = {
    "raw": raw, "ours": octshard, "webdataset": webdataset, "mds": mds, "litdata": litdata, "npz": npz,
    "dicom": dicom,
}  # fmt: skip


def samples(spec: ReaderSpec) -> Iterator[Batch]:
    """The samples of our tars in order: key, json and vol.zst as stored, or with plain frames."""
    packer = zstandard.ZstdCompressor(level=3, write_checksum=False)
    for path in _tars(spec.source):
        with tarfile.open(path) as tar:
            members = {member.name: member for member in tar}
            for name in (name for name in members if name.endswith(VOXELS)):
                key = name.removesuffix(VOXELS)
                meta, frame = (_bytes(tar, members[key + end]) for end in (".json", VOXELS))
                if spec.plain:
                    frame = packer.compress(zstandard.ZstdDecompressor().decompress(frame))
                yield {"key": key, "json": meta, "vol.zst": frame}


class Unpack:
    """Unpacks a stored sample (key, json, vol.zst) for a batch; one decompressor for each process."""

    def __init__(self) -> None:
        self._decompressor: zstandard.ZstdDecompressor | None = None

    def __call__(self, sample: Batch) -> Batch:
        self._decompressor = self._decompressor or zstandard.ZstdDecompressor()
        meta = json.loads(sample["json"])
        voxels = np.frombuffer(self._decompressor.decompress(sample["vol.zst"]), meta["dtype"])
        return {
            "voxels": voxels.reshape(meta["shape"]),
            "key": meta["key"],
            "mean": meta["mean"],
            "std": meta["std"],
        }

    def __getstate__(self) -> dict[str, Any]:
        return {"_decompressor": None}  # never shared between processes


class _Files:
    """A Dataset of .npz files."""

    def __init__(self, folder: str) -> None:
        self._paths = sorted(Path(folder).glob("*.npz"))

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: int) -> Batch:
        with np.load(self._paths[number]) as file:
            return {name: file[name] if name == "voxels" else file[name].item() for name in file.files}


class _Scans:
    """A Dataset of .dcm files, each decoded, resampled, cropped or padded on access."""

    def __init__(self, folder: str) -> None:
        from monai.transforms import Compose, ResizeWithPadOrCropd, Spacingd

        self._paths = sorted(Path(folder).glob("*.dcm"))
        scan = json.loads((Path(folder) / "scan.json").read_text())
        self._affine = np.diag([*scan["spacing_mm"], 1.0])
        self._change = Compose(
            [
                Spacingd("image", pixdim=scan["target_mm"], mode="bilinear", dtype=np.float32),
                ResizeWithPadOrCropd("image", scan["image_size"]),
            ]
        )

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: int) -> Batch:
        import pydicom
        import torch
        from monai.data import MetaTensor

        pixels_DHW = pydicom.dcmread(self._paths[number]).pixel_array
        image = MetaTensor(
            torch.from_numpy(pixels_DHW.astype(np.float32))[None], affine=torch.from_numpy(self._affine)
        )
        voxels = self._change({"image": image})["image"].as_tensor()[0].round_().clamp_(0, 255)
        return {"voxels": voxels.to(torch.uint8), "key": self._paths[number].stem}


class _ThreadBuffers:
    """The buffers and the decompressor of one thread."""

    def __init__(self, files: dict[str, int], largest: int) -> None:
        self._files, self._packed = files, bytearray(largest)
        self._decompressor, self._voxels = zstandard.ZstdDecompressor(), bytearray()

    def read(self, place: tuple[str, int, int]) -> None:
        tar, offset, size = place
        frame = memoryview(self._packed)[:size]
        if os.preadv(self._files[tar], [frame], offset) != size:
            raise OSError(f"{tar}: ends inside {size} bytes at {offset}")
        full = zstandard.frame_content_size(frame)
        if len(self._voxels) != full:
            self._voxels = bytearray(full)
        if self._decompressor.stream_reader(frame).readinto(self._voxels) != full:
            raise OSError(f"{tar} at {offset}: the frame is shorter than it says")


def _workers(spec: ReaderSpec) -> dict[str, Any]:
    """Arguments of torch's DataLoader: workers that persist over epochs, its default prefetch_factor of 2."""
    return {"num_workers": spec.workers, "persistent_workers": spec.workers > 0}


def _frames(tar: str) -> list[tuple[str, int, int]]:
    with tarfile.open(tar) as file:
        return [(tar, member.offset_data, member.size) for member in file if member.name.endswith(VOXELS)]


def _bytes(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    return file.read()


def _tars(folder: str) -> list[str]:
    return sorted(str(path) for path in Path(folder).glob("train-*.tar"))


def _shape(source: str) -> list[int]:
    with tarfile.open(_tars(source)[0]) as tar:
        first = tar.next()
        assert first is not None
        shape: list[int] = json.loads(_bytes(tar, first))["shape"]
    return shape
