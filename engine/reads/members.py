"""The processes that run members' statements: one for each member who reads, and not many.

A process that no snapshot and no statement uses makes room for another member's; if all are in use,
the next one waits. Never reads the store itself. Imported by `engine.reads.server`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections import OrderedDict
from typing import Final

import structlog

from engine.reads import member_process
from engine.reads.member_process import Order
from storage.home.paths import Home
from storage.sqlite.read_protocol import LENGTH

PROCESSES: Final = 6

_MODULE: Final = "engine.reads.member_process"
_NOTHING: Final = Order(0, "close")
"""Closes a connection that there never is."""

_log = structlog.get_logger("reads")


class Ended(Exception):
    """The process of a member has ended, and with it all of the member's snapshots."""


class Member:
    """One member's process, started with the first order; `uses` counts what keeps it."""

    def __init__(self, home: Home, uid: int, stuck_s: float) -> None:
        """`stuck_s` is how long a statement that was given up may run on until it is killed."""
        self._home = home
        self._uid = uid
        self._stuck_s = stuck_s
        self._turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self.uses = 0
        self.ended = False

    async def ask(self, order: Order) -> bytes:
        """The encoded answer to an order; a member's orders take turns.

        A cancelled order still runs to its end, which its time limit bounds.

        Raises:
            Ended: the process has ended.
        """
        async with self._turn:
            asking = asyncio.ensure_future(self._exchange(order))
            try:
                return await asyncio.shield(asking)
            except asyncio.CancelledError:
                done, _ = await asyncio.wait([asking], timeout=self._stuck_s)
                if not done:
                    _log.error("a statement cannot be interrupted; killing it", uid=self._uid)
                    self.kill()
                    await asyncio.wait([asking])
                asking.exception()  # retrieved: no task waits for it
                raise

    async def ready(self) -> None:
        """Return when the process answers, so that its start does not count as its user's time.

        Raises:
            Ended: the process has ended.
        """
        if self._process is None:
            await self.ask(_NOTHING)

    def kill(self) -> None:
        """End the process at once."""
        self.ended = True
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def close(self) -> None:
        """End the process, and wait for that."""
        self.kill()
        if self._process is not None:
            await self._process.wait()

    async def _exchange(self, order: Order) -> bytes:
        if self.ended:
            raise Ended
        try:
            if self._process is None:
                self._process = await self._start()
            process = self._process
            assert process.stdin is not None  # noqa: S101 pipes were asked for
            assert process.stdout is not None  # noqa: S101
            process.stdin.write(member_process.encode(order))
            await process.stdin.drain()
            head = await process.stdout.readexactly(LENGTH.size)
            return head + await process.stdout.readexactly(*LENGTH.unpack(head))
        except (OSError, asyncio.IncompleteReadError) as error:
            _log.warning("the process of a member has ended", uid=self._uid, reason=repr(error))
            self.kill()
            raise Ended from error

    async def _start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", _MODULE, str(self._home.root), str(os.getpid())),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )


class Members:
    """The processes there are, the one that was used longest ago first."""

    def __init__(self, home: Home, stuck_s: float, most: int = PROCESSES) -> None:
        self._home = home
        self._stuck_s = stuck_s
        self._most = most
        self._live: OrderedDict[int, Member] = OrderedDict()
        self._changed = asyncio.Condition()

    async def enter(self, uid: int) -> Member:
        """The process of a user, kept until `leave`; waits while all of them are in use."""
        async with self._changed:
            while (member := await self._found(uid)) is None:
                await self._changed.wait()
            self._live.move_to_end(uid)
            member.uses += 1
            return member

    async def leave(self, member: Member) -> None:
        """Stop using it."""
        member.uses -= 1
        async with self._changed:
            self._changed.notify_all()

    def known(self, uid: int) -> Member | None:
        """The process of a user, if there is one."""
        return self._live.get(uid)

    async def close(self) -> None:
        """End all of them."""
        await asyncio.gather(*(member.close() for member in self._live.values()))

    async def _found(self, uid: int) -> Member | None:
        for other, member in list(self._live.items()):
            spare = other != uid and not member.uses and len(self._live) >= self._most
            if member.ended or (spare and uid not in self._live):
                await member.close()
                del self._live[other]
        if uid not in self._live and len(self._live) < self._most:
            self._live[uid] = Member(self._home, uid, self._stuck_s)
        return self._live.get(uid)
