"""Requests: the newest first however many there are, their texts, and what clients said."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncSession

from storage import errors, feedback, request_rows, requests, texts
from storage.requests import Outcome, Request, Text
from storage.store import Store
from tests.storage import fixtures


async def fill(store: Store, count: int) -> list[Request]:
    """Requests of two services, each third of which failed."""
    made = [
        fixtures.request(
            number,
            outcome=Outcome.OK if number % 3 else Outcome.FAILED,
            service="support" if number % 2 else "billing",
        )
        for number in range(count)
    ]
    await store.write(lambda s: requests.record(s, made), nudge=False)
    return made


async def test_the_tail_is_the_last_recorded_newest_first(store: Store) -> None:
    """Page by page, nothing twice and nothing missed, also while new ones come."""
    made = await fill(store, 25)
    found: list[Request] = []
    last: str | None = None
    while True:
        async with store.read() as s:
            page = await requests.tail(s, 10, before_id=last)
        if not page:
            break
        found += page
        last = page[-1].id
        newcomer = fixtures.request(1000 + len(found))
        await store.write(lambda s, new=newcomer: requests.record(s, [new]))  # type: ignore[misc]
    assert found == made[::-1]


async def test_who_follows_by_number_misses_none(store: Store) -> None:
    """Page by page from the last one seen to the newest, narrowed or not."""
    await fill(store, 3)
    async with store.read() as s:
        seen = await requests.last(s)
    new = [fixtures.request(100 + number) for number in range(25)]
    await store.write(lambda s: requests.record(s, new))
    found: list[Request] = []
    async with store.read() as s:
        until = await requests.last(s)
        while page := await requests.after(s, seen, until, 10):
            seen = page[-1][0]
            found += [request for _, request in page]
        ok = await requests.after(s, 0, until, 10, "support", Outcome.OK)
        assert await requests.after(s, 0, until, 10, "nobody") == []
    assert (found, seen) == (new, until)
    assert [request.at_us for _, request in ok] == [1, *range(100, 109)]


async def test_the_tail_can_be_narrowed(store: Store) -> None:
    """By service, by outcome, by both, by any text of the row or its release."""
    await fill(store, 30)
    async with store.read() as s:
        failed = await requests.tail(s, 3, outcome=Outcome.FAILED)
        billing = await requests.tail(s, 3, service="billing")
        both = await requests.tail(s, 3, before_id="req_10", service="billing", outcome=Outcome.OK)
        texts = {
            wanted: [each.id for each in await requests.tail(s, 3, text_filter=wanted)]
            for wanted in ("req_1", "bill", "r1", "r2", "acme", "%", "_2", "")
        }
    assert [each.at_us for each in failed] == [27, 24, 21]
    assert [each.at_us for each in billing] == [28, 26, 24]
    assert [each.at_us for each in both] == [8, 4, 2]
    assert texts == {
        "req_1": ["req_19", "req_18", "req_17"],
        "bill": ["req_28", "req_26", "req_24"],
        "r1": ["req_29", "req_28", "req_27"],
        "r2": [],
        "acme": ["req_29", "req_28", "req_27"],
        "%": [],
        "_2": ["req_29", "req_28", "req_27"],
        "": ["req_29", "req_28", "req_27"],
    }


async def test_rare_requests_are_found_without_reading_the_others(store: Store) -> None:
    """By the blocks that have such ones, newest or oldest first, page by page."""
    made = [
        fixtures.request(
            number,
            outcome=Outcome.OK if number % 700 else Outcome.FAILED,
            service="support" if number % 900 else "billing",
        )
        for number in range(3_000)
    ]
    await store.write(lambda s: requests.record(s, made), nudge=False)
    read: list[tuple[str, Any]] = []
    async with store.read() as s:
        connection = await s.connection()
        event.listen(
            connection.sync_connection, "before_cursor_execute",
            lambda _c, _cursor, statement, parameters, _x, _many: read.append(
                (statement, parameters)
            ),
        )  # fmt: skip
        failed = await requests.tail(s, 3, outcome=Outcome.FAILED)
        rest = await requests.tail(s, 3, outcome=Outcome.FAILED, before_id=failed[-1].id)
        billing = await requests.after(s, 1_000, 2_900, 10, "billing")
        both = await requests.tail(s, 3, service="billing", outcome=Outcome.FAILED)
        plans = [
            str(row.detail)
            for statement, parameters in list(read)
            for row in await connection.exec_driver_sql(
                f"EXPLAIN QUERY PLAN {statement}", parameters
            )
        ]
    assert [each.at_us for each in failed + rest] == [2_800, 2_100, 1_400, 700, 0]
    assert [each.at_us for _, each in billing] == [1_800, 2_700]
    assert [each.at_us for each in both] == [0]
    assert any(plan.startswith("SCAN anon_1") for plan in plans)  # the blocks come first
    assert {plan for plan in plans if plan.startswith("SCAN r")} == {"SCAN request_facets"}


async def test_requests_are_found_by_their_arrival(store: Store) -> None:
    """Also those that were recorded late, as after a crash, among newer ones."""
    late = msgspec.structs.replace(fixtures.request(9_000), at_us=500)
    made = [fixtures.request(number) for number in range(2_000)]
    await store.write(lambda s: requests.record(s, [*made[:1_500], late, *made[1_500:]]))
    async with store.read() as s:
        assert await requests.numbers(s, 300, 310) == (301, 310)
        assert await requests.numbers(s, 500, 501) == (501, 1_501)
        assert await requests.numbers(s, 2_000, 9_000) == (1, 0)
        ended = [each.id async for each in requests.ended(s, 1_500, 1_502)]
        then = await requests.tail(s, 2, until_us=2_498)
    assert sorted(ended) == ["req_500", "req_501", "req_9000"]
    assert [each.at_us for each in then] == [500, 1_498]


@given(st.lists(st.text(alphabet="0123456789abcdefxX_", max_size=6), max_size=8), st.text(
    alphabet="0123456789abcdefx", min_size=0, max_size=4))  # fmt: skip
def test_an_id_is_kept_as_its_bytes_and_found_by_its_beginning(ids: list[str], wanted: str) -> None:
    """Whatever it is, no two ids have the same key."""
    keys = {f"req_{id}": request_rows.stored(f"req_{id}") for id in ids}
    assert len(set(keys.values())) == len(keys)
    bounds = request_rows.beginning(f"req_{wanted}")
    for id, key in keys.items():
        if isinstance(key, bytes):
            assert f"req_{key.hex()}" == id
            inside = bounds is not None and bounds[0] <= key and (
                bounds[1] is None or key < bounds[1]
            )  # fmt: skip
            assert inside == id.startswith(f"req_{wanted}")


async def test_a_facet_goes_with_its_last_request(store: Store) -> None:
    """As do the blocks that are empty; the others keep the arrivals of what is left."""
    made = [fixtures.request(n, service="old" if n < 300 else "new") for n in range(1_000)]
    await store.write(lambda s: requests.record(s, made), nudge=False)

    async def all_of_it(s: AsyncSession) -> None:
        while await requests.prune(s, 700, limit=500):
            pass

    await store.write(all_of_it)
    async with store.read() as s:
        services = (await s.execute(text("SELECT service FROM request_facets"))).scalars().all()
        blocks = (await s.execute(text("SELECT * FROM request_blocks"))).all()
        pairs = (await s.execute(text("SELECT block FROM request_block_facets"))).scalars().all()
        left = await requests.tail(s, 1_000)
    assert services == ["new"]
    assert [tuple(block) for block in blocks] == [(2, 700, 766), (3, 767, 999)]
    assert pairs == [2, 3]
    assert [each.at_us for each in left] == [*range(999, 699, -1)]


async def test_a_request_is_found_by_its_id_and_by_its_answers_id(store: Store) -> None:
    """Clients know it as chatcmpl-…, the header as req_…."""
    (made,) = await fill(store, 1)
    async with store.read() as s:
        assert await requests.find(s, "req_0") == await requests.find(s, "chatcmpl-0") == made
        for search in (requests.find(s, "req_x"), requests.tail(s, before_id="req_x")):
            with pytest.raises(errors.NotFound, match="no request req_x"):
                await search


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1, 2**63, 2**64 - 1, -1, 2**70 + 3])
async def test_any_seed_is_kept_as_the_sampler_takes_it(store: Store, seed: int) -> None:
    """Modulo 2^64, though the file's integers are signed."""
    made = Request(
        id="req_1", at_us=1, service="a", release=None, worker="", endpoint="chat", key_id=1,
        tenant="t", outcome=Outcome.REFUSED, error_code="queue_full", seed=seed,
    )  # fmt: skip
    await store.write(lambda s: requests.record(s, [made]))
    async with store.read() as s:
        assert (await requests.find(s, "req_1")).seed == seed % 2**64


