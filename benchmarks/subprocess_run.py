"""A child process of stream.py: one reader, octshard's or a peer's, makes its copy, reads, or meets faults.

    PYTHON benchmarks/subprocess_run.py ACTION SPEC    ACTION: make | read | check; SPEC: a ReaderSpec as JSON

It answers in JSON lines and runs in the environment of its reader. Linux: CPU time is read from /proc.
"""

import atexit
import hashlib
import importlib
import importlib.metadata
import itertools
import json
import os
import resource
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from loaders import READERS, Batch, ReaderSpec, Unpack, samples

QUIET_S, PATIENCE_S = 0.1, 5.0  # a reader that fetches ahead may finish before the next one's turn
MODULES = {
    "ours": "octshard.stream.loader", "webdataset": "webdataset", "mds": "streaming", "litdata": "litdata",
    "npz": "torch.utils.data",
}  # fmt: skip


def make(spec: ReaderSpec, stdout: TextIO) -> None:
    """Copies our tars to the reader's format: the same frames and level, as many samples in each file."""
    stored = list(samples(spec))
    if spec.reader == "mds":
        from streaming import MDSWriter

        columns = {"key": "str", "json": "bytes", "vol.zst": "bytes"}
        mean = sum(len(sample["json"]) + len(sample["vol.zst"]) for sample in stored) / len(stored)
        limit = int(mean * (spec.per_file + 0.5))  # samples are of nearly one size: per_file in each shard
        with MDSWriter(out=spec.folder, columns=columns, hashes=["xxh64"], size_limit=limit) as out:
            for sample in stored:
                out.write(sample)
    elif spec.reader == "litdata":
        from litdata.streaming import Cache

        cache = Cache(spec.folder, chunk_size=spec.per_file)
        for number, sample in enumerate(stored):
            cache[number] = sample
        cache.done()
        cache.merge()
    elif spec.reader == "webdataset":
        import webdataset as wds

        Path(spec.folder).mkdir(parents=True, exist_ok=True)
        with wds.ShardWriter(f"{spec.folder}/train-%06d.tar", maxcount=spec.per_file, verbose=0) as out:
            for sample in stored:
                named = {name: value for name, value in sample.items() if name != "key"}
                out.write({"__key__": sample["key"], **named})
    elif spec.reader == "npz":
        Path(spec.folder).mkdir(parents=True, exist_ok=True)
        for sample in stored:
            sample_arrays = Unpack()(sample)
            np.savez_compressed(f"{spec.folder}/{sample['key']}.npz", **sample_arrays)
    _answer(stdout, {"made": len(stored)})


def read(spec: ReaderSpec, stdout: TextIO) -> None:
    """One turn for each line [discard, batches] on stdin, until it is closed. The first `discard` batches are
    not timed, because they were fetched before the turn.
    """
    batches = _endless(spec)
    next(batches)
    _answer(stdout, {"versions": _versions(spec.reader)})
    for line in sys.stdin:
        discard, count = json.loads(line)
        for _ in range(discard):
            next(batches)
        descendants, own_cpu, started = descendants_cpu_s(), time.process_time(), time.perf_counter()
        for _ in range(count):
            next(batches)
        wall, cpu = time.perf_counter() - started, time.process_time() - own_cpu
        cpu += descendants_cpu_s() - descendants
        _settle()
        _answer(stdout, {"samples": count * spec.batch, "cpu_s": cpu, "wall_s": wall, "rss_mb": rss_mb()})


def check(spec: ReaderSpec, stdout: TextIO) -> None:
    """One epoch of each folder named on stdin, each in a forked process; answers with the outcome."""
    importlib.import_module(MODULES[spec.reader])  # once, before the forks
    for line in sys.stdin:
        folder, patience_s = json.loads(line)
        read_end, write_end = os.pipe()
        pid = os.fork()
        if not pid:
            signal.alarm(patience_s)
            os.write(write_end, json.dumps(_outcome(spec, folder)).encode())
            os.close(write_end)
            atexit._run_exitfuncs()  # frees a peer's shared memory
            os._exit(0)  # at once: torch's shutdown would take longer than the epoch
        os.close(write_end)
        with open(read_end, "rb") as answers:
            reply = answers.read()
        _, status = os.waitpid(pid, 0)
        _answer(stdout, json.loads(reply) if reply else {"word": f"no end in {patience_s} s", "what": status})


