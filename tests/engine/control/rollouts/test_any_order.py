"""People, the node, clients and the clock in any order: what always holds of a rollout."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import rollout_steps, rollouts
from storage import store as stores
from storage.home.paths import Home
from storage.rollout_steps import DEFAULTS, HOUR_S, OnNo, Strategy, Webhook
from storage.rollouts import State
from tests.engine.control.rollouts import worlds
from tests.engine.control.rollouts.invariants import check
from tests.engine.control.rollouts.worlds import CANDIDATE, World

Op = tuple[str, Any]

_copies = itertools.count()
VERBS = ("pause", "promote", "full", "abort", "retry", "undo", "freeze", "unfreeze")

ops: st.SearchStrategy[Op] = st.one_of(
    st.tuples(st.just("verb"), st.sampled_from(VERBS)),
    st.tuples(st.just("load"), st.none()),
    st.tuples(st.just("crash"), st.sampled_from([1, 3])),
    st.tuples(st.just("smoke"), st.booleans()),
    st.tuples(st.just("answer"), st.sampled_from([True, False, None])),
    st.tuples(st.just("serve"), st.sampled_from([(1, 0), (320, 0), (320, 1), (60, 30)])),
    st.tuples(st.just("wait"), st.sampled_from([1, 10, 600, HOUR_S])),
    st.tuples(st.just("turn"), st.integers(1, 4)),
)
HOOKS: list[dict[str, Webhook]] = [
    {},
    {"before": Webhook("http://far/gate")},
    {"after": Webhook("http://far/gate", on_no=OnNo.ABORT)},
]
BEGUN: list[Op] = [("load", None), ("turn", 4), ("smoke", True), ("turn", 4)]
quick = st.sampled_from([BEGUN, BEGUN, []])


@pytest_asyncio.fixture
async def template(tmp_path: Path) -> Path:
    """A home to copy: made once, so that an example costs no migrations."""
    async with worlds.made(tmp_path / "template"):
        pass
    return tmp_path / "template"


async def wait(world: World, seconds: int) -> None:
    """Time passes; in an hour control has been at work."""
    world.wait(seconds)
    if seconds == HOUR_S:
        await world.settle()


async def serve(world: World, count: int, *, failed: int) -> None:
    """The candidate answers clients, or copies of their requests."""
    mirrored = (await world.rollout()).mirror is not None
    await (world.mirror if mirrored else world.serve)(count, failed=failed)


async def do(world: World, op: Op) -> None:
    """One thing happens."""
    kind, what = op
    match kind:
        case "verb" if what in {"freeze", "unfreeze"}:
            await world.ask(f"services.{what}", reason="why not")
        case "verb":
            newest = await world.rollout()
            more: dict[str, Any] = {"full": True} if what == "full" else {}
            verb = "promote" if what == "full" else what
            await world.ask(f"rollouts.{verb}", rollout=newest.id, **more)
        case "load":
            await world.load(CANDIDATE)
        case "crash":
            await world.crash(CANDIDATE, restarts=what)
        case "smoke" | "answer":
            await (world.smoke(answered=what) if kind == "smoke" else world.answer(proceed=what))
        case "serve":
            await serve(world, what[0], failed=what[1])
        case "wait":
            await wait(world, what)
        case "turn":
            for _ in range(what):
                await world.turn()


async def live(home: Path, work: Callable[[World], Any]) -> None:
    """A world on a copy of the template."""
    copy = home.parent / f"copy-{next(_copies)}"
    shutil.copytree(home, copy, ignore=shutil.ignore_patterns("*.sock", "run"))
    store = await stores.open(Home(copy))
    try:
        await work(World(store))
    finally:
        await store.close()
        shutil.rmtree(copy)


@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    strategy=st.sampled_from(Strategy), hooks=st.sampled_from(HOOKS), before=quick,
    then=st.lists(ops, max_size=12),
)  # fmt: skip
async def test_whatever_happens_traffic_is_on_a_legal_split_and_nothing_is_decided_twice(
    template: Path,
    strategy: Strategy,
    hooks: Mapping[str, Webhook],
    before: Sequence[Op],
    then: Sequence[Op],
) -> None:
    """After every event; and once it settles, another look does nothing."""

    async def work(world: World) -> None:
        steps = rollout_steps.with_webhooks(DEFAULTS[strategy], **hooks)
        started = await world.start(
            strategy=strategy.value, steps=msgspec.to_builtins(steps), notify=["http://far/news"]
        )
        assert started.steps == steps
        for op in [*before, *then]:
            await do(world, op)
            await check(world)
        await world.settle()
        await check(world)
        settled = await world.rollout()
        assert await world.settle() == []
        assert await world.rollout() == settled

    await live(template, work)


@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(then=st.lists(ops.filter(lambda op: op[0] != "verb"), max_size=10))
async def test_a_rollout_that_has_ended_is_led_on_by_people_alone(
    template: Path, then: Sequence[Op]
) -> None:
    """Neither the clock, nor clients, nor the node move it."""

    async def work(world: World) -> None:
        await world.start()
        await world.ask("rollouts.abort", rollout=1)
        ended = await world.rollout()
        assert ended.state is State.ABORTED
        for op in then:
            await do(world, op)
        await world.settle()
        assert (await world.rollout()).version == ended.version
        async with world.store.read() as s:
            assert len(await rollouts.tail(s)) == 1

    await live(template, work)
