"""`python -m runbooks.drills.server --port N`: an OpenAI-compatible server that misbehaves.

Its delay and its answer are arguments; the node supervises it as the server of a release.
Standard library only.
"""

from __future__ import annotations

import argparse
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

_MODEL: Final = "drill"


class Answers(BaseHTTPRequestHandler):
    """One connection."""

    delay_s = 0.0
    text = "ok"
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Health, and the models that there are."""
        self._say({"object": "list", "data": [{"id": _MODEL, "object": "model"}]})

    def do_POST(self) -> None:
        """An answer to whatever was asked."""
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        time.sleep(self.delay_s)
        usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
        base = {"id": "chatcmpl-drill", "created": 0, "model": _MODEL}
        if not asked.get("stream"):
            choice = {
                "index": 0, "finish_reason": "stop",
                "message": {"role": "assistant", "content": self.text},
            }  # fmt: skip
            self._say({**base, "object": "chat.completion", "choices": [choice], "usage": usage})
            return
        chunk = {**base, "object": "chat.completion.chunk"}
        delta = {"role": "assistant", "content": self.text}
        first = {"index": 0, "delta": delta, "finish_reason": None}
        last = {"index": 0, "delta": {}, "finish_reason": "stop"}
        events = [
            {**chunk, "choices": [first]},
            {**chunk, "choices": [last]},
            {**chunk, "choices": [], "usage": usage},
        ]
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for event in events:
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def _say(self, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *values: object) -> None:
        """Requests are recorded by the gateway."""


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(prog="python -m runbooks.drills.server", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--text", default="ok", help="what every answer says")
    asked = parser.parse_args()
    Answers.delay_s, Answers.text = asked.delay, asked.text
    ThreadingHTTPServer(("127.0.0.1", asked.port), Answers).serve_forever()


if __name__ == "__main__":
    main()
