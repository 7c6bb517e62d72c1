"""An object store on loopback that fails on demand: as much of the JSON API of Cloud Storage, and of S3's, as
octshard asks for, with their conditions on generations and ETags (which the emulators partly ignore), and a
script of faults for the next requests. It keeps what it was asked, so that a test can count attempts.
"""

import base64
import hashlib
import http.server
import json
import re
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import google_crc32c

BUCKET = "faulty"
RESET = "reset"  # the connection is reset before the request is heeded
LOST = "lost"  # ... after it was heeded, so that only the reply is lost
STALL = "stall"  # no reply at all, until the test has ended
SHORT = "short"  # the reply's body is cut in half, and the connection ends
FLIP = "flip"  # the last byte of the reply's body is altered on its way
SLOW = "slow"  # a byte of the body comes, and no other
HALF = "half"  # an upload keeps the first half of the part only (in units of 256 KiB), as Cloud Storage may
UNIT = 2**18
S3_ERROR = {
    501: "NotImplemented",
    401: "InvalidToken",
    403: "InvalidAccessKeyId",
    404: "NoSuchKey",
    412: "PreconditionFailed",
}


class Asked(NamedTuple):
    """One request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: Message


class Reply(NamedTuple):
    """One answer."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = {}


@dataclass
class Session:
    """An upload in parts that has not ended."""

    key: str
    query: dict[str, str]
    parts: dict[int, bytes] = field(default_factory=dict)


