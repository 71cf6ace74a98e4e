"""Services and their splits: whole, sticky, guarded, undone. And the knobs of workers."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncSession

from storage import errors, knobs, ledger, services, splits
from storage.services import Arm, Owner, OwnerKind, Service, Split
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


async def go_back(store: Store, to: int, expected_version: int | None = None) -> Split:
    """Go back to a split of the service."""
    return await store.write(
        lambda s: services.go_back(
            s, service="support", to=to, actor="max", at_us=6, expected_version=expected_version
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
    with pytest.raises(errors.Moved, match=re.escape("sara set r1 90 %, r2 10 %")):
        await split(store, 0, 10_000, expected_version=1)
    with pytest.raises(errors.Moved):
        await go_back(store, 1, expected_version=1)
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
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(share=st.integers(0, 10_000), salt=st.text("abc", min_size=1, max_size=3))
async def test_going_back_twice_changes_once(store: Store, share: int, salt: str) -> None:
    """Arms, salt and users of the split that is named; asked again, nothing is written."""
    async with store.read() as s:
        known = await services.every(s)
    before = known[0] if known else (await fixtures.furnish(store)).service
    await split(store, share, 10_000 - share, salt=salt)
    undone = await go_back(store, before.split.id)
    assert await go_back(store, before.split.id) == undone
    assert await go_back(store, before.split.id, expected_version=before.version) == undone
    assert (undone.arms, undone.salt) == (before.split.arms, before.split.salt)
    assert undone.ranges == before.split.ranges
    after = await standing(store)
    assert (after.version, after.split) == (before.version + 2, undone)


async def test_the_split_to_go_back_to_is_never_the_one_that_was_left(store: Store) -> None:
    """Back stays back; after it was undone, a change forth, one can go back again."""
    await fixtures.furnish(store)

    async def target() -> int | None:
        async with store.read() as s:
            return splits.roll_back_target(await services.history(s, "support", limit=2))

    assert await target() is None
    bad = await split(store, 0, 10_000)
    assert await target() == 1
    await go_back(store, 1)
    assert await target() == 1
    await go_back(store, bad.id)  # forth again, by its name
    assert await target() == 1
    await go_back(store, 1)
    await split(store, 5_000, 5_000)
    assert await target() == 1


async def test_only_a_split_of_the_service_can_be_gone_back_to(store: Store) -> None:
    """And the message says where they are listed."""
    await fixtures.furnish(store)
    with pytest.raises(errors.NotFound, match="paddock services show support"):
        await go_back(store, 99)


ROLLOUT = Owner(OwnerKind.ROLLOUT, "3")


async def test_a_split_that_is_owned_is_changed_by_its_owner_alone(store: Store) -> None:
    """Others are told who owns it and what to do."""
    await fixtures.furnish(store)

    async def work(s: AsyncSession) -> None:
        asked: dict[str, Any] = {"service": "support", "actor": "control", "at_us": 7}
        await services.take(s, owner=ROLLOUT, **asked)
        await services.take(s, owner=ROLLOUT, **asked)
        with pytest.raises(errors.NotOwner, match="rollout 3 owns the split of support; abort"):
            await services.take(s, owner=Owner(OwnerKind.AB_TEST, "7"), **asked)
        with pytest.raises(errors.NotOwner, match="abort it first"):
            await services.set_split(s, arms=arms(0, 10_000), expected_version=None, **asked)
        with pytest.raises(errors.NotOwner):
            await services.remove(s, intent_id=None, **asked)
        await services.set_split(
            s, arms=arms(9_500, 500), expected_version=None, by=ROLLOUT, **asked
        )
        await services.give_back(s, owner=ROLLOUT, **asked)
        await services.set_split(s, arms=arms(0, 10_000), expected_version=None, **asked)

    await store.write(work)
    assert (await standing(store)).owner is None


async def test_going_back_takes_an_owned_split_from_its_owner(store: Store) -> None:
    """Its next step is refused, so that it cannot roll forward again."""
    await fixtures.furnish(store)

    async def work(s: AsyncSession) -> None:
        asked: dict[str, Any] = {"service": "support", "actor": "control", "at_us": 7}
        await services.take(s, owner=ROLLOUT, **asked)
        await services.set_split(
            s, arms=arms(9_500, 500), expected_version=None, by=ROLLOUT, **asked
        )
        await services.go_back(s, to=1, **asked)
        assert (await services.find(s, "support")).owner is None

    await store.write(work)


async def test_a_frozen_service_keeps_its_split_but_may_go_back(store: Store) -> None:
    """Who is refused reads who froze it and why."""
    await fixtures.furnish(store)
    await split(store, 9_000, 1_000)

    async def freeze(s: AsyncSession) -> None:
        await services.freeze(
            s, service="support", reason="incident 4", actor="kim", at_us=60_000_000, intent_id=None
        )

    await store.write(freeze)
    said = r"frozen by kim since 1970-01-01 00:01 UTC: incident 4\. Unfreeze it with"
    with pytest.raises(errors.Frozen, match=said):
        await split(store, 0, 10_000)
    await go_back(store, 1)
    assert (await standing(store)).frozen is not None


async def test_a_removed_service_leaves_its_name(store: Store) -> None:
    """A new one of that name begins a history of its own."""
    await fixtures.furnish(store)
    await split(store, 9_000, 1_000)

    async def again(s: AsyncSession) -> None:
        await services.remove(s, service="support", actor="kim", at_us=8, intent_id=None)
        await services.create(s, name="support", release=2, record_text=False, actor="kim", at_us=9)

    await store.write(again)
    async with store.read() as s:
        assert len(await services.history(s, "support")) == 1
    with pytest.raises(errors.NotFound):
        await go_back(store, 1)


async def test_history_and_ledger_tell_who_set_what(store: Store) -> None:
    """Newest first, with the arms before and after."""
    await fixtures.furnish(store)
    await split(store, 9_000, 1_000)
    await go_back(store, 1)
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
            await knobs.set(s, deployment=worker, name="max_running", value=8, actor="a", at_us=1),
            await knobs.set(s, deployment=worker, name="max_running", value=4, actor="a", at_us=2),
            await knobs.undo(
                s, deployment=worker, name="max_running", setting=2, actor="a", at_us=3
            ),
            await knobs.undo(
                s, deployment=worker, name="max_running", setting=2, actor="b", at_us=3
            ),
            await knobs.set(s, deployment=worker, name="queue_limit", value=0, actor="a", at_us=4),
        ]
        with pytest.raises(errors.Moved, match="changed since you looked: it is 8"):
            await knobs.undo(
                s, deployment=worker, name="max_running", setting=1, actor="b", at_us=3
            )
        with pytest.raises(errors.Moved, match="it is 8, set by a"):
            await knobs.set(
                s, deployment=worker, name="max_running", value=2, actor="b", at_us=3,
                expected_version=0,
            )  # fmt: skip
        assert await knobs.of(s, worker) == {"max_running": 8, "queue_limit": 0}
        assert await knobs.of(s, "other") == {}
        return [(knob.value, knob.previous) for knob in turned]

    assert await store.write(work) == [(8, 16), (4, 8), (8, 4), (8, 4), (0, 256)]


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
async def test_a_knob_that_cannot_be_set_says_why(
    store: Store, worker: str, name: str, value: int, said: str
) -> None:
    """Which there are, and which values they take."""
    await fixtures.furnish(store)
    with pytest.raises(errors.StorageError, match=said):
        await store.write(
            lambda s: knobs.set(s, deployment=worker, name=name, value=value, actor="a", at_us=1)
        )


async def test_a_knob_that_was_never_set_cannot_be_undone(store: Store) -> None:
    """There is nothing to go back to."""
    await fixtures.furnish(store)
    with pytest.raises(errors.Invalid, match="never set"):
        await store.write(
            lambda s: knobs.undo(
                s, deployment="ops-1.0.0", name="queue_limit", setting=1, actor="a", at_us=1
            )
        )
