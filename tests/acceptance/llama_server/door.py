"""The HTTP door that llama.cpp's tests knock at: it passes each request on to the gateway.

It says what a Paddock box cannot guess from such a request: the service, because llama-server has
one model and reads no name; the key, because llama-server needs none; `/v1` where a path has it in
llama-server's table without; `max_tokens` where it says `n_predict`. What is llama-server's own
/completion is asked of /v1/completions (`native`). In answers it spells two constants as
llama-server does, so that the assertions after them run: the fingerprint's prefix, and the content
of a stream's first chunk, which is "" here and at OpenAI and null there; and names of headers are
capitalised, because some tests look for them so. Everything else passes as it is.
"""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from tests.acceptance.llama_server import native

PATHS: Final = {
    "/health": "/readyz",
    "/models": "/v1/models",
    "/chat/completions": "/v1/chat/completions",
    "/chat/completions/input_tokens": "/v1/chat/completions/input_tokens",
    "/responses": "/v1/responses",
    "/rerank": "/v1/rerank",
}
SPELLINGS: Final = (
    (b'"system_fingerprint":"fp_', b'"system_fingerprint":"b'),
    (b'"role":"assistant","content":"","refusal":null}', b'"role":"assistant","content":null}'),
)
PASSED: Final = (
    "content-type", "authorization", "x-api-key", "anthropic-version", "origin",
    "access-control-request-method", "access-control-request-headers",
)  # fmt: skip
_PIECE: Final = 1 << 16
_BOUND_S: Final = 300


@dataclass(frozen=True, slots=True)
class Settings:
    """Of one llama-server: its gateway, its model's name, and the key it asks for, if any.

    `arguments` are given to the chat template of each conversation, as `--reasoning off` does.
    """

    port: int
    service: str
    secret: str
    api_key: str | None
    arguments: dict[str, Any]
    verbose: bool


@contextmanager
def opened(port: int, settings: Settings) -> Iterator[None]:
    """The door on a port of loopback, closed at the end."""

    class Passing(_Passing):
        """Requests to this gateway."""

    Passing.settings = settings
    server = ThreadingHTTPServer(("127.0.0.1", port), Passing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Passing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    settings: Settings

    def log_message(self, format: str, *_: object) -> None:
        """Nothing: what is worth reading is printed by the tests."""

    def _pass(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name: self.headers[name] for name in PASSED if name in self.headers}
        self._replace_key(headers)
        path, _, query = self.path.partition("?")
        url = PATHS.get(path, path) + (f"?{query}" if query else "")
        self.close_connection = True
        if path in native.PATHS and self.command == "POST":
            self._complete(json.loads(raw), headers)
            return
        body, verbose = self._body(raw)
        with self._asked(url, body, headers) as answer:
            if verbose and answer.status == HTTPStatus.OK:
                with self._asked("/apply-template", body, headers) as prompt:
                    document = json.loads(answer.read())
                    document["__verbose"] = json.loads(prompt.read())
                self._head(answer)
                self.wfile.write(
                    self._spelled(json.dumps(document, separators=(",", ":")).encode())
                )
            else:
                self._head(answer)
                while piece := answer.read1(_PIECE):
                    self.wfile.write(self._spelled(piece))

    do_GET = do_POST = do_DELETE = do_OPTIONS = _pass  # noqa: N815 the names that it looks for

    def _complete(self, body: dict[str, Any], headers: dict[str, str]) -> None:
        """Answer llama-server's own completion."""

        def ask(path: str, body: Mapping[str, Any]) -> Any:
            with self._asked(path, self._named(body), headers) as answer:
                return json.loads(answer.read())

        vocabulary = native.Vocabulary(ask)
        asked = native.asked(body, vocabulary)
        with self._asked("/v1/completions", self._named(asked.body), headers) as answer:
            self._head(answer)
            if answer.status != HTTPStatus.OK:
                self.wfile.write(answer.read())
            elif asked.body.get("stream"):
                for event in native.events(asked, _chunks(answer), vocabulary):
                    self.wfile.write(b"data: %b\n\n" % json.dumps(event).encode())
            else:
                document = native.answer(asked, json.loads(answer.read()), vocabulary)
                self.wfile.write(json.dumps(document).encode())

    def _named(self, body: Mapping[str, Any]) -> bytes:
        return json.dumps({**body, "model": self.settings.service}).encode()

    def _replace_key(self, headers: dict[str, str]) -> None:
        """Ours where theirs is right or none is asked for; another is passed on and refused."""
        asked = self.settings.api_key
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        if asked is None or asked in (bearer, headers.get("x-api-key")):
            headers.pop("x-api-key", None)
            headers["authorization"] = f"Bearer {self.settings.secret}"

    def _body(self, raw: bytes) -> tuple[bytes, bool]:
        """The body with what llama-server would know, and whether it asks for debug output."""
        try:
            body = json.loads(raw)
        except ValueError:
            return raw, False
        if not isinstance(body, dict):
            return raw, False
        verbose = bool(body.pop("verbose", self.settings.verbose)) and "messages" in body
        if self.settings.arguments and "messages" in body:
            body["chat_template_kwargs"] = self.settings.arguments
        if "n_predict" in body:
            body["max_tokens"] = body.pop("n_predict")
        return self._named(body), verbose

    @contextmanager
    def _asked(
        self, url: str, body: bytes, headers: dict[str, str]
    ) -> Iterator[http.client.HTTPResponse]:
        gateway = http.client.HTTPConnection("127.0.0.1", self.settings.port, timeout=_BOUND_S)
        with closing(gateway):
            gateway.request(self.command, url, body, headers)
            yield gateway.getresponse()

    def _head(self, answer: http.client.HTTPResponse) -> None:
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                self.send_header(name.title(), value)
        self.send_header("connection", "close")
        self.end_headers()

    def _spelled(self, piece: bytes) -> bytes:
        for ours, theirs in SPELLINGS:
            piece = piece.replace(ours, theirs)
        return piece


def _chunks(answer: http.client.HTTPResponse) -> Iterator[Any]:
    """The chunks of a stream, without its end."""
    for line in answer:
        if line.startswith(b"data: ") and not line.startswith(b"data: [DONE]"):
            yield json.loads(line.removeprefix(b"data: "))