class FaultyStore(http.server.ThreadingHTTPServer):
    """gs://faulty and s3://faulty; `faults` are used up one by one by the requests that `when` matches."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.released = threading.Event()
        self.lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """As it was at first, for another test; whoever stalls is let go."""
        self.released.set()
        self.stalled, self.released = threading.Event(), threading.Event()
        self.objects: dict[str, tuple[bytes, int]] = {}
        self.marks: dict[str, str] = {}  # what S3 keeps of x-amz-meta-put
        self.sessions: dict[str, Session] = {}
        self.asked: list[Asked] = []
        self.faults: list[str | int] = []
        self.when = re.compile("")
        self.generation = 0
        self.conditions = "heeded"  # of S3; "refused": 501, as Backblaze B2; "ignored": as older stores

    def handle_error(self, *_: object) -> None:
        """A client that went away is what the tests want."""

    def fail(self, *faults: str | int, when: str = "") -> None:
        """The next requests whose `METHOD path?query` matches get these: a status, or one of the above."""
        self.when, self.faults = re.compile(when), list(faults)

    def count(self, when: str) -> int:
        """Requests so far whose `METHOD path` matches."""
        return sum(1 for one in self.asked if re.search(when, f"{one.method} {one.path}"))

    def fault_for(self, line: str) -> str | int | None:
        with self.lock:
            return self.faults.pop(0) if self.faults and self.when.search(line) else None

    def put(self, key: str, data: bytes) -> int:
        self.generation += 1
        self.objects[key] = (data, self.generation)
        return self.generation


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FaultyStore

    def log_message(self, *_: object) -> None:
        pass

    def _handle(self) -> None:
        store, split = self.server, urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(split.query, keep_blank_values=True).items()}
        ask = Asked(self.command, unquote(split.path), query, self.headers)
        body = self._body()
        store.asked.append(ask)
        fault = store.fault_for(f"{self.command} {self.path}")
        gcs = re.match(r"/(upload/|download/)?storage/v1/|/session/", ask.path) is not None
        if fault == STALL:
            store.stalled.set()
            store.released.wait(30)
            self.close_connection = True
            return
        if fault == RESET:
            self._reset()
            return
        if isinstance(fault, int):
            self._send(_gcs_error(fault) if gcs else _s3_error(fault))
            return
        with store.lock:
            reply = (_gcs if gcs else _s3)(store, ask, body, halve=fault == HALF)
        if fault == LOST:
            self._reset()
            return
        if fault == FLIP and reply.body:
            reply = reply._replace(body=reply.body[:-1] + bytes([reply.body[-1] ^ 1]))
        self._send(reply, cut=fault == SHORT, slow=fault == SLOW)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _reset(self) -> None:
        """Ends the connection with RST: what a router or a dying server does."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def _send(self, reply: Reply, *, cut: bool = False, slow: bool = False) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if "Content-Length" not in reply.headers:
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if slow:
            self.wfile.write(reply.body[:1])
            self.server.stalled.set()
            self.server.released.wait(30)
            self.close_connection = True
        elif self.command != "HEAD":
            self.wfile.write(reply.body[: len(reply.body) // 2] if cut else reply.body)
        if cut:
            self.close_connection = True


def _json(status: int, value: object) -> Reply:
    return Reply(status, json.dumps(value).encode(), {"Content-Type": "application/json"})


def _gcs_error(status: int, message: str = "") -> Reply:
    return _json(status, {"error": {"code": status, "message": message or f"planted {status}"}})


def _crc32c(data: bytes) -> str:
    return base64.b64encode(google_crc32c.Checksum(data).digest()).decode()


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def _gcs(store: FaultyStore, ask: Asked, body: bytes, *, halve: bool) -> Reply:
    if found := re.fullmatch(r"/session/(.+)", ask.path):
        return _gcs_part(store, store.sessions, found[1], ask, body, halve=halve)
    path = re.fullmatch(r"/(upload/|download/)?storage/v1/b/([^/]+)/o(?:/(.+))?", ask.path)
    if path is None or path[2] != BUCKET:
        return _gcs_error(404)
    if path[1] == "upload/":
        return _gcs_upload(store, ask, body)
    if path[3] is None:
        return _gcs_list(store, ask.query)
    if path[3] not in store.objects:
        return _gcs_error(404)
    data, generation = store.objects[path[3]]
    if ask.query.get("generation", str(generation)) != str(generation):
        return _gcs_error(404)
    if ask.method == "DELETE":
        del store.objects[path[3]]
        return Reply(204)
    if ask.query.get("alt") != "media":
        return _json(200, _resource(path[3], data, generation))
    told = {"X-Goog-Generation": str(generation), "X-Goog-Hash": f"crc32c={_crc32c(data)},md5={_md5(data)}"}
    return _sent(data, ask.headers, told) or _gcs_error(416)


def _gcs_upload(store: FaultyStore, ask: Asked, body: bytes) -> Reply:
    key = ask.query["name"]
    if ask.query["uploadType"] == "resumable":
        name = f"u{len(store.sessions)}"
        store.sessions[name] = Session(key, {**ask.query, **json.loads(body)}, {0: b""})
        return Reply(200, b"", {"Location": f"{store.url}/session/{name}"})
    edge = b"--" + ask.headers["Content-Type"].split("boundary=")[1].encode()
    parts = [part.split(b"\r\n\r\n", 1)[-1].removesuffix(b"\r\n") for part in body.split(edge)]
    return _gcs_put(store, key, parts[2], {**ask.query, **json.loads(parts[1])})


def _gcs_put(store: FaultyStore, key: str, data: bytes, query: dict[str, str]) -> Reply:
    if query.get("crc32c", _crc32c(data)) != _crc32c(data):
        return _gcs_error(400, "Provided CRC32C does not match calculated CRC32C")
    wanted = query.get("ifGenerationMatch")
    stands = store.objects[key][1] if key in store.objects else 0
    if wanted is not None and int(wanted) != stands:
        return _gcs_error(412)
    return _json(200, _resource(key, data, store.put(key, data)))


def _gcs_part(
    store: FaultyStore, sessions: dict[str, Session], name: str, ask: Asked, body: bytes, *, halve: bool
) -> Reply:
    if name not in sessions:
        return _gcs_error(404)
    session = sessions[name]
    if ask.method == "DELETE":
        del sessions[name]
        return Reply(499)
    span = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", ask.headers["Content-Range"])
    assert span is not None
    start, size = int(span[1]), int(span[3])
    if halve:
        body = body[: len(body) // 2 // UNIT * UNIT]
    held = session.parts[0]
    if start > len(held):
        return _gcs_error(400)
    session.parts[0] = held = held + body[len(held) - start :]  # what is held already is not looked at
    if len(held) == size:
        if key_stands(store, session.key, held):
            return _json(200, _resource(session.key, held, store.objects[session.key][1]))
        return _gcs_put(store, session.key, held, session.query)
    return Reply(308, b"", {"Range": f"bytes=0-{len(held) - 1}"} if held else {})


def key_stands(store: FaultyStore, key: str, data: bytes) -> bool:
    """True if the object is there already: its last part was sent twice."""
    return key in store.objects and store.objects[key][0] == data


def _gcs_list(store: FaultyStore, query: dict[str, str]) -> Reply:
    keys, prefixes = _children(store, query)
    items = [_resource(key, *store.objects[key]) for key in keys]
    return _json(200, {"kind": "storage#objects", "items": items, "prefixes": prefixes})


def _children(store: FaultyStore, query: dict[str, str]) -> tuple[list[str], list[str]]:
    """(keys, common prefixes) that a listing's prefix and delimiter ask for."""
    prefix, keys, prefixes = query.get("prefix", ""), [], set()
    for key in sorted(store.objects):
        if not key.startswith(prefix):
            continue
        head, slash, _ = key[len(prefix) :].partition(query.get("delimiter") or "\0")
        if slash:
            prefixes.add(prefix + head + slash)
        else:
            keys.append(key)
    return keys, sorted(prefixes)


def _resource(key: str, data: bytes, generation: int) -> dict[str, str]:
    """As Google's storage-testbench makes it from a protocol buffer: without fields that are 0 or empty."""
    return {
        "kind": "storage#object",
        "name": key,
        "bucket": BUCKET,
        **({"size": str(len(data))} if data else {}),
        "crc32c": _crc32c(data),
        "generation": str(generation),
        "timeCreated": "2020-01-01T00:00:00.000Z",
        "updated": "2020-01-01T00:00:00.000Z",
    }


def _sent(data: bytes, headers: Message, extra: dict[str, str]) -> Reply | None:
    """The object, or the range of it that was asked for; None if it begins behind the end."""
    span = re.fullmatch(r"bytes=(\d+)-(\d+)", headers.get("Range", ""))
    if span is None:
        return Reply(200, data, extra)
    start, stop = int(span[1]), min(int(span[2]) + 1, len(data))
    if start >= len(data):
        return None
    return Reply(206, data[start:stop], {**extra, "Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"})


def _s3_error(status: int, condition: str = "") -> Reply:
    code = S3_ERROR.get(status, "InternalError")
    inside = f"<Code>{code}</Code><Message>planted {status}</Message><Condition>{condition}</Condition>"
    return Reply(status, f"<Error>{inside}</Error>".encode(), {"Content-Type": "application/xml"})


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


def _s3(store: FaultyStore, ask: Asked, body: bytes, *, halve: bool) -> Reply:
    del halve  # S3 takes a part whole
    bucket, _, key = ask.path.lstrip("/").partition("/")
    if bucket != BUCKET:
        return Reply(404, b"<Error><Code>NoSuchBucket</Code><Message>no</Message></Error>")
    if not key:
        return _s3_list(store, ask.query)
    if ask.method == "POST" or "uploadId" in ask.query:
        return _s3_parts(store, key, ask, body)
    stands = store.objects.get(key)
    match, none_match = ask.headers.get("If-Match"), ask.headers.get("If-None-Match")
    if ask.method == "PUT" and (match or none_match) and store.conditions != "heeded":
        if store.conditions == "refused":
            return _s3_error(501)
        match = none_match = None
    if match and (stands is None or _etag(stands[0]) != match):
        return _s3_error(412, "If-Match") if stands else _s3_error(404)
    if ask.method == "PUT":
        if none_match == "*" and stands:
            return _s3_error(412, "If-None-Match")
        store.put(key, body)
        store.marks[key] = ask.headers.get("x-amz-meta-put", "")
        return Reply(200, b"", {"ETag": _etag(body)})
    if ask.method == "DELETE":
        store.objects.pop(key, None)
        return Reply(204)
    if stands is None:
        return _s3_error(404)
    told = {"ETag": _etag(stands[0]), "x-amz-meta-put": store.marks.get(key, "")}
    reply = _sent(stands[0], ask.headers, told)
    return reply or _s3_error(416)


def _s3_list(store: FaultyStore, query: dict[str, str]) -> Reply:
    keys, prefixes = _children(store, query)
    files = "".join(
        f"<Contents><Key>{escape(key)}</Key><Size>{len(store.objects[key][0])}</Size></Contents>"
        for key in keys
    )
    folders = "".join(
        f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in prefixes
    )
    inside = f"<KeyCount>{len(keys) + len(prefixes)}</KeyCount>{files}{folders}"
    return Reply(200, f"<ListBucketResult>{inside}</ListBucketResult>".encode())


def _s3_parts(store: FaultyStore, key: str, ask: Asked, body: bytes) -> Reply:
    if "uploads" in ask.query:
        name = f"m{len(store.sessions)}"
        store.sessions[name] = Session(key, ask.query)
        text = f"<InitiateMultipartUploadResult><UploadId>{name}</UploadId></InitiateMultipartUploadResult>"
        return Reply(200, text.encode())
    session = store.sessions.get(ask.query["uploadId"])
    if session is None:
        return Reply(404, b"<Error><Code>NoSuchUpload</Code><Message>no</Message></Error>")
    if ask.method == "PUT":
        session.parts[int(ask.query["partNumber"])] = body
        return Reply(200, b"", {"ETag": _etag(body)})
    del store.sessions[ask.query["uploadId"]]
    if ask.method == "DELETE":
        return Reply(204)
    data = b"".join(session.parts[number] for number in sorted(session.parts))
    store.put(key, data)
    inside = f"<Key>{escape(key)}</Key><ETag>x</ETag>"
    return Reply(200, f"<CompleteMultipartUploadResult>{inside}</CompleteMultipartUploadResult>".encode())


def serve() -> Iterator[FaultyStore]:
    """A running store, for a fixture to yield from; it ends with the test."""
    store = FaultyStore()
    thread = threading.Thread(target=store.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield store
    store.clear()
    store.shutdown()
    store.server_close()
    thread.join()
