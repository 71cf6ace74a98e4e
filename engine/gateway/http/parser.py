"""Bytes to requests: httptools, and what it does not bound or refuse.

The size of a head, of the framing around a body, the HTTP version, the Host, upgrades. A request
that could be read in two ways is refused. Never touches a socket or a timer. Imported by
`engine.gateway.http.connection`.
"""

from __future__ import annotations

import urllib.parse
from typing import Any, Final, Protocol

import httptools
import msgspec

from engine.gateway import errors
from engine.gateway.http.refusals import Reason

_CHUNKS: Final = 1024
_CHUNK_BYTES: Final = 64
"""A body may have so many chunks of any size, and one more for each so many bytes of it."""
_FRAMING_PART: Final = 4
"""A byte of framing for so many of a chunked body, beside the size of a head for small chunks and
for trailers: a chunk of `_CHUNK_BYTES` has six, and clients that sign chunks sign large ones."""
_PIECE: Final = 1024
"""Bytes at a time, outside of bodies, of a read that may hold a head over the limit."""
_TLS: Final = 0x16
_HTTP_2: Final = b"PRI * HTTP/2"


class Head(msgspec.Struct, frozen=True):
    """The head of a request; header names are lower-case."""

    method: str
    path: str
    raw_path: bytes
    query: bytes
    version: str
    headers: list[tuple[bytes, bytes]]
    keep_alive: bool
    expects_continue: bool


class Events(Protocol):
    """Receives what was parsed, in its order."""

    def request(self, head: Head) -> None:
        """A head is complete."""

    def body(self, data: bytes) -> None:
        """A part of its body."""

    def complete(self) -> None:
        """The request is complete."""


class _Refused(Exception):
    """Ends the parsing; httptools reports it as its own error."""


