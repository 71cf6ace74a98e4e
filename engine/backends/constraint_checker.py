"""Has constraints tried in a process that may die of them, before any worker compiles one.

One process, started with the first constraint and after each death. Verdicts are kept, so that
what killed it is not tried again; a constraint is tried once more when the process was killed from
outside. Tenants take turns: one that sends a flood of slow ones delays its own. What no request
waits for any more is not tried. Imported by the fleet.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import sys
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Final

import msgspec

from engine.execution import failures
from engine.serving import wire

CPU_S: Final = 3
KEPT: Final = 1024
WAITING_LIMIT: Final = 256
"""Constraints that may wait to be tried."""
TENANT_LIMIT: Final = WAITING_LIMIT // 4
"""Of one tenant while others wait; one alone leaves as many places to those who come."""
EXHAUSTED: Final = "it takes too much time or memory to compile"
"""How a reason begins of a constraint that was not tried to its end."""
_WALL_S: Final = 60.0
_RETRY_US: Final = 1_000_000
_LINE: Final = 1 << 16
_PASSED_ON: Final = ("LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH")
_KILLED: Final = frozenset({-signal.SIGKILL, -signal.SIGTERM})
"""How a process ends that did not die of a constraint: its limits end it by other signals."""
_ATTEMPTS: Final = 2
_MODULE: Final = "engine.serving.constraints.check"

_answers: Final = msgspec.json.Decoder(str | None)


@dataclass(slots=True, eq=False)
class _Trial:
    """A constraint without a verdict. `callers` are the requests that wait for it."""

    constraint: wire.Constraint
    tenant: str
    result: asyncio.Future[str | None]
    callers: int = 0


class Checker:
    """Starts no process before the first constraint. Close it."""

    def __init__(self, *, cpu_s: int = CPU_S) -> None:
        """`cpu_s` is the processor time for one constraint."""
        self._cpu_s = cpu_s
        self._verdicts: OrderedDict[bytes, str | None] = OrderedDict()
        self._waiting: dict[str, deque[bytes]] = {}
        self._trials: dict[bytes, _Trial] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._running: asyncio.Task[None] | None = None
        self._closed = False

    async def check(self, constraint: wire.Constraint, tenant: str, within_s: float) -> None:
        """Return if workers can hold the constraint.

        Raises:
            failures.Invalid: they cannot; `param` is the constraint's field.
            failures.Overloaded, failures.Unavailable: it cannot be tried now, or not in time.
        """
        key = _key(constraint)
        if key in self._verdicts:
            self._verdicts.move_to_end(key)
            reason = self._verdicts[key]
        else:
            reason = await self._ask(key, constraint, tenant, within_s)
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
        for trial in self._trials.values():
            if not trial.result.done():
                trial.result.set_exception(_unavailable("the gateway is stopping"))
        await self._end()

    async def _ask(
        self, key: bytes, constraint: wire.Constraint, tenant: str, within_s: float
    ) -> str | None:
        if self._closed:
            raise _unavailable("the gateway is stopping")
        trial = self._trials.get(key) or self._added(key, constraint, tenant)
        trial.callers += 1
        try:
            return await asyncio.wait_for(asyncio.shield(trial.result), within_s)
        except TimeoutError:
            raise failures.Unavailable(
                f"the constraint could not be compiled within {within_s:g} s", code="deadline"
            ) from None
        finally:
            trial.callers -= 1
            if not trial.callers:
                self._drop(key, trial)

    def _added(self, key: bytes, constraint: wire.Constraint, tenant: str) -> _Trial:
        """A trial that waits for its turn."""
        own = len(self._waiting.get(tenant, ()))
        alone = self._waiting.keys() <= {tenant}
        most = WAITING_LIMIT - TENANT_LIMIT if alone else TENANT_LIMIT
        if own >= most or len(self._trials) >= WAITING_LIMIT:
            many = f"{own} constraints of yours" if own >= most else f"{WAITING_LIMIT} constraints"
            raise failures.Overloaded(
                f"{many} already wait to be compiled; try again in a moment",
                code="queue_full",
                retry_after_us=_RETRY_US,
            )
        result: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        result.add_done_callback(_retrieve)
        trial = self._trials[key] = _Trial(constraint, tenant, result)
        self._waiting.setdefault(tenant, deque()).append(key)
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run(), name="constraints")
        return trial

    def _drop(self, key: bytes, trial: _Trial) -> None:
        """Forget a constraint if it still waits for its turn."""
        turn = self._waiting.get(trial.tenant, deque())
        if self._trials.get(key) is trial and key in turn:
            turn.remove(key)
            del self._trials[key]
            if not turn:
                del self._waiting[trial.tenant]

    async def _run(self) -> None:
        """Try what waits, one tenant after the other."""
        while self._waiting:
            tenant = next(iter(self._waiting))
            turn = self._waiting.pop(tenant)
            key = turn.popleft()
            if turn:
                self._waiting[tenant] = turn  # behind the others
            try:
                verdict = await self._try(self._trials[key].constraint)
            except OSError as error:
                why = f"constraints are tried in a process that cannot start: {error}"
                self._trials.pop(key).result.set_exception(_unavailable(why))
                continue
            self._verdicts[key] = verdict
            if len(self._verdicts) > KEPT:
                self._verdicts.popitem(last=False)
            self._trials.pop(key).result.set_result(verdict)

    async def _try(self, constraint: wire.Constraint) -> str | None:
        line = msgspec.json.encode(constraint) + b"\n"
        for _ in range(_ATTEMPTS):
            process = await self._ready()
            try:
                answer = await asyncio.wait_for(_answer(process, line), _WALL_S)
                if answer.endswith(b"\n"):
                    verdict: str | None = _answers.decode(answer)
                    return verdict
                code = await asyncio.wait_for(process.wait(), _WALL_S)
            except TimeoutError:
                code = 0
            await self._end()
            if code not in _KILLED:
                break
        return f"{EXHAUSTED}; make it smaller"

    async def _ready(self) -> asyncio.subprocess.Process:
        """The process that tries constraints; another if it has died meanwhile."""
        if self._process is not None and self._process.returncode is not None:
            await self._end()
        return self._process or await self._start()

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


async def _answer(process: asyncio.subprocess.Process, line: bytes) -> bytes:
    """What a process answers to a line; nothing if it dies."""
    assert process.stdin is not None  # noqa: S101 both are pipes
    assert process.stdout is not None  # noqa: S101
    try:
        process.stdin.write(line)
        await process.stdin.drain()
        return await process.stdout.readline()
    except ConnectionError:
        return b""


def _key(constraint: wire.Constraint) -> bytes:
    """What is kept of a constraint, which may be large: its hash."""
    known = msgspec.structs.replace(constraint, field="")
    return hashlib.sha256(msgspec.json.encode(known)).digest()


def _retrieve(result: asyncio.Future[str | None]) -> None:
    """Whoever waited may have gone."""
    if not result.cancelled():
        result.exception()


def _unavailable(why: str) -> failures.Unavailable:
    return failures.Unavailable(why, code="worker_unavailable", retry_after_us=_RETRY_US)
