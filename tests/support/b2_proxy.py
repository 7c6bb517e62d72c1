"""Backblaze B2 on loopback, as far as it differs from S3: moto behind a proxy without conditional puts."""

import http.client
import http.server
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

REFUSAL = (
    b"<Error><Code>NotImplemented</Code><Message>A header you provided implies functionality that is not "
    b"implemented</Message></Error>"
)
CONDITIONS = ("if-match", "if-none-match")
OF_A_CONNECTION = ("connection", "transfer-encoding", "content-length")


class B2Proxy(http.server.ThreadingHTTPServer):
    """Passes requests on to `endpoint`; a put with a condition is answered by 501, or put without it."""

    daemon_threads = True

    def __init__(self, endpoint: str, *, refuses: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind, self.refuses, self.refused = urlsplit(endpoint).netloc, refuses, 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: object) -> None:
        """A client that went away is none of ours."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: B2Proxy

    def log_message(self, *_: object) -> None:
        pass

    def _handle(self) -> None:
        body = self._body()
        headers = {name: value for name, value in self.headers.items() if name.lower() not in OF_A_CONNECTION}
        if self.command == "PUT" and any(self.headers[name] for name in CONDITIONS):
            if self.server.refuses:
                self.server.refused += 1
                self._send(501, {"Content-Type": "application/xml"}, REFUSAL)
                return
            headers = {name: value for name, value in headers.items() if name.lower() not in CONDITIONS}
        connection = http.client.HTTPConnection(self.server.behind, timeout=30)
        connection.request(self.command, self.path, body, headers)
        reply = connection.getresponse()
        self._send(reply.status, dict(reply.getheaders()), reply.read())
        connection.close()

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

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        for name, value in headers.items():
            if name.lower() not in OF_A_CONNECTION:
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def serve(endpoint: str, *, refuses: bool = True) -> Iterator[B2Proxy]:
    """A running proxy, for a fixture to yield from."""
    proxy = B2Proxy(endpoint, refuses=refuses)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield proxy
    proxy.shutdown()
    proxy.server_close()
    thread.join()
