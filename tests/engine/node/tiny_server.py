"""`python -m tests.engine.node.tiny_server PORT`: a server as small as can be supervised.

Speaks enough of OpenAI's API for a streamed completion. `GET /hang` makes its health check silent,
`GET /exit` ends it with code 3, `GET /child` starts a process of its own and answers with its id,
`GET /environment` answers with its environment, `GET /go` lets long answers end. With a second
argument it never becomes healthy.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from typing import Final

PIECES: Final = (" one", " two", " three")
HELD: Final = 100
"""After so many tokens an answer waits for `GET /go`."""

_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
_LENGTH: Final = re.compile(r"content-length: (\d+)", re.IGNORECASE)


class Tiny:
    """Answers on every connection."""

    def __init__(self, *, healthy: bool) -> None:
        self._healthy = healthy
        self._hanging = False
        self._go = asyncio.Event()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request after the other."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = _LENGTH.search(head)
                body = await reader.readexactly(int(length[1]) if length else 0)
                method, path, _ = head.split(" ", 2)
                if method == "POST":
                    await self._stream(writer, json.loads(body)["max_tokens"])
                else:
                    await self._get(writer, path)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _get(self, writer: asyncio.StreamWriter, path: str) -> None:
        status, text = 200, "ok"
        if path == "/exit":
            os._exit(3)
        elif path == "/hang":
            self._hanging = True
        elif path == "/go":
            self._go.set()
        elif path == "/child":
            text = str(_child())
        elif path == "/daemon":
            text = str(_child(start_new_session=True))
        elif path == "/environment":
            text = json.dumps(dict(os.environ))
        elif path == "/health":
            if self._hanging:
                return
            status = 200 if self._healthy else 503
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(text)}\r\n\r\n{text}".encode())
        await writer.drain()

    async def _stream(self, writer: asyncio.StreamWriter, tokens: int) -> None:
        writer.write(_HEAD)
        for number in range(tokens):
            if number == HELD:
                await self._go.wait()
            await _event(writer, {"choices": [{"text": PIECES[number % len(PIECES)]}]})
        await _event(writer, {"choices": [{"text": "", "finish_reason": "length"}]})
        writer.write(b"0\r\n\r\n")
        await writer.drain()


async def _event(writer: asyncio.StreamWriter, document: object) -> None:
    data = f"data: {json.dumps(document)}\n\n".encode()
    writer.write(b"%x\r\n%s\r\n" % (len(data), data))
    await writer.drain()


def _child(*, start_new_session: bool = False) -> int:
    sleeper = [sys.executable, "-c", "import signal; signal.pause()"]
    return subprocess.Popen(sleeper, start_new_session=start_new_session).pid


async def main() -> None:
    """Serve until killed."""
    tiny = Tiny(healthy=len(sys.argv) == 2)
    server = await asyncio.start_server(tiny.connected, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
