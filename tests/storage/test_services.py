"""Services and their splits: whole, sticky, guarded, undone. And the knobs of workers."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncSession

from storage import errors, knobs, ledger, services
from storage.services import Arm, Service, Split
from storage.store import Store
from tests.storage import fixtures

weights = st.lists(st.integers(-1, 10_001), max_size=5)


def arms(*weights: int) -> list[Arm]:
    """Releases 1, 2, … with these weights."""
    return [Arm(release=number, weight_bp=weight) for number, weight in enumerate(weights, 1)]


async def split(
    store: Store, *weights: int, expected_version: int | None = None, salt: str | None = None
) -> Split:
    """Set the split of the service."""
    return await store.write(
        lambda s: services.set_split(
            s,
            service="support",
            arms=arms(*weights),
            expected_version=expected_version,
            actor="sara",
            at_us=5,
            salt=salt,
        )
    )


async def undo(store: Store, expected_version: int | None = None) -> Split:
    """Undo the split of the service."""
    return await store.write(
        lambda s: services.undo(
            s, service="support", actor="max", at_us=6, expected_version=expected_version
        )
    )


async def standing(store: Store) -> Service:
    """The service as it is."""
    async with store.read() as s:
        return await services.find(s, "support")


@given(weights=weights)
def test_a_split_is_a_whole_of_different_releases(weights: list[int]) -> None:
    """Taken exactly when the weights are 0 to 10000 and add up to 10000."""
    whole = sum(weights) == 10_000 and all(0 <= weight <= 10_000 for weight in weights)
    if whole:
        services.check_arms(arms(*weights))
    else:
        with pytest.raises(errors.Invalid):
            services.check_arms(arms(*weights))


def test_a_release_is_in_a_split_once() -> None:
    """Twice would be two answers to one question."""
    with pytest.raises(errors.Invalid, match="twice"):
        services.check_arms([Arm(release=1, weight_bp=5000)] * 2)


async def test_a_split_needs_its_releases_and_its_service(store: Store) -> None:
    """And says which there are."""
    await fixtures.furnish(store)
    with pytest.raises(errors.NotFound, match="no release r3; known: r1, r2"):
        await split(store, 0, 0, 10_000)
    with pytest.raises(errors.NotFound, match="known: support"):
        async with store.read() as s:
            await services.find(s, "billing")
    with pytest.raises(errors.AlreadyExists, match="set its split"):
        await store.write(
            lambda s: services.create(
                s, name="support", release=1, record_text=False, actor="sara", at_us=1
            )
        )


async def test_a_split_that_moved_is_not_overwritten(store: Store) -> None:
    """Who saw version 1 cannot undo what another did in between; the message shows it."""
    await fixtures.furnish(store)
    await split(store, 9_000, 1_000, expected_version=1)
    with pytest.raises(errors.Moved, match=re.escape("sara set r1=90 r2=10")):
        await split(store, 0, 10_000, expected_version=1)
    with pytest.raises(errors.Moved):
        await undo(store, expected_version=1)
    found = await standing(store)
    assert (found.version, found.split.arms) == (2, tuple(arms(9_000, 1_000)))
    await split(store, 0, 10_000)
    assert (await standing(store)).version == 3


async def test_arms_are_kept_in_the_order_of_their_releases(store: Store) -> None:
    """However they were told, so that two splits with the same weights are the same split."""
    await fixtures.furnish(store)
    told = [Arm(release=2, weight_bp=2_000), Arm(release=1, weight_bp=8_000)]
    kept = await store.write(
        lambda s: services.set_split(
            s, service="support", arms=told, expected_version=None, actor="sara", at_us=5
        )
    )
    assert kept.arms == tuple(arms(8_000, 2_000)) == (await standing(store)).split.arms


async def test_users_stay_where_they_are_until_a_new_salt(store: Store) -> None:
    """Ramping keeps the salt; a new test gives its own."""
    first = (await fixtures.furnish(store)).service.split
    ramped = await split(store, 9_000, 1_000)
    dealt = await split(store, 5_000, 5_000, salt="another")
    assert (ramped.salt, dealt.salt) == (first.salt, "another")


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(share=st.integers(0, 10_000), salt=st.text("abc", min_size=1, max_size=3))
async def test_undo_puts_back_and_undo_of_undo_puts_forth(
    store: Store, share: int, salt: str
) -> None:
    """Arms and salt of the split before; the version grows all the same."""
    async with store.read() as s:
        known = await services.every(s)
    before = known[0] if known else (await fixtures.furnish(store)).service
    changed = await split(store, share, 10_000 - share, salt=salt)
    undone = await undo(store)
    again = await undo(store)
    assert (undone.arms, undone.salt) == (before.split.arms, before.split.salt)
    assert (again.arms, again.salt) == (changed.arms, changed.salt)
    after = await standing(store)
    assert (after.version, after.split) == (before.version + 3, again)


async def test_a_first_split_can_not_be_undone(store: Store) -> None:
    """There is nothing to go back to."""
    await fixtures.furnish(store)
    with pytest.raises(errors.Invalid, match="nothing to undo"):
        await undo(store)


async def test_history_and_ledger_tell_who_set_what(store: Store) -> None:
    """Newest first, with the arms before and after."""
    await fixtures.furnish(store)
    await split(store, 9_000, 1_000)
    await undo(store)
    async with store.read() as s:
        past = await services.history(s, "support")
        told = await ledger.of(s, "service", "support")
    assert [each.set_by for each in past] == ["max", "sara", "sara"]
    assert [(entry.verb, entry.actor) for entry in told] == [
        ("services.undo", "max"),
        ("services.split", "sara"),
        ("services.create", "sara"),
    ]
    assert told[0].before == {"r1": 9000, "r2": 1000}
    assert told[0].after == {"r1": 10_000}


async def test_a_knob_is_set_and_undone(store: Store) -> None:
    """The value before the first setting is what the release's engine has."""
    await fixtures.furnish(store)

    async def work(s: AsyncSession) -> list[tuple[int, int | None]]:
        worker = "ops-1.0.0"
        turned = [
            await knobs.set(s, worker=worker, name="max_running", value=8, actor="a", at_us=1),
            await knobs.set(s, worker=worker, name="max_running", value=4, actor="a", at_us=2),
            await knobs.undo(s, worker=worker, name="max_running", actor="a", at_us=3),
            await knobs.set(s, worker=worker, name="queue_limit", value=0, actor="a", at_us=4),
        ]
        assert await knobs.of(s, worker) == {"max_running": 8, "queue_limit": 0}
        assert await knobs.of(s, "other") == {}
        return [(knob.value, knob.previous) for knob in turned]

    assert await store.write(work) == [(8, 16), (4, 8), (8, 4), (0, 256)]


