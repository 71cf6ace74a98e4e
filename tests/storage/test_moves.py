"""Moves: only legal ones, exactly one winner, each with its ledger row."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncSession

from storage import ab_tests, errors, intents, jobs, ledger, models, moves, processes, rollouts
from storage import store as stores
from storage.home.paths import Home
from storage.intents import IntentRow
from storage.store import Store

TABLES: tuple[moves.Table[Any], ...] = (
    ab_tests.MOVES,
    intents.MOVES,
    jobs.MOVES,
    models.MOVES,
    processes.MOVES,
    rollouts.MOVES,
)


async def accept(s: AsyncSession, verb: str = "services.undo") -> int:
    """An accepted intent."""
    return await intents.accept(
        s, actor="sara", role="operator", verb=verb, target="support", arguments={}, at_us=1
    )


def claim(by: str) -> Any:
    """The work that claims the next intent."""
    return lambda s: intents.claim(s, verbs=["services.undo"], by=by, at_us=2)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.noun)
def test_every_state_is_in_the_table_and_can_be_reached(table: moves.Table[Any]) -> None:
    """A state that cannot be reached, or that the table forgot, is a mistake."""
    states = frozenset(type(next(iter(table.begins))).__members__.values())
    assert set(table.legal) == states
    reached, edge = set(table.begins), set(table.begins)
    while edge:
        edge = {to for frm in edge for to in table.legal[frm]} - reached
        reached |= edge
    assert reached == states


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.noun)
def test_every_state_tells_its_story(table: moves.Table[Any]) -> None:
    """The docstring says of each member who moves it, when, and what a crash leaves."""
    enum = type(next(iter(table.begins)))
    for state in enum:
        assert f"\n{state.name}: " in inspect.cleandoc(enum.__doc__ or "")


async def test_of_many_who_move_one_row_exactly_one_wins(home: Home) -> None:
    """Several processes saw the same state; the first to act moves it, the others are told."""
    opened = [await stores.open(home) for _ in range(4)]

    async def end(s: AsyncSession, outcome: str) -> None:
        await intents.end(s, 1, intents.State.APPLIED, outcome, 3)

    try:
        await opened[0].write(accept)
        await opened[0].write(claim("control"))
        tried = await asyncio.gather(
            *(
                each.write(lambda s, n=number: end(s, f"by {n}"))  # type: ignore[misc]
                for number, each in enumerate(opened)
            ),
            return_exceptions=True,
        )
        async with opened[0].read() as s:
            kept = await intents.find(s, 1)
            told = await ledger.of(s, "intent", "1")
    finally:
        for each in opened:
            await each.close()
    assert [result is None for result in tried].count(True) == 1
    assert {type(result) for result in tried} == {type(None), errors.Moved}
    assert kept.outcome == f"by {tried.index(None)}"
    assert [entry.verb for entry in told] == ["applied", "claimed"]


async def test_a_claim_is_given_once(store: Store) -> None:
    """Ten who ask, three intents: three get one each, oldest first; nothing else is taken."""
    for verb in ("services.undo", "keys.revoke", "services.undo", "services.undo"):
        await store.write(lambda s, verb=verb: accept(s, verb))  # type: ignore[misc]
    got = await asyncio.gather(*(store.write(claim(f"c{n}")) for n in range(10)))
    assert [intent.id for intent in got if intent is not None] == [1, 3, 4]
    assert got[3:] == [None] * 7


async def test_an_illegal_move_names_the_legal_ones(store: Store) -> None:
    """What the table does not hold is refused before the row is looked at."""
    await store.write(accept)
    with pytest.raises(errors.Invalid, match="legal: claimed"):
        await store.write(
            lambda s: moves.move(
                s,
                intents.MOVES,
                IntentRow,
                1,
                intents.State.ACCEPTED,
                intents.State.APPLIED,
                actor="x",
                at_us=2,
            )
        )


async def test_a_refused_move_names_the_current_state(store: Store) -> None:
    """Stale, and gone, are two different answers."""

    def move(id: int) -> Any:
        return lambda s: moves.move(
            s,
            intents.MOVES,
            IntentRow,
            id,
            intents.State.CLAIMED,
            intents.State.FAILED,
            actor="x",
            at_us=2,
        )

    await store.write(accept)
    with pytest.raises(errors.Moved, match="it is accepted, not claimed"):
        await store.write(move(1))
    with pytest.raises(errors.NotFound, match="no intent 2"):
        await store.write(move(2))


async def test_an_intent_ends_once_and_only_in_an_end(store: Store) -> None:
    """Ending needs a claim, by the one who ends it; what has ended stays so."""
    await store.write(accept)
    State = intents.State  # noqa: N806
    with pytest.raises(errors.Moved):
        await store.write(lambda s: intents.end(s, 1, State.APPLIED, "done", 3))
    await store.write(claim("control"))
    with pytest.raises(errors.Invalid, match="claimed is not a final state"):
        await store.write(lambda s: intents.end(s, 1, State.CLAIMED, "done", 3))
    with pytest.raises(errors.Moved, match="claimed by control"):
        await store.write(lambda s: intents.end(s, 1, State.APPLIED, "done", 3, by="runner"))
    await store.write(lambda s: intents.end(s, 1, State.REFUSED, "no", 3, by="control"))
    with pytest.raises(errors.Moved, match="it is refused"):
        await store.write(lambda s: intents.end(s, 1, State.APPLIED, "done", 4))
    async with store.read() as s:
        kept = await intents.find(s, 1)
    assert (kept.state, kept.outcome, kept.ended_at_us) == (State.REFUSED, "no", 3)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(st.sampled_from(list(processes.State)), max_size=8))
async def test_a_process_only_goes_where_the_table_says(
    store: Store, steps: list[processes.State]
) -> None:
    """Whatever is asked in whatever order: the row and the ledger agree with a model of it."""

    async def work(s: AsyncSession) -> tuple[processes.State, processes.State, int, int]:
        await processes.forget(s, "gateway")
        before = len(await ledger.of(s, "process", "gateway", 10_000))
        await processes.declare(s, name="gateway", kind=processes.Kind.GATEWAY, at_us=1)
        expected, moved = processes.State.STARTING, 0
        for step in steps:
            legal = step in processes.MOVES.legal[expected]
            try:
                await processes.move(s, "gateway", step, at_us=2)
            except errors.Invalid:
                assert not legal
                assert step is not expected
                continue
            moved += step is not expected
            expected = step
        (found,) = await processes.every(s)
        after = len(await ledger.of(s, "process", "gateway", 10_000))
        return found.state, expected, after - before, moved

    state, expected, told, moved = await store.write(work)
    assert (state, told) == (expected, moved)


async def test_a_part_that_is_declared_again_starts_afresh(store: Store) -> None:
    """Whatever stood there, even an end that was never written, it is starting from now on."""

    async def work(s: AsyncSession) -> processes.Process:
        for restarts in range(2):
            await processes.declare(
                s, name="w", kind=processes.Kind.WORKER, at_us=restarts, restarts=restarts, pid=5
            )
            await processes.move(s, "w", processes.State.READY, at_us=2, sha256="ab", build="b1")
        await processes.move(s, "w", processes.State.CRASHED, at_us=3, reason="signal 9")
        await processes.declare(s, name="w", kind=processes.Kind.WORKER, at_us=9, restarts=2, pid=6)
        return (await processes.every(s))[0]

    assert await store.write(work) == processes.Process(
        name="w",
        kind=processes.Kind.WORKER,
        pid=6,
        state=processes.State.STARTING,
        reason=None,
        started_at_us=9,
        restarts=2,
        deployment=None,
        model_version_id=None,
        sha256=None,
        build=None,
    )


async def test_intents_and_entries_are_read_page_by_page(store: Store) -> None:
    """Newest first; the next page begins before the last of this one."""
    for _ in range(5):
        await store.write(accept)
        await store.write(claim("control"))
    async with store.read() as s:
        pages = [await intents.tail(s, 3), await intents.tail(s, 3, before_id=3)]
        told = [await ledger.tail(s, 2), await ledger.tail(s, 2, before_id=2)]
        with pytest.raises(errors.NotFound, match="paddock intents tail"):
            await intents.find(s, 99)
    assert [[intent.id for intent in page] for page in pages] == [[5, 4, 3], [2, 1]]
    assert [[(entry.id, entry.key) for entry in page] for page in told] == [
        [(5, "5"), (4, "4")],
        [(1, "1")],
    ]


async def test_a_node_that_left_says_when(store: Store) -> None:
    """The newest run counts; one that was killed has no end."""

    async def work(s: AsyncSession) -> list[processes.NodeRun | None]:
        seen = [await processes.node_now(s)]
        for pid in (1, 2):
            await processes.node_started(s, pid=pid, at_us=pid, host="box01", version="0.1.0")
            seen.append(await processes.node_now(s))
        await processes.node_stopped(s, at_us=9)
        return [*seen, await processes.node_now(s)]

    runs = await store.write(work)
    assert [run and (run.pid, run.stopped_at_us) for run in runs] == [
        None,
        (1, None),
        (2, None),
        (2, 9),
    ]
