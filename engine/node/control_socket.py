"""The server of the control socket, on which people ask for changes.

A Unix socket with one JSON object per line in each direction; the kernel says who the client is. A
slow, silent or faulty client delays no other, and no user can occupy the socket. What is asked is
answered by `control_requests`. Imported by `engine.node`.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec
import structlog

from engine.node import control_protocol
from engine.node.control_protocol import Rejected, Request
from engine.node.control_requests import ControlRequests
from engine.process.connections import Connections, Reader, Writer
from engine.process.listening import Listening
from engine.process.peers import Limits, Peer
from storage import errors
from storage.control_socket import exchange
from storage.home import access
from storage.home.paths import Home

SILENCE_S: Final = 10.0
OWN: Final = 256
"""Connections of the user who runs the node."""
OTHERS: Final = 64
"""Connections of all other users together."""
PER_USER: Final = 8
"""For each other user."""

_log = structlog.get_logger("node.control_socket")


class ControlSocket:
    """Listens from `open` to `close`; `group` may connect besides the owner."""

    def __init__(
        self,
        home: Home,
        requests: ControlRequests,
        *,
        group: str | None,
        silence_s: float = SILENCE_S,
    ) -> None:
        self._home = home
        self._requests = requests
        self._group = group
        self._silence_s = silence_s
        self._listening: Listening | None = None
        self._connections = Connections(
            Limits("node.control_socket", per_user=PER_USER, others=OTHERS, own=OWN),
            converse=self._converse,
            refuse=self._refuse,
        )

    def state(self) -> dict[str, int]:
        """Connections now, and those refused since the start."""
        return {"connections": self._connections.open, "refused": self._connections.refused}

    async def open(self) -> None:
        """Listen. The lock is held, so an existing socket belongs to a dead node.

        The owner may connect, and the members of the configured group; their roles decide what
        they may do.
        """
        group = access.group(self._group)
        self._listening = Listening(
            self._home.control_socket,
            self._connections.serve,
            admit=lambda: access.admit_to_socket(self._home.control_socket, group),
            limit=exchange.LINE_LIMIT,
        )
        await self._listening.start()

    async def close(self) -> None:
        """Stop listening and close the connections."""
        if self._listening is not None:
            self._listening.stop()
        await self._connections.close()

    async def _refuse(self, writer: Writer, why: str) -> None:
        await self._say(writer, _no("busy", f"The control socket is busy: {why}."))

    async def _converse(self, reader: Reader, writer: Writer, who: Peer) -> None:
        """Answer line by line; each has to arrive, and be read, within the bound of silence."""
        while True:
            async with asyncio.timeout(self._silence_s):
                line = await self._line(reader, writer)
            if not line:
                return
            await self._say(writer, await self._answer(line, who))

    async def _line(self, reader: Reader, writer: Writer) -> bytes:
        try:
            return await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError as error:
            return error.partial
        except asyncio.LimitOverrunError:
            await self._say(writer, _no("bad_request", "A line is limited to 1 MiB."))
            return b""

    async def _say(self, writer: Writer, answer: dict[str, Any]) -> None:
        writer.write(msgspec.json.encode(answer) + b"\n")
        async with asyncio.timeout(self._silence_s):
            await writer.drain()

    async def _answer(self, line: bytes, peer: Peer) -> dict[str, Any]:
        try:
            request = msgspec.json.decode(line, type=Request)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return _no("bad_request", f"The line is not a request: {error}")
        except RecursionError:
            return _no("bad_request", control_protocol.TOO_DEEP)
        try:
            return {"ok": True, **await self._requests.answer(request, peer)}
        except Rejected as rejected:
            return _no(rejected.code, str(rejected))
        except errors.StorageError as error:
            _log.warning("the store refused the write", error=str(error))
            return _no("store_unavailable", str(error))
        except Exception as error:  # noqa: BLE001 one client never takes the socket down
            _log.exception("a request failed")
            return _no("store_unavailable", f"The node failed: {error}")


def _no(code: str, message: str) -> dict[str, Any]:
    readable = message.encode(errors="backslashreplace").decode()  # paths need not be UTF-8
    return {"ok": False, "error": {"code": code, "message": readable}}