@pytest.mark.parametrize(
    ("worker", "name", "value", "said"),
    [
        ("ops-1.0.0", "max_running", 17, "room for 16 sequences, so max_running is 1 to 16"),
        ("ops-1.0.0", "volume", 1, "There is no knob volume; there are max_running"),
        ("ops-1.0.0", "max_running", 0, "max_running is 1 to 256, not 0"),
        ("ops-1.0.0", "weight_batch", 1001, "1 to 1000"),
        ("ops-9.9.9", "max_running", 1, "There is no deployment ops-9.9.9; known: ops-1.0.0"),
    ],
)
async def test_a_knob_that_can_not_be_set_says_why(
    store: Store, worker: str, name: str, value: int, said: str
) -> None:
    """Which there are, and which values they take."""
    await fixtures.furnish(store)
    with pytest.raises(errors.StorageError, match=said):
        await store.write(
            lambda s: knobs.set(s, worker=worker, name=name, value=value, actor="a", at_us=1)
        )


async def test_a_knob_that_was_never_set_can_not_be_undone(store: Store) -> None:
    """There is nothing to go back to."""
    await fixtures.furnish(store)
    with pytest.raises(errors.Invalid, match="never set"):
        await store.write(
            lambda s: knobs.undo(s, worker="ops-1.0.0", name="queue_limit", actor="a", at_us=1)
        )
