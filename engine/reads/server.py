"""The socket on which members of the group read the store, without access to its files.

Statements run in threads, one at a time for each user; each is bounded, and so is a snapshot.
Connections are counted by user, and silent or slow ones are closed. Never writes to the store.
Imported by `engine.reads`.
"""

from __future__ import annotations

import asyncio
import collections
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, TypeVar

import structlog

from engine.process.connections import Connections, Reader, Writer
from engine.process.listening import Listening
from engine.process.peers import Limits, Peer
from engine.reads.gate import Gate
from storage.home import access
from storage.home.paths import Home
from storage.sqlite import guarded_reads, read_protocol
from storage.sqlite.read_protocol import Execute, Request, Response, Rows, Version

T = TypeVar("T")

PER_USER: Final = 16
IN_ALL: Final = 128
THREADS: Final = 8

_log = structlog.get_logger("reads")


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
    """A statement that cannot be interrupted for so long ends the process."""


@dataclass(slots=True)
class _Client:
    """One connection."""

    uid: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    database: guarded_reads.Connection | None = None
    snapshot_until_s: float | None = None


@dataclass(slots=True)
class _Turns:
    """The statements of each user take turns; a lock lives as long as it is used."""

    locks: dict[int, asyncio.Lock] = field(default_factory=dict)
    users: collections.Counter[int] = field(default_factory=collections.Counter)

    def lock(self, uid: int) -> asyncio.Lock:
        """The lock of a user."""
        return self.locks.setdefault(uid, asyncio.Lock())

    def leave(self, uid: int) -> None:
        """A connection of the user has ended."""
        self.users[uid] -= 1
        if not self.users[uid]:
            del self.users[uid]
            self.locks.pop(uid, None)


class Server:
    """Serves from `start` to `close`."""

    def __init__(
        self,
        home: Home,
        gid: int,
        *,
        bounds: Bounds = Bounds(),
        monotonic_s: Callable[[], float] = time.monotonic,
        give_up: Callable[[], None] = lambda: os._exit(1),
    ) -> None:
        self._home = home
        self._bounds = bounds
        self._monotonic_s = monotonic_s
        self._give_up = give_up
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
        self._turns = _Turns()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="read")
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
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._watch.close()

    async def _serve(self, reader: Reader, writer: Writer, who: Peer) -> None:
        self._turns.users[who.uid] += 1
        client = _Client(who.uid, reader, writer)
        try:
            await self._converse(client)
        finally:
            self._turns.leave(who.uid)
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

    async def _request(self, client: _Client) -> Request:
        """The next request; silence ends the connection, and in a snapshot it ends sooner."""
        left = self._left(client)
        async with asyncio.timeout(self._bounds.silence_s if left is None else left):
            head = await client.reader.readexactly(read_protocol.LENGTH.size)
        length = read_protocol.length(head, read_protocol.REQUEST_LIMIT)
        async with asyncio.timeout(self._bounds.frame_s):
            return read_protocol.request(await client.reader.readexactly(length))

    async def _say(self, writer: asyncio.StreamWriter, response: Response) -> None:
        writer.write(read_protocol.encode(response))
        async with asyncio.timeout(self._bounds.frame_s):
            await writer.drain()

    def _left(self, client: _Client) -> float | None:
        """The seconds that are left of the snapshot; None outside one."""
        if client.snapshot_until_s is None:
            return None
        return max(client.snapshot_until_s - self._monotonic_s(), 0)

    async def _answer(self, client: _Client, request: Request) -> Response:
        try:
            if isinstance(request, Version):
                return read_protocol.Number(self._watch.version())
            return await self._read(client, request)
        except TimeoutError:
            return guarded_reads.busy("it took too long")
        except Exception as error:  # noqa: BLE001 whatever a statement does, it is its user's
            return guarded_reads.failed(error)

    async def _read(self, client: _Client, request: Execute) -> Rows:
        match request.sql.strip().rstrip(";").upper():
            case "BEGIN":
                await self._begin(client)
                return Rows((), [])
            case "COMMIT" | "ROLLBACK" | "END":
                await self._end(client)
                return Rows((), [])
        if client.snapshot_until_s is not None:
            return await self._execute(client, request, client.snapshot_until_s)
        async with self._gate.held(), asyncio.timeout(self._bounds.snapshot_s):
            until_s = self._monotonic_s() + self._bounds.snapshot_s
            return await self._execute(client, request, until_s)

    async def _begin(self, client: _Client) -> None:
        await self._end(client)
        async with asyncio.timeout(2 * self._bounds.snapshot_s):
            await self._gate.enter()
        client.snapshot_until_s = self._monotonic_s() + self._bounds.snapshot_s
        database = await self._database(client)
        await self._run(client, database.begin)

    async def _end(self, client: _Client) -> None:
        if client.snapshot_until_s is None:
            return
        try:
            if client.database is not None:
                await self._run(client, client.database.end)
        finally:
            client.snapshot_until_s = None
            self._gate.leave()

    async def _execute(self, client: _Client, request: Execute, until_s: float) -> Rows:
        database = await self._database(client)
        async with self._turns.lock(client.uid):
            return await self._run(
                client,
                lambda: database.execute(request.sql, request.parameters, until_s=until_s),
            )

    async def _database(self, client: _Client) -> guarded_reads.Connection:
        if client.database is None:
            client.database = await self._run(client, lambda: guarded_reads.Connection(self._home))
        return client.database

    async def _run(self, client: _Client, work: Callable[[], T]) -> T:
        """Run something in a thread, to its end: SQLite interrupts it when its time is over."""
        running = asyncio.get_running_loop().run_in_executor(self._threads, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            ended, _ = await asyncio.wait([running], timeout=self._bounds.stuck_s)
            if not ended:
                _log.error("a statement cannot be interrupted; starting again", uid=client.uid)
                self._give_up()
            elif not running.cancelled():
                running.exception()  # retrieved: no task waits for it
            raise

    async def _forget(self, client: _Client) -> None:
        """Close the connection to the store; its snapshot has ended then."""
        try:
            if client.database is not None:
                await self._run(client, client.database.close)
        finally:
            if client.snapshot_until_s is not None:
                self._gate.leave()
