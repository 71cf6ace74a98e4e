"""A server on loopback that implements the Hub's protocol, with faults on request.

A file is behind `/{repository}/resolve/{revision}/{file}`: the first answer is a redirect with the
file's size, SHA-256 and commit, the second carries the bytes, with `Range` and `If-Range`. Plain
files are under `/plain/`. Faults are queued and used up one a request for bytes.
"""

from __future__ import annotations

import hashlib
import re
import ssl
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

COMMIT: Final = "a" * 40
_RESOLVE: Final = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")


@dataclass
class Request:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Hub:
    """What the server has and does; `content` may be changed at any time.

    `content` is the file tiny.gguf, `more` are further files by name.
    `faults` are names of what goes wrong with the next answers: cut, html, long, gzip, slow, or a
    status such as 503; a cut answer ends after the share `cut_at` of its bytes. `gate`: bytes are
    held back after `held_after` until it is set.
    """

    content: bytes
    more: dict[str, bytes] = field(default_factory=dict)
    token: str | None = None
    etags: bool = True
    lengths: bool = True
    ranges: bool = True
    sha256: str | None = None
    faults: deque[str] = field(default_factory=deque)
    requests: list[Request] = field(default_factory=list)
    cut_at: float = 0.5
    held_after: int | None = None
    gate: threading.Event = field(default_factory=threading.Event)
    port: int = 0
    scheme: str = "http"

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def etag(self) -> str:
        """The strong ETag of tiny.gguf."""
        return _etag(self.content)

    def file(self, name: str) -> bytes | None:
        """The bytes of a file; None if there is none of this name."""
        return self.more.get(name, self.content if name == "tiny.gguf" else None)

    def asked_for_bytes(self) -> list[Request]:
        """The requests for the file's bytes, in their order."""
        return [
            each
            for each in self.requests
            if each.method == "GET" and each.path.startswith(("/cdn", "/plain"))
        ]


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


@contextmanager
def serving(hub: Hub, context: ssl.SSLContext | None = None) -> Iterator[Hub]:
    """Serve until the block is left."""

    class Handler(_Handler):
        served = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        hub.scheme = "https"
    hub.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: Hub

    def do_HEAD(self) -> None:
        """The headers alone."""
        self._answer()

    def do_GET(self) -> None:
        """The redirect, or the bytes."""
        self._answer()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def handle(self) -> None:
        """Clients that leave are no error of the server."""
        try:
            super().handle()
        except (ConnectionError, ssl.SSLError):
            self.close_connection = True

    def _answer(self) -> None:
        hub = self.served
        headers = {name.lower(): value for name, value in self.headers.items()}
        hub.requests.append(Request(self.command, self.path, headers))
        if self.path.startswith(("/cdn", "/plain")):
            self._bytes(headers)
            return
        found = _RESOLVE.fullmatch(self.path)
        if found is None or found["repo"] != "acme/tiny":
            self._empty(404, {"x-error-code": "RepoNotFound"})
        elif hub.token and headers.get("authorization") != f"Bearer {hub.token}":
            self._empty(401, {"x-error-code": "GatedRepo"})
        elif found["revision"] not in {"main", COMMIT}:
            self._empty(404, {"x-error-code": "RevisionNotFound"})
        elif (content := hub.file(found["file"])) is None:
            self._empty(404, {"x-error-code": "EntryNotFound"})
        else:
            sha256 = hub.sha256 or hashlib.sha256(content).hexdigest()
            place = f"{hub.address.replace('127.0.0.1', 'localhost')}/cdn"
            place += "" if found["file"] == "tiny.gguf" else f"/{found['file']}"
            self._empty(
                302,
                {
                    "x-linked-etag": f'"{sha256}"',
                    "x-linked-size": str(len(content)),
                    "x-repo-commit": COMMIT,
                    "location": f"{place}?Signature=x",
                },
            )

    def _empty(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "content-length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def _bytes(self, headers: dict[str, str]) -> None:
        hub = self.served
        fault = hub.faults.popleft() if hub.faults and self.command == "GET" else ""
        if fault.isdecimal() or fault == "html":
            self._refuse(fault)
            return
        name = self.path.partition("?")[0].rpartition("/")[2]
        if (content := hub.file("tiny.gguf" if name == "cdn" else name)) is None:
            self._empty(404, {})
            return
        etag = _etag(content)
        begin = self._begin(headers, etag)
        if begin >= len(content) and begin:
            self._empty(416, {"content-range": f"bytes */{len(content)}"})
            return
        body = content[begin:]
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("content-range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        if hub.etags:
            self.send_header("etag", etag)
        if fault == "gzip":
            self.send_header("content-encoding", "gzip")
        if hub.lengths:
            self.send_header("content-length", str(len(body)))
        else:
            self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        if self.command == "GET":
            self._send(body[: int(len(body) * hub.cut_at)] if fault == "cut" else body)
            if fault == "cut":
                self.close_connection = True

    def _refuse(self, fault: str) -> None:
        """A status, or a page in place of the file."""
        if fault.isdecimal():
            self._empty(int(fault), {"retry-after": "7"} if fault == "429" else {})
            return
        page = b"<html>Please log in</html>"
        self.send_response(200)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.send_header("content-length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def _begin(self, headers: dict[str, str], etag: str) -> int:
        """From which byte on the answer is; 0 where the range does not count."""
        hub, asked = self.served, headers.get("range", "")
        if not hub.ranges or not asked or headers.get("if-range", etag) != etag:
            return 0
        return int(asked.removeprefix("bytes=").rstrip("-"))

    def _send(self, body: bytes) -> None:
        hub = self.served
        if hub.held_after is not None and not hub.gate.is_set():
            self._write(body[: hub.held_after])
            self.wfile.flush()
            hub.gate.wait(60)
            body = body[hub.held_after :]
        self._write(body)
        if not hub.lengths:
            self.wfile.write(b"0\r\n\r\n")

    def _write(self, body: bytes) -> None:
        if self.served.lengths:
            self.wfile.write(body)
        elif body:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(body), body))
