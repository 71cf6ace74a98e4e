"""A step whose verify is not met undoes itself, and does so once wherever the runner is killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from storage import intents, knobs, run_events, run_steps, runs
from storage.run_steps import Result
from storage.samples import Kind
from storage.store import Session, Store
from tests.runbooks import worlds
from tests.runbooks.worlds import World, host, instance, latency

OPS = "ops-1.0.0"
BOOK = """
name: loosen
title: Tries a larger batch and takes it back where that does not help
when: In tests.
steps:
  - name: batch
    sentence: Run more requests at once.
    look: {probe: knob_max_running, of: ops-1.0.0}
    do: {verb: knobs.set, target: ops-1.0.0, arguments: {name: max_running, value: "{looked} * 2"}}
    verify:
      probe: latency_p95_ms
      of: support
      expected: "<= 2000"
      timeout_s: 0.1
      unmet: undo
    undo: {verb: knobs.undo, target: ops-1.0.0, arguments: {name: max_running, intent: "{intent}"}}
    branch:
      - {if: verified, to: end}
  - name: then
    sentence: Look on.
    look: {probe: knob_max_running, of: ops-1.0.0}
"""


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A slow box, which a larger batch makes slower."""
    async with worlds.world(tmp_path / "home", monkeypatch, walks=False) as made:
        own = made.store.home.root / "runbooks"
        own.mkdir()
        (own / "loosen.yaml").write_text(BOOK)
        await made.must("knobs.set", OPS, name="max_running", value=4)
        made.reacts["knobs.set max_running"] = _slower
        yield made


async def _slow(world: World, ms: int) -> None:
    await world.measured(
        (Kind.ARM, "support/r1", latency(ms)),
        (Kind.INSTANCE, f"{OPS}:1", instance(waiting=9)),
        (Kind.HOST, "box", host()),
    )


async def _slower(world: World) -> None:
    await _slow(world, 9000)


async def _max_running(world: World) -> int | None:
    found: dict[str, int] = await world.read(lambda s: knobs.of(s, OPS))
    return found["max_running"]


async def _started(world: World) -> int:
    """A run that no process walks yet."""
    await _slow(world, 6000)
    number: int = await world.store.write(
        lambda s: intents.accept(
            s, actor="kim", role="admin", verb="runbooks.start", target="loosen", arguments={},
            at_us=5,
        )
    )  # fmt: skip
    return number


async def _ended(world: World, number: int) -> tuple[runs.Run, dict[str, run_steps.Step]]:
    await world.until(lambda s: intents.find(s, number), lambda found: found.ended_at_us)
    return await world.run(await world.read(lambda s: intents.find(s, number)))


async def test_a_step_that_does_not_help_is_undone_and_the_run_continues(world: World) -> None:
    """It says what the value was before and after; the undo of the run has nothing left to do."""
    async with world.walks(world.store):
        run, steps = await _ended(world, await _started(world))
        batch = steps["batch"]
        assert (run.state, batch.outcome) == (runs.State.DONE, Result.UNDONE)
        assert (round(float(batch.before or 0), -2), round(float(batch.after or 0), -2)) == (
            6000,
            9000,
        )
        assert "max_running is 8 (before: 4); latency_p95_ms is 9" in (batch.sentence or "")
        assert "undone: ops-1.0.0: max_running is 4 (before: 8)" in (batch.sentence or "")
        assert (steps["then"].looked, await _max_running(world)) == (4, 4)
        said = [each.kind.value for each in await world.read(lambda s: run_events.of(s, run.id))]
        assert said == ["began", "looked", "acted", "verified", "undone", "looked", "ended"]
        assert "reverts" not in (run.reason or "")
        refused = await world.person("runbooks.undo", str(run.id))
        assert "changed nothing that is still to be undone" in (refused.outcome or "")


async def test_what_another_changed_since_is_not_undone(world: World) -> None:
    """The step fails; undoing it would take the change of that person back."""

    async def changed(world: World) -> None:
        await _slower(world)
        world.reacts.clear()
        await world.control.accept("knobs.set", OPS, name="max_running", value=6)

    world.reacts["knobs.set max_running"] = changed
    async with world.walks(world.store):
        run, steps = await _ended(world, await _started(world))
    assert (run.state, steps["batch"].outcome) == (runs.State.FAILED, Result.FAILED)
    assert "not undone: " in (steps["batch"].sentence or "")
    assert await _max_running(world) == 6


class Mortal:
    """A store whose user is killed after so many writes."""

    def __init__(self, store: Store, writes: int) -> None:
        self._store = store
        self._left = writes
        self.dead = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        """All else is the store's own."""
        return getattr(self._store, name)

    async def write(self, work: Any, **how: Any) -> Any:
        """The last one happens; then nothing more does."""
        if self._left == 0:
            self.dead.set()
            await asyncio.Event().wait()
        if how.get("nudge", True):  # a look for work that finds none is not counted
            self._left -= 1
        return await self._store.write(work, **how)


async def test_a_runner_that_is_killed_at_any_write_acts_once_and_undoes_once(world: World) -> None:
    """Between the action and its undo, too; what the undo brought back counts for no verify."""
    for writes in range(2, 11):
        mortal = Mortal(world.store, writes)
        number = await _started(world)
        async with world.walks(cast("Store", mortal)):
            await _dies_or_ends(world, mortal, number)
        await _slow(world, 300)  # a second verify would be met by now
        world.reacts.clear()
        async with world.walks(world.store):
            run, steps = await _ended(world, number)
        world.reacts["knobs.set max_running"] = _slower
        assert run.state is runs.State.DONE
        asked = await world.read(partial(_asked, number=number))
        if steps["batch"].outcome is Result.UNDONE:
            assert (asked, steps["then"].outcome) == (["knobs.set", "knobs.undo"], Result.DONE)
        else:  # killed before the verify gave up: it was met after the restart
            assert (asked, steps["batch"].outcome) == (["knobs.set"], Result.DONE)
            await world.must("knobs.set", OPS, name="max_running", value=4)
        assert await _max_running(world) == 4


async def _dies_or_ends(world: World, mortal: Mortal, number: int) -> None:
    dead = asyncio.create_task(mortal.dead.wait())
    ended = asyncio.create_task(_ended(world, number))
    await asyncio.wait({dead, ended}, return_when=asyncio.FIRST_COMPLETED)
    for task in (dead, ended):
        task.cancel()
    await asyncio.gather(dead, ended, return_exceptions=True)


async def _asked(s: Session, number: int) -> list[str]:
    """What a run asked for, in order."""
    found = await intents.tail(s, 20)
    return [each.verb for each in reversed(found) if each.on_behalf_of == number]
