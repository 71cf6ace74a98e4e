"""The loop of controllers: nothing twice, nothing left out, wherever control is killed."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.control.decisions import Decision, Reason
from engine.control.intents import Intents
from engine.control.reconcile import Loop
from storage import errors, intents, ledger, services
from storage.control_socket import nudges
from storage.intents import State
from storage.store import Session, Store
from tests.storage import fixtures

SECOND_US = 1_000_000


class Killed(BaseException):
    """What kill -9 does to everything that control was about to do."""


class _TakenBack(Exception):
    """Ends a transaction that the kill interrupted."""


class Mortal:
    """A store whose process is killed at chosen operations: before, within or after them."""

    def __init__(self, store: Store, fates: Iterator[str]) -> None:
        self._store = store
        self._fates = fates

    def __getattr__(self, name: str) -> Any:
        """All else is the store's own."""
        return getattr(self._store, name)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Session]:
        """Killed before or after it."""
        fate = next(self._fates)
        if fate == "before":
            raise Killed
        async with self._store.read() as session:
            yield session
        if fate != "none":
            raise Killed

    async def write(self, work: Any, **how: Any) -> Any:
        """Killed before it, within the transaction, or once it is committed."""
        fate = next(self._fates)
        if fate == "before":
            raise Killed

        async def interrupted(s: Session) -> None:
            await work(s)
            raise _TakenBack

        if fate == "within":
            with pytest.raises(_TakenBack):
                await self._store.write(interrupted, **how)
            raise Killed
        result = await self._store.write(work, **how)
        if fate == "after":
            raise Killed
        return result


async def asked(store: Store, service: str, weight: int) -> int:
    """An intent to split a service."""
    arms = {"r1": weight, "r2": 10_000 - weight}
    return await store.write(
        lambda s: intents.accept(
            s, actor="kim", role="operator", verb="services.split", target=service,
            arguments={"arms": arms}, at_us=1,
        )
    )  # fmt: skip


_numbers = itertools.count()


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    fates=st.lists(st.sampled_from(["none", "before", "within", "after"]), max_size=24),
    weights=st.lists(st.integers(0, 9_999), min_size=1, max_size=4, unique=True),
)
async def test_wherever_control_is_killed_each_intent_is_carried_out_once(
    store: Store, fates: list[str], weights: list[int]
) -> None:
    """In order; the history has one split for each, as if no process had been killed."""
    service = f"s{next(_numbers)}"
    async with store.read() as s:
        known = await services.every(s)
    if not known:
        await fixtures.furnish(store)
    await store.write(
        lambda s: services.create(
            s, name=service, release=1, record_text=False, actor="kim", at_us=1
        )
    )
    numbers = [await asked(store, service, weight) for weight in weights]
    mortal = cast("Store", Mortal(store, itertools.chain(fates, itertools.repeat("none"))))
    for _ in range(len(fates) + 1):  # each life of control ends at the next kill
        loop = Loop(mortal, [Intents()], now_us=lambda: 5)
        try:
            await loop.recover()
            await loop.settle()
        except Killed:
            continue
        break
    async with store.read() as s:
        ended = [await intents.find(s, number) for number in numbers]
        past = (await services.history(s, service))[::-1]
        moves = [entry.verb for entry in await ledger.of(s, "intent", str(numbers[0]))]
    assert {intent.state for intent in ended} == {State.APPLIED}
    assert [split.intent_id for split in past] == [None, *numbers]
    assert [split.arms[0].weight_bp for split in past[1:]] == weights
    assert moves == ["applied", "claimed"]


class Ticker:
    """Acts once in ten seconds, and writes it into the ledger."""

    name = "ticker"

    async def recover(self, s: Session, now_us: int) -> None:
        """There is nothing to put right."""

    async def observe(self, s: Session, now_us: int) -> int:
        """When it acted last."""
        del now_us
        last = await ledger.of(s, "test", "tick", 1)
        return last[0].at_us if last else 0

    def decide(self, observed: int, now_us: int) -> Decision:
        """Every ten seconds."""
        due_us = observed + 10 * SECOND_US
        if now_us < due_us:
            return Decision(Reason.IDLE, "Not yet.", due_us=due_us)
        return Decision(Reason.WAITING, "It is time.", plan=now_us)

    async def act(self, s: Session, decision: Decision, now_us: int) -> None:
        """Tick."""
        assert decision.plan == now_us
        await ledger.write(
            s, actor="ticker", verb="tick", noun="test", key="tick", before=None, after=None,
            at_us=now_us,
        )  # fmt: skip


class Broken(Ticker):
    """A controller with a bug."""

    name = "broken"

    def decide(self, observed: int, now_us: int) -> Decision:
        """Never comes to a decision."""
        raise ZeroDivisionError(observed, now_us)


async def ticks(store: Store) -> list[int]:
    """When the ticker acted, in seconds."""
    async with store.read() as s:
        return [entry.at_us // SECOND_US for entry in await ledger.of(s, "test", "tick")][::-1]


async def test_a_decision_says_when_to_look_again(store: Store) -> None:
    """The earliest time of all controllers; until then nothing is done."""
    now = 100 * SECOND_US
    loop = Loop(store, [Intents(), Ticker()], now_us=lambda: now)
    assert await loop.settle() == 110 * SECOND_US
    now = 109 * SECOND_US
    assert await loop.settle() == 110 * SECOND_US
    now = 112 * SECOND_US
    assert await loop.settle() == 122 * SECOND_US
    assert await ticks(store) == [100, 112]


async def test_a_fault_of_one_controller_does_not_stop_the_others(store: Store) -> None:
    """It is run again after a pause; the loop says when."""
    now = 100 * SECOND_US
    loop = Loop(store, [Broken(), Ticker()], now_us=lambda: now, retry_s=2)
    assert await loop.settle() == 102 * SECOND_US
    assert await ticks(store) == [100]


async def test_a_store_that_is_busy_is_waited_for(store: Store) -> None:
    """The loop does not end; as soon as the store can be used, it continues."""
    await fixtures.furnish(store)
    number = await asked(store, "support", 5_000)

    class Busy(Mortal):
        async def write(self, work: Any, **how: Any) -> Any:
            if next(self._fates) == "busy":
                raise errors.Busy("another process holds it")
            return await self._store.write(work, **how)

    fates = itertools.chain(["busy"] * 3, itertools.repeat("none"))
    loop = Loop(cast("Store", Busy(store, fates)), [Intents()], now_us=lambda: 5, retry_s=0)
    with nudges.listen(store.home, "test") as news, nudges.listen(store.home, "c") as listener:
        running = asyncio.create_task(loop.run(listener))
        try:
            async with asyncio.timeout(60):
                while True:
                    async with store.read() as s:
                        if (await intents.find(s, number)).state is State.APPLIED:
                            break
                    await news.wait(timeout_s=0.25)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
