"""An idempotency key stores one intent, however often a person or a run asks under it."""

from __future__ import annotations

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from storage import errors, intents
from storage.intents import Intent
from storage.store import Store

STEP = "run 1, step back"


async def asked(
    store: Store,
    key: str | None,
    on_behalf_of: int | None = None,
    *,
    actor: str = "sara",
    target: str = "support",
    reason: str = "",
) -> int:
    """A rollback, asked for under a key."""
    return await store.write(
        lambda s: intents.accept(
            s, actor=actor, role="operator", verb="services.undo", target=target, arguments={},
            reason=reason, on_behalf_of=on_behalf_of, idempotency_key=key, at_us=1,
        )
    )  # fmt: skip


async def test_rewording_a_reason_stores_no_second_intent(store: Store) -> None:
    """The key decides: a run that is resumed after its sentences changed acts once."""
    first = await asked(store, STEP, 7, reason="runbook roll-back, run 1, step back")
    assert await asked(store, STEP, 7, reason="the same step in other words") == first


async def test_a_key_is_unique_for_each_actor(store: Store) -> None:
    """A person may retry a command; another person's equal key is another request."""
    mine = await asked(store, "k")
    assert await asked(store, "k") == mine
    assert await asked(store, "k", actor="lee") != mine
    assert await asked(store, None) != await asked(store, None)
    async with store.read() as s:
        found = await intents.by_key(s, "k", actor="sara")
        assert found is not None
        assert found.id == mine
        assert await intents.by_key(s, "other", actor="sara") is None


async def test_a_key_cannot_be_used_for_another_request(store: Store) -> None:
    """It would be answered with an intent that does something else."""
    first = await asked(store, "k")
    with pytest.raises(errors.AlreadyExists, match=f"belongs to intent {first}"):
        await asked(store, "k", target="billing")


async def test_a_step_that_asks_again_gets_its_own_intent(store: Store) -> None:
    """Whatever was asked in between, and however many: a second undo would roll forward."""

    async def others(s: AsyncSession) -> None:
        for n in range(600):
            await intents.accept(
                s, actor="lee", role="admin", verb="services.undo", target="support",
                arguments={}, reason=f"{n}", at_us=2,
            )  # fmt: skip

    first = await asked(store, STEP, 7)
    await store.write(others)
    assert await asked(store, STEP, 7) == first
    async with store.read() as s:
        kept: Intent = await intents.find(s, first)
        assert len(await intents.tail(s, 1_000)) == 601
    assert kept.on_behalf_of == 7


async def test_only_a_runs_own_intent_is_taken_for_its_step(store: Store) -> None:
    """A person may use the same key, and another run has the same steps."""
    person = await asked(store, STEP, None)
    runs = [await asked(store, STEP, run) for run in (7, 8)]
    assert len({person, *runs}) == 3
