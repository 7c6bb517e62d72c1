"""One local folder as a slow and unreliable gs:// bucket on loopback, served by a process of its own.

    with slow_store.serving(folder, latency_s=0.05, bytes_per_s=60e6) as endpoint: ...

Set STORAGE_EMULATOR_HOST to the endpoint before the first read; objects are gs://slow/<path in the folder>.
"""

import contextlib
import http.server
import itertools
import json
import multiprocessing
import os
import random
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

BUCKET = "slow"
FAULTS = ("503", "reset", "short")  # drawn alike; short: half the body, and the connection ends
PIECE_S = 0.01  # duration of each piece of a reply


@dataclass(frozen=True)
class ServerSpec:
    """How a bucket is served; bytes_per_s inf: without limit."""

    folder: str
    latency_s: float  # from the end of a request to the first byte of its reply
    bytes_per_s: float  # of each reply
    fault_share: float  # of requests
    seed: int

    def fault(self, number: int) -> str | None:
        """The fault of a request, by its number; None: it is answered."""
        rng = random.Random(f"{self.seed} {number}")
        return rng.choice(FAULTS) if rng.random() < self.fault_share else None


@contextlib.contextmanager
def serving(
    folder: str | Path,
    *,
    latency_s: float = 0.0,
    bytes_per_s: float = float("inf"),
    fault_share: float = 0.0,
    seed: int = 0,
) -> Iterator[str]:
    """The base URL of a server that reads the folder, later files of it too; it ends with the block."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    spec = ServerSpec(str(folder), latency_s, bytes_per_s, fault_share, seed)
    process = context.Process(target=_serve, args=(spec, there), daemon=True)
    process.start()
    there.close()
    try:
        yield here.recv()
    finally:
        here.close()
        process.join()


class _Server(http.server.ThreadingHTTPServer):
    """One thread per connection."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, spec: ServerSpec) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spec = spec
        self.numbers = itertools.count()

    def handle_error(self, *_: Any) -> None:
        """Ignores clients that disconnect."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # a reply's head is one packet
    server: _Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        spec = self.server.spec
        fault = spec.fault(next(self.server.numbers))
        time.sleep(spec.latency_s)
        if fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
        elif fault == "503":
            self._say(503)
        else:
            self._answer(short=fault == "short")
        with contextlib.suppress(OSError, ValueError):
            self.wfile.flush()

    def _answer(self, *, short: bool) -> None:
        split = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(split.query).items()}
        match = re.fullmatch(r"/(?:download/)?storage/v1/b/([^/]+)/o(?:/(.+))?", split.path)
        if match is None or match[1] != BUCKET:
            self._say(404)
        elif match[2] is None:
            self._say(200, _listing(Path(self.server.spec.folder), query))
        else:
            self._object(unquote(match[2]), query, short=short)

    def _object(self, key: str, query: dict[str, str], *, short: bool) -> None:
        path = Path(self.server.spec.folder, key)
        if ".." in path.parts or not path.is_file():
            self._say(404)
            return
        resource = _resource(path, key)
        if query.get("generation", resource["generation"]) != resource["generation"]:
            self._say(404)
        elif query.get("alt") != "media":
            self._say(200, resource)
        else:
            self._media(path, int(resource["size"]), resource["generation"], short=short)

    def _media(self, path: Path, size: int, generation: str, *, short: bool) -> None:
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        start, stop = (int(span[1]), min(int(span[2]) + 1, size)) if span else (0, size)
        if span and start >= size:
            self._say(416)
            return
        self.send_response(206 if span else 200)
        if span:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(stop - start))
        self.send_header("X-Goog-Generation", generation)
        self.end_headers()
        self.wfile.flush()
        if short:
            stop -= (stop - start + 1) // 2
            self.close_connection = True
        with open(path, "rb") as file:
            _send(self.connection, file.fileno(), (start, stop), self.server.spec.bytes_per_s)

    def _say(self, status: int, value: Any = None) -> None:
        body = json.dumps(value or {"error": {"code": status, "message": f"planted {status}"}}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _send(connection: socket.socket, file: int, span: tuple[int, int], bytes_per_s: float) -> None:
    """Sends a file's bytes at the given rate; oversleeping is compensated, a slow reader's time is not."""
    started, (start, stop) = time.monotonic(), span
    piece_s, piece = PIECE_S, stop - start
    if bytes_per_s < float("inf"):
        piece = max(1, int(bytes_per_s * piece_s))
    for at in range(start, stop, piece):
        end = min(at + piece, stop)
        time.sleep(max(0.0, started + (end - start) / bytes_per_s - time.monotonic()))
        before = time.monotonic()
        while at < end:
            at += os.sendfile(connection.fileno(), file, at, end - at)
        started += max(0.0, time.monotonic() - before - piece_s)


def _resource(path: Path, key: str) -> dict[str, str]:
    stat = path.stat()
    return {
        "kind": "storage#object",
        "name": key,
        "bucket": BUCKET,
        "size": str(stat.st_size),
        "generation": str(stat.st_mtime_ns),
        "timeCreated": "2020-01-01T00:00:00.000Z",
        "updated": "2020-01-01T00:00:00.000Z",
    }


def _listing(folder: Path, query: dict[str, str]) -> dict[str, Any]:
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    items, prefixes = [], set[str]()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        key = path.relative_to(folder).as_posix()
        head, slash, _ = key[len(prefix) :].partition(delimiter or "\0")
        if key.startswith(prefix) and slash:
            prefixes.add(prefix + head + slash)
        elif key.startswith(prefix):
            items.append(_resource(path, key))
    return {"kind": "storage#objects", "items": items, "prefixes": sorted(prefixes)}


def _serve(spec: ServerSpec, there: Connection) -> None:
    """Until the other end is closed, by `serving` or because its process died."""
    with _Server(spec) as server:
        threading.Thread(target=server.serve_forever, args=(60.0,), daemon=True).start()
        there.send(f"http://127.0.0.1:{server.server_address[1]}")
        with contextlib.suppress(EOFError):
            there.recv()
    os._exit(0)  # open connections do not matter
