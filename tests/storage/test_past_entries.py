"""The entries of a past moment are the same however many the ledger has, and are found at once."""

from __future__ import annotations

import random
from typing import Any, Final

import pytest
from sqlalchemy import event

from storage import ledger
from storage.ledger import Entry
from storage.past import entries, processes
from storage.processes import NodeRun
from storage.store import Session, Store

_VERBS: Final = ("starting", "ready", "crashed")
_TIMES: Final = [*range(10, 40), *range(20, 50)]  # the clock was set back once


@pytest.fixture
async def told(store: Store) -> list[Entry]:
    """Entries about processes and deployments, oldest first."""
    chance = random.Random(1)

    async def work(s: Session) -> None:
        for at_us in _TIMES:
            before, after = chance.sample(_VERBS, 2)
            await ledger.write(
                s, actor="node", verb=after, noun=chance.choice(("process", "deployment")),
                key=chance.choice(("control", "gateway", "runner", "zeta")), before=before,
                after=after, at_us=at_us,
            )  # fmt: skip

    await store.write(work)
    async with store.read() as s:
        return (await ledger.tail(s, 100))[::-1]


@pytest.mark.parametrize("many", [0, 5_000])
async def test_each_things_last_and_next_entry_are_those_of_the_ledger(
    store: Store, told: list[Entry], monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    """By looking each thing up as by reading all of them, also where the clock was set back."""
    monkeypatch.setattr(entries, "_MANY", many)
    async with store.read() as s:
        for at_us in range(5, 55):
            for verbs, since_us in ((None, 0), (["crashed"], 0), (["ready"], 22)):
                found = await entries.last(s, "process", at_us, verbs=verbs, since_us=since_us)
                newest = {
                    each.key: each
                    for each in told
                    if each.noun == "process" and since_us <= each.at_us <= at_us
                    if verbs is None or each.verb in verbs
                }
                assert found == sorted(newest.values(), key=lambda each: each.id)
            later = [each for each in told if each.at_us > at_us]
            first = min(later, key=lambda each: each.at_us).id if later else 0
            following = {
                each.key: each
                for each in reversed(later)
                if each.noun == "process" and each.id >= first and each.verb == "ready"
            }
            assert await entries.following(s, "process", at_us, ["ready"]) == following
            until = await ledger.tail(s, 100, until_us=at_us)
            assert until == [each for each in reversed(told) if each.at_us <= at_us]


async def test_restarts_are_found_by_their_index(store: Store, told: list[Entry]) -> None:
    """A box whose processes moved a hundred thousand times shows a past moment as fast."""
    read: list[tuple[str, Any]] = []
    run = NodeRun(pid=1, started_at_us=-(2**40), host="box", version="1", stopped_at_us=None)
    async with store.read() as s:
        connection = await s.connection()
        event.listen(
            connection.sync_connection, "before_cursor_execute",
            lambda _c, _cursor, statement, parameters, _x, _many: read.append(
                (statement, parameters)
            ),
        )  # fmt: skip
        found = await processes.every(s, run, 60)
        ((counting, parameters),) = [each for each in read if "count(ledger.id)" in each[0]]
        plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {counting}", parameters)
        steps = [str(row.detail) for row in plan]
    crashes = [
        e for e in told if e.noun == "process" and (e.before, e.after) == ("crashed", "starting")
    ]
    assert sum(each.restarts for each in found) == len(
        [each for each in crashes if each.key in {one.name for one in found}]
    )
    assert any("ledger_restarts" in step for step in steps), steps
