"""A control that is killed after any write of any act, of every default strategy.

A kill within a transaction leaves what SQLite had before it, so it is played by an error in place
of the next statement; tests/engine/node/test_rollouts.py kills real nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from sqlalchemy import Connection, event, text

from engine.control.rollouts.controller import Rollouts
from storage import jobs, rollout_steps
from storage.rollout_steps import DEFAULTS, Mirror, Pause, Strategy, Webhook
from storage.rollouts import State
from storage.store import Session
from tests.engine.control.rollouts import worlds
from tests.engine.control.rollouts.invariants import check
from tests.engine.control.rollouts.walks import ENOUGH
from tests.engine.control.rollouts.worlds import World

WRITES: Final = ("INSERT", "UPDATE", "DELETE")
TABLES: Final = ("rollouts", "rollout_events", "rollout_looks", "services", "splits", "jobs")
ASK: Final = Webhook("http://far/gate")


class Killed(Exception):
    """The process ends here."""


@contextmanager
def killed_after(connection: Connection, writes: int) -> Iterator[None]:
    """End with the write of this number, counted from 1."""
    seen = 0

    def executed(_: object, __: object, statement: str, *___: object) -> None:
        nonlocal seen
        seen += statement.lstrip().upper().startswith(WRITES)
        if seen == writes:
            raise Killed

    event.listen(connection, "after_cursor_execute", executed)
    try:
        yield
    finally:
        event.remove(connection, "after_cursor_execute", executed)


async def stored(world: World) -> dict[str, list[Any]]:
    """All that a rollout writes."""
    async with world.store.read() as s:
        return {
            table: [tuple(row) for row in await s.execute(text(f"SELECT * FROM {table}"))]  # noqa: S608
            for table in TABLES
        }


async def turn(world: World, writes: int) -> bool:
    """A turn of a new controller that is killed after so many writes; whether it was not."""
    controller = Rollouts()

    async def work(s: Session) -> bool:
        decision = controller.decide(await controller.observe(s, world.now_us), world.now_us)
        if decision.plan is None:
            return False
        connection = await s.connection()
        assert connection.sync_connection is not None
        with killed_after(connection.sync_connection, writes):
            await controller.act(s, decision, world.now_us)
        return True

    return await world.store.write(work)


async def killed_turns(world: World) -> bool:
    """The next act, killed after each of its writes and then let be; False if there is none."""
    before, writes = await stored(world), 1
    while True:
        try:
            acted = await turn(world, writes)
        except Killed:
            assert await stored(world) == before
            writes += 1
            continue
        if acted:
            assert writes > 1, "an act writes something"
            await check(world)
        return acted


async def lead(world: World) -> None:
    """What the node, the jobs, the clients, a person and the clock do next for the rollout."""
    rollout = await world.rollout()
    match rollout.state, rollout.current:
        case State.LOADING, _:
            await world.load(worlds.CANDIDATE)
        case State.SMOKING, _:
            await world.smoke()
        case State.PAUSED, _:
            await world.ask("rollouts.promote", rollout=rollout.id)
        case _, Webhook():
            await world.answer(proceed=True)
        case _, Mirror():
            world.wait(10)
            await world.mirror(ENOUGH)
        case _, Pause(duration_s):
            world.wait(duration_s or 0)
        case _:
            world.wait(10)
            await world.serve(ENOUGH)


@pytest.mark.parametrize("strategy", Strategy)
async def test_a_control_killed_after_any_write_changed_nothing_and_the_next_one_continues(
    tmp_path: Path, strategy: Strategy
) -> None:
    """Each act is all or nothing, and happens once; each question is asked once."""
    async with worlds.made(tmp_path / "home") as world:
        steps = rollout_steps.with_webhooks(DEFAULTS[strategy], before=ASK, after=ASK)
        await world.start(strategy=strategy.value, steps=msgspec.to_builtins(steps))
        while (await world.rollout()).state is not State.COMPLETED:
            while await killed_turns(world):
                pass
            await lead(world)
        moves = [(move.after, move.step) for move in await world.events()]
        entered = [step for after, step in moves if after is State.STEPPING]
        assert entered == list(range(len(steps)))
        async with world.store.read() as s:
            asked = [each for each in await jobs.tail(s) if "-step-" in str(each.arguments)]
        assert len(asked) == sum(isinstance(step, Webhook) for step in steps)
