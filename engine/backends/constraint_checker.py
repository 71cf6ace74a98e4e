"""Has constraints tried in a process that may die of them, before any worker compiles one.

One process, started with the first constraint and after each death. Verdicts are kept, so that
what killed it is not tried again. Tenants take turns: one that sends a flood of
slow ones delays its own. Imported by the fleet.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections import OrderedDict, deque
from typing import Final

import msgspec

from engine.execution import failures
from engine.serving import wire

CPU_S: Final = 3
KEPT: Final = 1024
WAITING_LIMIT: Final = 256
"""Constraints that may wait to be tried."""
EXHAUSTED: Final = "it takes too much time or memory to compile"
"""How a reason begins of a constraint that was not tried to its end."""
_WALL_S: Final = 60.0
_RETRY_US: Final = 1_000_000
_LINE: Final = 1 << 16
_PASSED_ON: Final = ("LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH")
_MODULE: Final = "engine.serving.constraints.check"

_answers: Final = msgspec.json.Decoder(str | None)


class Checker:
    """Starts no process before the first constraint. Close it."""

    def __init__(self, *, cpu_s: int = CPU_S) -> None:
        """`cpu_s` is the processor time for one constraint."""
        self._cpu_s = cpu_s
        self._verdicts: OrderedDict[wire.Constraint, str | None] = OrderedDict()
        self._waiting: dict[str, deque[wire.Constraint]] = {}
        self._results: dict[wire.Constraint, asyncio.Future[str | None]] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._running: asyncio.Task[None] | None = None
        self._closed = False

    async def check(self, constraint: wire.Constraint, tenant: str, within_s: float) -> None:
        """Return if workers can hold the constraint.

        Raises:
            failures.Invalid: they cannot; `param` is the constraint's field.
            failures.Overloaded, failures.Unavailable: it cannot be tried now, or not in time.
        """
        key = msgspec.structs.replace(constraint, field="")
        if key in self._verdicts:
            self._verdicts.move_to_end(key)
            reason = self._verdicts[key]
        else:
            reason = await self._ask(key, tenant, within_s)
        if reason is not None:
            raise failures.Invalid(
                f"{constraint.field}: {reason}", code="invalid_value", param=constraint.field
            )

    async def close(self) -> None:
        """End the process; what waits fails."""
        self._closed = True
        if self._running is not None:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running
        for result in self._results.values():
            if not result.done():
                result.set_exception(_unavailable("the gateway is stopping"))
        await self._end()

    async def _ask(self, key: wire.Constraint, tenant: str, within_s: float) -> str | None:
        if self._closed:
            raise _unavailable("the gateway is stopping")
        result = self._results.get(key)
        if result is None:
            if len(self._results) >= WAITING_LIMIT:
                raise failures.Overloaded(
                    f"{WAITING_LIMIT} constraints already wait to be compiled",
                    code="queue_full",
                    retry_after_us=_RETRY_US,
                )
            result = self._results[key] = asyncio.get_running_loop().create_future()
            result.add_done_callback(_retrieve)
            self._waiting.setdefault(tenant, deque()).append(key)
            if self._running is None or self._running.done():
                self._running = asyncio.create_task(self._run(), name="constraints")
        try:
            return await asyncio.wait_for(asyncio.shield(result), within_s)
        except TimeoutError:
            raise failures.Unavailable(
                f"the constraint could not be compiled within {within_s:g} s", code="deadline"
            ) from None

    async def _run(self) -> None:
        """Try what waits, one tenant after the other."""
        while self._waiting:
            tenant = next(iter(self._waiting))
            turn = self._waiting.pop(tenant)
            key = turn.popleft()
            if turn:
                self._waiting[tenant] = turn  # behind the others
            try:
                verdict = await self._try(key)
            except OSError as error:
                why = f"constraints are tried in a process that cannot start: {error}"
                self._results.pop(key).set_exception(_unavailable(why))
                continue
            self._verdicts[key] = verdict
            if len(self._verdicts) > KEPT:
                self._verdicts.popitem(last=False)
            self._results.pop(key).set_result(verdict)

    async def _try(self, key: wire.Constraint) -> str | None:
        process = self._process or await self._start()
        assert process.stdin is not None  # noqa: S101 both are pipes
        assert process.stdout is not None  # noqa: S101
        try:
            process.stdin.write(msgspec.json.encode(key) + b"\n")
            await process.stdin.drain()
            line = await asyncio.wait_for(process.stdout.readline(), _WALL_S)
        except (TimeoutError, ConnectionError):
            line = b""
        if line.endswith(b"\n"):
            verdict: str | None = _answers.decode(line)
            return verdict
        await self._end()
        return f"{EXHAUSTED}; make it smaller"

    async def _start(self) -> asyncio.subprocess.Process:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", _MODULE, str(os.getpid()), str(self._cpu_s),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            limit=_LINE,
        )  # fmt: skip
        return self._process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


def _retrieve(result: asyncio.Future[str | None]) -> None:
    """Whoever waited may have gone."""
    if not result.cancelled():
        result.exception()


def _unavailable(why: str) -> failures.Unavailable:
    return failures.Unavailable(why, code="worker_unavailable", retry_after_us=_RETRY_US)