class Parser:
    """The requests of one connection.

    `begun` is whether bytes of a next head have arrived. `ended`: no request can follow, because
    the last one said so or was refused; bytes are ignored.
    """

    def __init__(self, events: Events, head_bytes: int) -> None:
        self._events = events
        self._limit = head_bytes
        self._parser = httptools.HttpRequestParser(self)
        self._first = b""
        self._problem: errors.Problem | None = None
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._in_head = self._in_body = self._last = False
        self._begins = 0  # heads that began within this piece
        self._fresh = False  # what is being parsed began within this piece, it is unknown where
        self._size = 0  # of a head, as received; `_counted` as parsed
        self._counted = 0
        self._framing = self._content = 0  # of a body, as received and as parsed
        self._chunks: int | None = None  # of a body in chunks, so far
        self.ended = False

    @property
    def begun(self) -> bool:
        """Whether a head is incomplete, or only blank lines came."""
        return self._in_head or (not self._in_body and self._size > 0)

    def feed(self, data: bytes) -> None:
        """Parse.

        Raises:
            errors.Problem: the request is refused, and nothing after it can be read.
        """
        if len(data) <= self._limit:
            self._feed(data)
            return
        at = 0
        while at < len(data) and not self.ended:
            size = self._limit if self._in_body else _PIECE
            self._feed(data[at : at + size])
            at += size

    def _feed(self, data: bytes) -> None:
        if self.ended:
            return
        idle = not (self._in_head or self._in_body)
        self._begins = 0
        if len(self._first) < len(_HTTP_2):
            self._first += data[: len(_HTTP_2)]
        self._fresh = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.ended = True  # the request is answered as if it had not asked
        except httptools.HttpParserError:
            problem = self._failure()
            self.ended = True
            if problem is not None:
                raise problem from None
            return
        if self._fresh and idle and self._in_head and self._begins == 1:
            self._size, self._fresh = 0, False  # it began with these bytes
        self._check_size(len(data))

    def _check_size(self, fed: int) -> None:
        if self._fresh:
            return
        if self._in_body:
            self._framing += fed
            if self._framing - self._content > self._limit + self._content // _FRAMING_PART:
                self.ended = True
                raise _invalid("The framing of its chunked body is larger than the body.")
        else:
            self._size += fed
            if self._size > self._limit:
                self.ended = True
                raise self._too_large()

    # what httptools calls

    def on_message_begin(self) -> None:
        """A head begins."""
        if self.ended:
            raise _Refused
        self._in_head, self._fresh = True, True
        self._begins += 1
        self._url, self._headers = b"", []
        self._size = self._counted = 0

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        self._url += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; those behind a body are dropped."""
        if self._in_head:
            self._count(len(name) + len(value) + 4)
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is complete."""
        head = self._head()
        self._in_head, self._in_body = False, True
        self._size = self._framing = self._content = 0
        self._fresh = True
        self._last = not head.keep_alive
        self._events.request(head)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._content += len(body)
        if self._chunks is not None:
            self._chunks += 1
            if self._chunks > _CHUNKS + self._content // _CHUNK_BYTES:
                self._refuse(_invalid("Its body is cut into too many chunks; send larger ones."))
        self._events.body(body)

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._in_body = False
        self._fresh = True
        self.ended = self.ended or self._last
        self._events.complete()

    def _count(self, size: int) -> None:
        """Bound a head that arrives in one piece."""
        self._counted += size
        if self._counted > self._limit:
            self._problem = self._too_large()
            raise _Refused

    def _head(self) -> Head:
        parser, headers = self._parser, self._headers
        version, method = parser.get_http_version(), parser.get_method().decode("ascii")
        hosts = 0
        bodied = encoded = expects = False
        for name, value in headers:
            if name == b"host":
                hosts += 1
            elif name == b"content-length":
                bodied = bodied or bool(value.strip(b"0"))
            elif name == b"transfer-encoding":
                bodied = encoded = True
            elif name == b"expect":
                expects = b"100-continue" in value.lower()
        if version not in {"1.0", "1.1"}:
            self._refuse(_invalid(f"HTTP/{version} is not spoken here, HTTP/1.1 is."))
        if version == "1.1" and hosts != 1:
            self._refuse(_invalid("It must have exactly one Host header."))
        if version == "1.0" and encoded:
            self._refuse(_invalid("Transfer-Encoding needs HTTP/1.1."))
        self._chunks = 0 if encoded else None
        upgrade = parser.should_upgrade()
        if upgrade and (bodied or method == "CONNECT"):
            self._refuse(_invalid("Upgrades are not supported; leave out its Upgrade header."))
        url = self._parsed_url()
        raw_path = url.path or b"/"
        path = raw_path.decode("ascii")
        return Head(
            method=method,
            path=urllib.parse.unquote(path) if "%" in path else path,
            raw_path=raw_path,
            query=url.query or b"",
            version=version,
            headers=headers,
            keep_alive=version == "1.1" and not upgrade and parser.should_keep_alive(),
            expects_continue=expects and version == "1.1",
        )

    def _parsed_url(self) -> Any:
        try:
            return httptools.parse_url(self._url)
        except httptools.HttpParserInvalidURLError:
            self._refuse(_invalid("Its target is not a path."))

    def _refuse(self, problem: errors.Problem) -> Any:
        self._problem = problem
        raise _Refused

    def _failure(self) -> errors.Problem | None:
        """Why the bytes cannot be parsed; None where they follow the last request."""
        if self.ended and self._problem is None:
            return None
        return self._problem or self._invalid()

    def _invalid(self) -> errors.Problem:
        if self._first[:1] and self._first[0] == _TLS:
            return _invalid(
                "It looks like TLS, and this port speaks plain HTTP: use http://, or put a proxy "
                "that ends TLS in front."
            )
        if self._first.startswith(_HTTP_2):
            return _invalid("It is HTTP/2, and this port speaks HTTP/1.1.")
        return _invalid(
            "Check its first line, its headers (no control characters) and the framing of its body."
        )

    def _too_large(self) -> errors.Problem:
        return errors.TooLarge(
            f"The head of your request exceeds {self._limit} bytes; send fewer or shorter headers.",
            code=Reason.HEAD_TOO_LARGE.value,
        )


def _invalid(why: str) -> errors.Problem:
    return errors.BadRequest(
        f"This is not a valid HTTP/1.1 request. {why}", code=Reason.INVALID_HTTP.value
    )
