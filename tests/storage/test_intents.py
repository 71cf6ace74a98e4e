"""What a run asks for, it asks for once."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from storage import intents
from storage.intents import Intent
from storage.store import Store

STEP = "runbook roll-back, run 1, step back"


async def asked(store: Store, reason: str, behalf: int | None) -> int:
    """A rollback that somebody asks for."""
    return await store.write(
        lambda s: intents.accept(
            s, actor="sara", role="operator", verb="services.undo", target="support",
            arguments={}, reason=reason, behalf=behalf, at_us=1,
        )
    )  # fmt: skip


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
    assert kept.behalf == 7


async def test_only_a_runs_own_intent_is_taken_for_its_step(store: Store) -> None:
    """A person may give the same reason, and another run has the same steps."""
    persons = [await asked(store, STEP, None) for _ in range(2)]
    runs = [await asked(store, STEP, run) for run in (7, 8)]
    assert len({*persons, *runs}) == 4
