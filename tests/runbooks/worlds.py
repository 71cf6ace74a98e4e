"""A box in one process: a store, a control that carries out intents, a runner that walks runs.

Faults are recorded as measurements and states, as the node and the gateway would record them; what
an action brings about is recorded when control carries it out. Imported by tests of runbooks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runbooks import actions, catalog, parsing, runner, steps, values
from runbooks.steps import Runbook
from storage import automations, intents, processes, run_steps, runs, samples
from storage.control_socket import client, nudges, verbs
from storage.home.paths import Home
from storage.intents import Intent, State
from storage.processes import Kind as ProcessKind
from storage.runs import Run
from storage.samples import ArmSample, GpuSample, HostSample, InstanceSample, Kind
from storage.sketches import Sketch
from storage.store import Session, Store
from tests.engine.control.desks import Desk, desk
from tests.storage import fixtures

BEGIN_S = 1_790_000_000
React = Callable[["World"], Awaitable[None]]
_BOUND_S = 120.0
_VERBS = verbs.carried_out_by(verbs.Process.CONTROL)


class World:
    """The box. `reacts` are by verb, and by verb and knob: what happens as it is carried out."""

    def __init__(self, control: Desk) -> None:
        self.control = control
        self.store: Store = control.store
        self.second = BEGIN_S
        self.reacts: dict[str, React] = {}
        self.asked: list[str] = []

    def now_us(self) -> int:
        """The clock of the runner."""
        return self.second * 1_000_000

    async def measured(self, *rows: tuple[Kind, str, samples.Sample]) -> None:
        """Record what was measured, ten minutes after everything before it."""
        self.second += 600
        await self.store.write(lambda s: samples.record(s, self.second, rows))

    async def process(self, name: str, state: processes.State, **more: Any) -> None:
        """Record a process of the node."""

        async def work(s: Session) -> None:
            if name not in {each.name for each in await processes.every(s)}:
                await processes.declare(
                    s, name=name, kind=ProcessKind.WORKER, at_us=1,
                    deployment=samples.deployment(name), restarts=more.get("restarts", 0),
                )  # fmt: skip
            await processes.move(s, name, state, at_us=2, **more)

        await self.store.write(work)

    async def person(self, verb: str, target: str = "", **asked: Any) -> Intent:
        """Ask as kim, and wait for how it ends."""
        number = await self.control.accept(verb, target, **asked)
        async with asyncio.timeout(_BOUND_S):
            return await client.wait(self.store, number, _BOUND_S)

    async def must(self, verb: str, target: str = "", **asked: Any) -> str:
        """The same, and it is applied."""
        ended = await self.person(verb, target, **asked)
        assert ended.state is State.APPLIED, f"{verb} {target}: {ended.outcome}"
        return ended.outcome or ""

    async def read(self, work: Callable[[Session], Awaitable[Any]]) -> Any:
        """What the store has now."""
        async with self.store.read() as s:
            return await work(s)

    async def until(
        self, work: Callable[[Session], Awaitable[Any]], holds: Callable[[Any], bool]
    ) -> Any:
        """What the store has as soon as it is as wanted."""
        async with asyncio.timeout(_BOUND_S):
            with nudges.listen(self.store.home, "test-until") as listener:
                while True:
                    found = await self.read(work)
                    if found is not None and holds(found):
                        return found
                    await listener.wait(timeout_s=0.25)

    async def until_said(self, words: str) -> str:
        """What automation decided, as soon as it says so."""
        found = await self.until(
            automations.every, lambda each: bool(each) and words in (each[0].said or "")
        )
        return str(found[0].said)

    async def run(self, of: Intent) -> tuple[Run, dict[str, run_steps.Step]]:
        """The newest run that an intent began, with its steps."""
        run = await self.read(lambda s: runs.of_intent(s, of.id))
        found = await self.read(lambda s: run_steps.of(s, run.id))
        return run, {step.name: step for step in found}

    async def walked(self, book: str, **inputs: str) -> tuple[Run, dict[str, run_steps.Step]]:
        """Walk a runbook as a person who lets each step act, and confirms what is asked."""
        started = await self.person("runbooks.start", book, inputs=inputs)
        assert started.state is State.APPLIED, started.outcome
        run, found = await self.run(started)
        while run.state is runs.State.WAITING:
            assert run.waits_for is not runs.Waits.DECIDE, found[run.waits_at or ""].sentence
            verb = "next" if run.waits_for is runs.Waits.NEXT else "confirm"
            await self.must(f"runbooks.{verb}", str(run.id), step=run.waits_at)
            run, found = await self.run(started)
        return run, found

    @asynccontextmanager
    async def walks(self, store: Store) -> AsyncIterator[None]:
        """A runner is there; `store` is what it has for the box's store."""
        home = self.store.home
        walker = runner.Runner(store, lambda: books(home), now_us=self.now_us, again_s=0)
        with nudges.listen(home, "runner") as listener:
            async with _running(walker.run(listener)):
                yield

    async def _work(self) -> None:
        """Control: what is asked for has its effect as it is carried out."""
        with nudges.listen(self.store.home, "control") as listener:
            while True:
                waiting = await self.read(lambda s: intents.waiting(s, _VERBS))
                if waiting is None:
                    await listener.wait(timeout_s=0.25)
                    continue
                knob = waiting.arguments.get("name", "")
                for name in (waiting.verb, f"{waiting.verb} {knob}"):
                    if (react := self.reacts.get(name)) is not None:
                        await react(self)
                await self.control.ended(waiting.id)