def descendants_cpu_s() -> float:
    """CPU seconds of all living descendants of this process and of its ended children."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = usage.ru_utime + usage.ru_stime
    for pid in _family():
        try:
            total += time.clock_gettime((~pid << 3) | 2)  # Linux: the CPU clock of that process, all threads
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += (int(stat[13]) + int(stat[14])) / os.sysconf("SC_CLK_TCK")  # of its own ended children
        except OSError:
            continue  # it has just ended: from now on it counts as an ended child
    return total


def truth(spec: ReaderSpec) -> dict[str, Any]:
    """{key: mark} of what our tars hold, read by the standard library alone."""
    unpacked = map(Unpack(), samples(spec))
    return {sample["key"]: mark(sample["voxels"], sample["mean"]) for sample in unpacked}


def mark(voxels_DHW: Any, mean: Any) -> list[str]:
    """Identifies a sample's content: the sha256 of its voxels, and its mean."""
    digest = hashlib.sha256(np.ascontiguousarray(voxels_DHW).data).hexdigest()
    return [digest, f"{np.float32(mean):.3f}"]


def rss_mb() -> float:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def _endless(spec: ReaderSpec) -> Iterator[Batch]:
    if spec.reader in ("raw", "ours"):
        yield from READERS[spec.reader](spec)
    loader = READERS[spec.reader](spec)
    while True:
        yield from loader


def _epoch(spec: ReaderSpec) -> Iterator[Batch]:
    batches = iter(READERS[spec.reader](spec))
    return itertools.islice(batches, spec.samples // spec.batch) if spec.reader == "ours" else batches


def _outcome(spec: ReaderSpec, folder: str) -> dict[str, Any]:
    """word: error, or silent; what: the error's text, or the samples that came {key: digest}."""
    damaged_spec = replace(spec, source=folder, folder=folder)
    marks = {}
    try:
        for batch in _epoch(damaged_spec):
            for number, key in enumerate(batch["key"]):
                marks[key] = mark(batch["voxels"][number], batch["mean"][number])
    except Exception as error:  # any error is a valid outcome here
        return {"word": "error", "what": f"{type(error).__name__}: {error}"}
    return {"word": "silent", "what": marks}


def _settle() -> None:
    """Waits until the reader no longer fetches ahead, which would disturb the next reader's turn."""
    end, before = time.monotonic() + PATIENCE_S, descendants_cpu_s() + time.process_time()
    while time.monotonic() < end:
        time.sleep(QUIET_S)
        after = descendants_cpu_s() + time.process_time()
        if after - before < 0.2 * QUIET_S:
            return
        before = after


def _family() -> list[int]:
    """The living descendants of this process."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            parents[int(entry)] = int(stat.rpartition(")")[2].split()[1])
    family, last = set(), {os.getpid()}
    while last:
        last = {pid for pid, parent in parents.items() if parent in last}
        family |= last
    return sorted(family)


def _versions(reader: str) -> dict[str, str]:
    names = {
        "webdataset": ["webdataset"], "mds": ["mosaicml-streaming", "numpy"], "litdata": ["litdata"],
        "npz": ["numpy"], "dicom": ["pydicom", "monai"], "raw": ["zstandard"],
    }  # fmt: skip
    return {name: importlib.metadata.version(name) for name in [*names.get(reader, []), "torch"]}


def _answer(stdout: TextIO, answer: dict[str, Any]) -> None:
    stdout.write(json.dumps(answer) + "\n")
    stdout.flush()


def main() -> None:
    """stdout is reserved for answers: a peer's own output to it goes to stderr."""
    stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.filterwarnings("ignore", message=".*not writable.*")
    {"make": make, "read": read, "check": check}[sys.argv[1]](ReaderSpec(**json.loads(sys.argv[2])), stdout)
    stdout.flush()


if __name__ == "__main__":
    main()