async def test_texts_are_kept_apart_whatever_is_in_them(store: Store) -> None:
    """Control characters, halves of surrogates, escape sequences: kept as data."""
    wild = "\x1b[31m\0 [/red] \ud83d 😀"
    kept = Text(request_id="req_1", at_us=5, prompt=wild, completion="ok")
    await store.write(lambda s: texts.record(s, [kept]))
    async with store.read() as s:
        found = await requests.text_of(s, "req_1")
        assert await requests.text_of(s, "req_2") is None
    assert found is not None
    assert (found.prompt, found.completion) == ("\x1b[31m\0 [/red] � 😀", "ok")


async def test_the_last_word_of_a_key_counts(store: Store) -> None:
    """Who changes their mind is not counted twice; releases are counted apart."""
    await fill(store, 4)

    async def work(s: AsyncSession) -> None:
        said = [("req_1", 1, True, 1), ("req_1", -1, False, 1), ("req_1", 1, None, 2)]
        for at_us, (id, score, correct, key) in enumerate([*said, ("req_2", 1, True, 1)]):
            await feedback.add(
                s, request_id=id, at_us=at_us, score=score, correct=correct, comment=None,
                key_id=key,
            )  # fmt: skip
        with pytest.raises(errors.Invalid, match="1 or -1"):
            await feedback.add(
                s, request_id="req_1", at_us=9, score=5, correct=None, comment=None, key_id=1
            )

    await store.write(work)
    async with store.read() as s:
        given = await requests.feedback_of(s, "req_1")
        counts = await feedback.counts(s, service="support")
        later = await feedback.counts(s, 2, service="support")
    assert [(each.key_id, each.score, each.correct) for each in given] == [
        (1, -1, False),
        (2, 1, None),
    ]
    assert {arm: (each.up, each.down, each.wrong) for arm, each in counts.items()} == {
        ("support", 1): (1, 1, 1)
    }
    assert (later["support", 1].up, later["support", 1].down) == (1, 0)


async def test_what_is_old_is_forgotten_in_short_steps(store: Store) -> None:
    """Each step is a write of its own, so that a large clean-up delays no other write."""
    await fill(store, 25)
    steps = []
    while gone := await store.write(lambda s: requests.prune(s, 20, limit=8), nudge=False):
        steps.append(gone)
    async with store.read() as s:
        assert [each.at_us for each in await requests.tail(s)] == [24, 23, 22, 21, 20]
        sequence = (await s.execute(text("SELECT seq FROM sqlite_sequence"))).scalar()
    assert steps == [8, 8, 4]
    assert sequence == 25  # numbers are never given again: a page that is read stays in order
