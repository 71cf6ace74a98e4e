"""The socket on which members of the group read the store, without access to its files.

Statements run in a process of their user, one at a time; each is bounded, and so is a snapshot.
Connections are counted by user, and silent or slow ones are closed. Never writes to the store.
Imported by `engine.reads`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from engine.process.connections import Connections, Reader, Writer
from engine.process.listening import Listening
from engine.process.peers import Limits, Peer
from engine.reads import members
from engine.reads.gate import Gate
from engine.reads.member_process import Order
from engine.reads.members import Member, Members
from storage.home import access
from storage.home.paths import Home
from storage.sqlite import guarded_reads, read_protocol
from storage.sqlite.read_protocol import Execute, Request, Response, Rows, Version

PER_USER: Final = 16
IN_ALL: Final = 128


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long a user may take. Seconds."""

    snapshot_s: float = 5.0
    """From the beginning of a snapshot to its end; a statement outside one is a snapshot."""
    silence_s: float = 60.0
    """Between two requests outside a snapshot."""
    frame_s: float = 5.0
    """For a request to arrive, and for a response to be read."""
    stuck_s: float = 30.0
    """A statement that cannot be interrupted for so long ends the process of its user."""
    start_s: float = 60.0
    """For the process of a user to start; it counts against no snapshot."""


@dataclass(slots=True)
class _Client:
    """One connection; `member` has its snapshot. `lost`: the snapshot ended with its process."""

    number: int
    uid: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    member: Member | None = None
    snapshot_until_s: float | None = None
    lost: bool = False


class Server:
    """Serves from `start` to `close`."""

    def __init__(
        self,
        home: Home,
        gid: int,
        *,
        bounds: Bounds = Bounds(),
        monotonic_s: Callable[[], float] = time.monotonic,
        processes: int = members.PROCESSES,
    ) -> None:
        """At most so many `processes` run statements."""
        self._home = home
        self._bounds = bounds
        self._monotonic_s = monotonic_s
        self._connections = Connections(
            Limits("reads", per_user=PER_USER, others=IN_ALL, own=PER_USER),
            converse=self._serve,
            refuse=self._refuse,
            ends=(asyncio.IncompleteReadError, read_protocol.Malformed),
        )
        self._listening = Listening(
            home.reads_socket,
            self._connections.serve,
            admit=lambda: access.admit_to_socket(home.reads_socket, gid),
            limit=read_protocol.REQUEST_LIMIT,
        )
        self._gate = Gate(
            log_bytes=lambda: guarded_reads.log_bytes(home),
            fold=lambda: guarded_reads.fold(home),
        )
        self._watch = guarded_reads.Watch(home)
        self._members = Members(home, bounds.stuck_s, processes)
        self._numbers = itertools.count(1)
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen."""
        await self._listening.start()
        self._keeping = asyncio.create_task(self._gate.keep(), name="gate")

    async def close(self) -> None:
        """Stop listening and end the connections."""
        self._listening.stop()
        await self._connections.close()
        if self._keeping is not None:
            self._keeping.cancel()
        await self._members.close()
        self._watch.close()

    async def _serve(self, reader: Reader, writer: Writer, who: Peer) -> None:
        client = _Client(next(self._numbers), who.uid, reader, writer)
        try:
            await self._converse(client)
        finally:
            await self._forget(client)

    async def _refuse(self, writer: Writer, why: str) -> None:
        await self._say(writer, guarded_reads.busy(why))

    async def _converse(self, client: _Client) -> None:
        while True:
            request = await self._request(client)
            try:
                async with asyncio.timeout(self._left(client)):
                    said = await self._answer(client, request)
            except TimeoutError:
                said = guarded_reads.busy("the snapshot took too long and was ended")
                await self._say(client.writer, said)
                return
            await self._say(client.writer, said)
            if client.lost:
                return

    async def _request(self, client: _Client) -> Request:
        """The next request; silence ends the connection, and in a snapshot it ends sooner."""
        left = self._left(client)
        async with asyncio.timeout(self._bounds.silence_s if left is None else left):
            head = await client.reader.readexactly(read_protocol.LENGTH.size)
        length = read_protocol.length(head, read_protocol.REQUEST_LIMIT)
        async with asyncio.timeout(self._bounds.frame_s):
            return read_protocol.request(await client.reader.readexactly(length))

    async def _say(self, writer: asyncio.StreamWriter, response: Response | bytes) -> None:
        writer.write(response if isinstance(response, bytes) else read_protocol.encode(response))
        async with asyncio.timeout(self._bounds.frame_s):
            await writer.drain()

    def _left(self, client: _Client) -> float | None:
        """The seconds that are left of the snapshot; None outside one."""
        if client.snapshot_until_s is None:
            return None
        return max(client.snapshot_until_s - self._monotonic_s(), 0)

    async def _answer(self, client: _Client, request: Request) -> Response | bytes:
        try:
            if isinstance(request, Version):
                return read_protocol.Number(self._watch.version())
            return await self._read(client, request)
        except TimeoutError:
            return guarded_reads.busy("it took too long")
        except members.Ended:
            client.lost = client.snapshot_until_s is not None
            return guarded_reads.busy("the process that ran this statement has ended")
        except Exception as error:  # noqa: BLE001 whatever a statement does, it is its user's
            return guarded_reads.failed(error)

    async def _read(self, client: _Client, request: Execute) -> Rows | bytes:
        match request.sql.strip().rstrip(";").upper():
            case "BEGIN":
                return await self._begin(client)
            case "COMMIT" | "ROLLBACK" | "END":
                await self._end(client)
                return Rows((), [])
        if client.member is not None and client.snapshot_until_s is not None:
            return await client.member.ask(_order(client, request, client.snapshot_until_s))
        snapshot_s = self._bounds.snapshot_s
        member = await self._enter(client.uid, snapshot_s)
        try:
            async with asyncio.timeout(snapshot_s), self._gate.held():
                until_s = self._monotonic_s() + snapshot_s
                return await member.ask(_order(client, request, until_s))
        finally:
            await self._members.leave(member)

    async def _begin(self, client: _Client) -> bytes:
        await self._end(client)
        within_s = 2 * self._bounds.snapshot_s
        member = await self._enter(client.uid, within_s)
        try:
            async with asyncio.timeout(within_s):
                await self._gate.enter()
        except BaseException:
            await self._members.leave(member)
            raise
        client.member = member
        client.snapshot_until_s = self._monotonic_s() + self._bounds.snapshot_s
        return await member.ask(Order(client.number, "begin"))

    async def _enter(self, uid: int, within_s: float) -> Member:
        """The running process of a user, once one is free; no snapshot is held while waiting."""
        async with asyncio.timeout(within_s):
            member = await self._members.enter(uid)
        try:
            async with asyncio.timeout(self._bounds.start_s):
                await member.ready()
        except BaseException:
            await self._members.leave(member)
            raise
        return member

    async def _end(self, client: _Client) -> None:
        member, client.member, client.snapshot_until_s = client.member, None, None
        if member is None:
            return
        try:
            with contextlib.suppress(members.Ended):
                await member.ask(Order(client.number, "end"))
        finally:
            self._gate.leave()
            await self._members.leave(member)

    async def _forget(self, client: _Client) -> None:
        """Close the connection to the store; its snapshot has ended then."""
        await self._end(client)
        member = self._members.known(client.uid)
        if member is not None:
            with contextlib.suppress(members.Ended):
                await member.ask(Order(client.number, "close"))


def _order(client: _Client, request: Execute, until_s: float) -> Order:
    return Order(client.number, "execute", request.sql, request.parameters, until_s)
