"""A child process of stream.py: one reader, ours or a peer's, makes its copy, reads in turns or meets faults.

    PYTHON benchmarks/child.py ACTION WISH      ACTION: make | read | check; WISH: a Wish as JSON

It answers in JSON lines, and runs in its reader's own environment. Linux: CPU time is read from /proc.
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
from loaders import READERS, Batch, Unpack, Wish, samples

QUIET_S, PATIENCE_S = 0.1, 5.0  # a reader that fetches ahead is left to finish before the next one's turn
MODULES = {
    "ours": "octshard.stream.loader", "webdataset": "webdataset", "mds": "streaming", "litdata": "litdata",
    "npz": "torch.utils.data",
}  # fmt: skip


def make(wish: Wish, say: TextIO) -> None:
    """The reader's own copy of our tars: the same frames, level and files of as many samples."""
    stored = list(samples(wish))
    if wish.reader == "mds":
        from streaming import MDSWriter

        columns = {"key": "str", "json": "bytes", "vol.zst": "bytes"}
        mean = sum(len(sample["json"]) + len(sample["vol.zst"]) for sample in stored) / len(stored)
        limit = int(mean * (wish.per_file + 0.5))  # samples are of nearly one size: per_file in each shard
        with MDSWriter(out=wish.folder, columns=columns, hashes=["xxh64"], size_limit=limit) as out:
            for sample in stored:
                out.write(sample)
    elif wish.reader == "litdata":
        from litdata.streaming import Cache

        cache = Cache(wish.folder, chunk_size=wish.per_file)
        for number, sample in enumerate(stored):
            cache[number] = sample
        cache.done()
        cache.merge()
    elif wish.reader == "webdataset":
        import webdataset as wds

        Path(wish.folder).mkdir(parents=True, exist_ok=True)
        with wds.ShardWriter(f"{wish.folder}/train-%06d.tar", maxcount=wish.per_file, verbose=0) as out:
            for sample in stored:
                named = {name: value for name, value in sample.items() if name != "key"}
                out.write({"__key__": sample["key"], **named})
    elif wish.reader == "npz":
        Path(wish.folder).mkdir(parents=True, exist_ok=True)
        for sample in stored:
            found = Unpack()(sample)
            np.savez_compressed(f"{wish.folder}/{sample['key']}.npz", **found)
    _tell(say, {"made": len(stored)})


def read(wish: Wish, say: TextIO) -> None:
    """Serves turns, one for each line [discard, batches] on stdin, and ends with it. The first batches are
    not timed, because they were fetched before the turn.
    """
    batches = _endless(wish)
    next(batches)
    _tell(say, {"versions": _versions(wish.reader)})
    for line in sys.stdin:
        discard, count = json.loads(line)
        for _ in range(discard):
            next(batches)
        others, own, begun = others_s(), time.process_time(), time.perf_counter()
        for _ in range(count):
            next(batches)
        wall, cpu = time.perf_counter() - begun, time.process_time() - own
        cpu += others_s() - others
        _settle()
        _tell(say, {"samples": count * wish.batch, "cpu_s": cpu, "wall_s": wall, "rss_mb": rss_mb()})


def check(wish: Wish, say: TextIO) -> None:
    """One epoch of each folder named on stdin, in a forked process each: what came, told beside the truth."""
    importlib.import_module(MODULES[wish.reader])  # once, before the forks
    for line in sys.stdin:
        folder, patience_s = json.loads(line)
        here, there = os.pipe()
        pid = os.fork()
        if not pid:
            signal.alarm(patience_s)
            os.write(there, json.dumps(_outcome(wish, folder)).encode())
            os.close(there)
            atexit._run_exitfuncs()  # what a peer has in shared memory goes
            os._exit(0)  # at once: to take torch apart would cost more than the epoch
        os.close(there)
        with open(here, "rb") as answers:
            found = answers.read()
        _, status = os.waitpid(pid, 0)
        _tell(say, json.loads(found) if found else {"word": f"no end in {patience_s} s", "what": status})


def others_s() -> float:
    """CPU seconds of all living descendants of this process and of its ended children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = used.ru_utime + used.ru_stime
    for pid in _family():
        try:
            total += time.clock_gettime((~pid << 3) | 2)  # Linux: the CPU clock of that process, all threads
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += (int(stat[13]) + int(stat[14])) / os.sysconf("SC_CLK_TCK")  # of its own ended children
        except OSError:
            continue  # ended between the two looks: from now on it is among the ended children
    return total


def truth(wish: Wish) -> dict[str, Any]:
    """{key: mark} of what our tars hold, read by the standard library alone."""
    unpacked = map(Unpack(), samples(wish))
    return {sample["key"]: mark(sample["voxels"], sample["mean"]) for sample in unpacked}


def mark(voxels_DHW: Any, mean: Any) -> list[str]:
    """What tells whether a sample came as it was stored."""
    digest = hashlib.sha256(np.ascontiguousarray(voxels_DHW).data).hexdigest()
    return [digest, f"{np.float32(mean):.3f}"]


def rss_mb() -> float:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def _endless(wish: Wish) -> Iterator[Batch]:
    if wish.reader in ("raw", "ours"):
        yield from READERS[wish.reader](wish)
    loader = READERS[wish.reader](wish)
    while True:
        yield from loader


def _epoch(wish: Wish) -> Iterator[Batch]:
    batches = iter(READERS[wish.reader](wish))
    return itertools.islice(batches, wish.samples // wish.batch) if wish.reader == "ours" else batches


def _outcome(wish: Wish, folder: str) -> dict[str, Any]:
    """word: error, or silent; what: the error's text, or the samples that came {key: digest}."""
    there = replace(wish, source=folder, folder=folder)
    found = {}
    try:
        for batch in _epoch(there):
            for number, key in enumerate(batch["key"]):
                found[key] = mark(batch["voxels"][number], batch["mean"][number])
    except Exception as error:  # whatever a reader raises is what it is asked for here
        return {"word": "error", "what": f"{type(error).__name__}: {error}"}
    return {"word": "silent", "what": found}


def _settle() -> None:
    """Waits until nothing is fetched ahead any more: it would be in the way of the next reader's turn."""
    end, before = time.monotonic() + PATIENCE_S, others_s() + time.process_time()
    while time.monotonic() < end:
        time.sleep(QUIET_S)
        after = others_s() + time.process_time()
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


def _tell(say: TextIO, answer: dict[str, Any]) -> None:
    say.write(json.dumps(answer) + "\n")
    say.flush()


def main() -> None:
    """stdout is kept for answers: what a peer writes there goes to stderr."""
    say = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.filterwarnings("ignore", message=".*not writable.*")
    {"make": make, "read": read, "check": check}[sys.argv[1]](Wish(**json.loads(sys.argv[2])), say)
    say.flush()


if __name__ == "__main__":
    main()