def latency(ms: int, *, failed: int = 0, up: int = 0, down: int = 0) -> ArmSample:
    """A second of an arm with twenty requests that took so long."""
    sketch = Sketch()
    for _ in range(20):
        sketch.add(ms * 1000)
    return ArmSample(
        requests=20 + failed, ok=20, failed=failed, latency=sketch.to_dict(), thumbs_up=up,
        thumbs_down=down,
    )  # fmt: skip


def instance(*, running: int = 2, waiting: int = 0, kv: float = 0.1, busy: float = 0.1) -> Any:
    """A second of an instance."""
    return InstanceSample(
        running=running, waiting=waiting, max_running=16, kv_used_tokens=int(kv * 1000),
        kv_total_tokens=1000, busy_us=int(busy * 1_000_000), idle_us=int((1 - busy) * 1_000_000),
    )  # fmt: skip


def gpu(index: int = 0, *, celsius: int = 60, throttle: tuple[str, ...] = ()) -> GpuSample:
    """A second of a GPU."""
    return GpuSample(
        index=index, name="GPU", utilisation_percent=50.0, memory_used=10, memory_total=80,
        power_mw=1, power_limit_mw=2, temperature_c=celsius, throttle=throttle,
    )  # fmt: skip


def host(*, disk: float = 0.5) -> HostSample:
    """A second of the machine."""
    return HostSample(
        cpu_percent=1, cores=2, memory_used=2 * 10**9, memory_total=64 * 10**9,
        disk_used=int(disk * 1000), disk_total=1000, load1=0.1,
    )  # fmt: skip


def library(name: str) -> str:
    """The text of a shipped runbook."""
    return (parsing.LIBRARY / f"{name}.yaml").read_text()


def patient(book: Runbook) -> Runbook:
    """The same runbook, whose verifies look once: nothing changes by waiting here."""
    return msgspec.structs.replace(
        book,
        steps=tuple(
            step
            if step.verify is None
            else msgspec.structs.replace(
                step, verify=msgspec.structs.replace(step.verify, timeout_s=0.0)
            )
            for step in book.steps
        ),
    )


def books(home: Home) -> Mapping[str, Runbook | str]:
    """The runbooks as they are walked here."""
    return {
        name: patient(book) if isinstance(book, Runbook) else book
        for name, book in catalog.every(home).items()
    }


@asynccontextmanager
async def world(
    root: Path, monkeypatch: pytest.MonkeyPatch, *, walks: bool = True
) -> AsyncIterator[World]:
    """The box with the service support on r1 and r2; without `walks` the test brings a runner."""
    async with desk(root) as control:
        await fixtures.furnish(control.store)
        made = World(control)

        async def ask(
            _home: Home, run: Run, step: str, do: steps.Do, *, why: str,
            expected_version: int | None, seen: Mapping[str, values.Value],
        ) -> int:  # fmt: skip
            made.asked.append(f"{step}: {do.verb}")
            target = values.filled(do.target, run.inputs)
            given = values.arguments(do, run.inputs, seen)
            return await made.store.write(
                lambda s: intents.accept(
                    s, actor="kim", role="admin", verb=do.verb, target=target, arguments=given,
                    reason=why or "because", expected_version=expected_version, at_us=5,
                    on_behalf_of=run.driver, idempotency_key=f"run {run.id}, step {step}",
                )
            )  # fmt: skip

        monkeypatch.setattr(actions, "ask", ask)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(_running(made._work()))
            if walks:
                await stack.enter_async_context(made.walks(made.store))
            yield made


@asynccontextmanager
async def _running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Beside the test, and without a fault."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        assert not isinstance(ended, Exception), ended
