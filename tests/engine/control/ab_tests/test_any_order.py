"""People, the node, clients and the clock in any order: what always holds of an A/B test."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest_asyncio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import distinct, func, select
from sqlmodel import col

from storage import ab_test_events, ab_test_units, ab_tests
from storage import store as stores
from storage.ab_tests import EXPOSED, MOVES, OPEN, State, Why
from storage.home.paths import Home
from storage.requests import Outcome, RequestRow
from tests.engine.control.ab_tests import worlds
from tests.engine.control.ab_tests.worlds import CONTROL, TREATMENT, World

Op = tuple[str, Any]

_copies = itertools.count()
VERBS = ("stop", "promote", "promote r2", "undo", "freeze", "unfreeze", "start")

ops: st.SearchStrategy[Op] = st.one_of(
    st.tuples(st.just("verb"), st.sampled_from(VERBS)),
    st.tuples(st.just("load"), st.none()),
    st.tuples(st.just("crash"), st.sampled_from([1, 3])),
    st.tuples(st.just("visit"), st.sampled_from([(0, 30), (10, 60)])),
    st.tuples(st.just("like"), st.sampled_from([(0, 40), (20, 40), (20, 500)])),
    st.tuples(st.just("fail"), st.integers(5, 30)),
    st.tuples(st.just("wait"), st.sampled_from([1, 10, 3_600])),
    st.tuples(st.just("turn"), st.integers(1, 3)),
    st.tuples(st.just("settle"), st.none()),
)
BEGUN: list[Op] = [("load", None), ("turn", 3), ("like", (0, 40))]
quick = st.sampled_from([BEGUN, BEGUN, []])


@pytest_asyncio.fixture
async def template(tmp_path: Path) -> Path:
    """A home to copy: made once, so that an example costs no migrations."""
    async with worlds.made(tmp_path / "template"):
        pass
    return tmp_path / "template"


def users(of: tuple[int, int]) -> list[str]:
    """Some people; many of them come again."""
    return [f"user-{number}" for number in range(of[0], of[0] + of[1])]


async def verb(world: World, name: str) -> None:
    """A person asks for something, in vain or not."""
    newest = await world.test()
    match name:
        case "start":
            await world.ask("ab_tests.start", arms=worlds.ARMS, goals=[worlds.goal("thumbs_up")])
        case "undo":
            await world.ask("services.undo", to=newest.base_split_id)
        case "freeze" | "unfreeze":
            await world.ask(f"services.{name}", reason="why not")
        case "promote r2":
            await world.ask("ab_tests.promote", ab_test=newest.id, release="r2")
        case _:
            await world.ask(f"ab_tests.{name}", ab_test=newest.id)


async def do(world: World, op: Op) -> None:  # noqa: C901 a case for each event
    """One thing happens."""
    kind, what = op
    match kind:
        case "verb":
            await verb(world, what)
        case "load":
            await world.load(TREATMENT)
        case "crash":
            await world.crash(TREATMENT, restarts=what)
        case "visit":
            await world.visit(users(what))
        case "like":
            seen = await world.visit(users(what))
            await world.rate(seen, lambda _user, release: release == TREATMENT)
        case "fail":
            await world.visit(users((900, what)), outcome=failing)
        case "wait":
            world.wait(what)
        case "turn":
            for _ in range(what):
                await world.turn()
        case "settle":
            world.wait(10)
            await world.settle()
            await check(world, settled=True)


def failing(_user: str, release: int) -> Outcome:
    """The treatment gets no traffic."""
    return Outcome.FAILED if release == TREATMENT else Outcome.OK


async def check(world: World, *, settled: bool = False) -> None:
    """What holds after anything that happened; once it is settled, owner and state agree."""
    newest, service, weights = await world.test(), await world.service(), await world.weights()
    assert sum(weights.values()) == 10_000
    if service.owner == newest.owner:
        assert newest.state in OPEN
        halves = newest.state in EXPOSED
        assert weights == {CONTROL: 5_000 if halves else 10_000, TREATMENT: 5_000 * halves}
    elif settled:
        assert newest.state not in OPEN
    async with world.store.read() as s:
        every = await ab_tests.tail(s)
        moves = await ab_test_events.of(s, newest.id)
    assert sum(test.state in OPEN for test in every) <= (1 if settled else len(every))
    assert len(moves) == newest.version
    for before, after in itertools.pairwise(moves):
        assert after.before == before.after
        assert MOVES.allows(before.after, after.after)
    if newest.winner not in {None, CONTROL} and newest.state is State.ENDED:
        assert newest.why is Why.WINNER
    if settled and newest.state in EXPOSED:
        await check_units(world)


async def check_units(world: World) -> None:
    """Every unit that the gateway recorded is in the log once, and in one arm's count."""
    newest = await world.test()
    async with world.store.read() as s:
        query = select(func.count(distinct(col(RequestRow.unit))))
        recorded = await s.execute(query.where(col(RequestRow.ab_test) == newest.id))
        evidence = await ab_test_units.stored(s, newest.id)
    units = await world.units()
    assert len(units) == recorded.scalar_one() == evidence.units
    for arm in evidence.arms:
        assert arm.units == sum(unit.release == arm.release for unit in units)
        assert arm.rates[0].n == sum(
            unit.release == arm.release and unit.score is not None for unit in units
        )


@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(promotes=st.booleans(), before=quick, then=st.lists(ops, min_size=3, max_size=10))
@example(promotes=False, before=BEGUN, then=[("like", (20, 40)), ("turn", 1), ("like", (0, 40))])
@example(promotes=True, before=BEGUN, then=[("like", (20, 500)), ("settle", None), ("fail", 9)])
async def test_whatever_happens_the_split_is_legal_and_every_unit_counts_once(
    template: Path, promotes: bool, before: Sequence[Op], then: Sequence[Op]
) -> None:
    """After every event; and once it settles, another look does nothing."""
    copy = template.parent / f"copy-{next(_copies)}"
    shutil.copytree(template, copy, ignore=shutil.ignore_patterns("*.sock", "run"))
    store = await stores.open(Home(copy))
    try:
        world = World(store)
        await world.begin(promotes=promotes)
        for op in [*before, *then]:
            await do(world, op)
            await check(world)
        world.wait(10)
        await world.settle()
        await check(world, settled=True)
        ended = await world.test()
        assert await world.settle() == []
        assert await world.test() == ended
    finally:
        await store.close()
        shutil.rmtree(copy)
