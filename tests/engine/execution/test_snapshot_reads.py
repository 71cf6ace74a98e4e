"""What the gateway knows of the store after each change, against a read of everything."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from engine.execution import failures, snapshot_reads
from engine.execution.catalog import Catalog
from engine.execution.snapshot import Snapshot
from storage import (
    deployments,
    keys,
    knobs,
    models,
    prompts,
    quarantine,
    releases,
    services,
    upstreams,
)
from storage.prompts import Message
from storage.releases import Engine, Limits, Sampling
from storage.services import Arm
from storage.store import Session, Store
from tests import home_fixtures

Change = Callable[[Session, random.Random, int], Awaitable[Any]]


async def catalog(store: Store) -> Catalog:
    """A catalog that has read the whole store."""
    made = Catalog(store, cast("Any", None), on_change=lambda _: None)
    await made.refresh()
    return made


def plain(snapshot: Snapshot) -> Snapshot:
    """Without the templates, which are compared by the versions that they are made of."""
    return replace(snapshot, prompts=dict.fromkeys(sorted(snapshot.prompts), cast("Any", 0)))


async def release(s: Session, at: random.Random, step: int) -> None:
    """A release of another deployment, or with another prompt."""
    version = await prompts.add(
        s, prompt="terse", messages=[Message(role="system", template=f"{at.random()}")],
        variables=[], author="a", comment="", at_us=step,
    )  # fmt: skip
    await releases.create(
        s,
        model_version=await models.find(s, "ops"),
        prompt_version=at.choice([None, version]),
        sampling=Sampling(top_k=step),
        limits=Limits(),
        engine=Engine(max_sequences=at.randint(1, 4)),
        comment="",
        actor="a",
        at_us=step,
    )


async def create(s: Session, at: random.Random, step: int) -> None:
    """Another service, on any release."""
    every = await releases.every(s)
    await services.create(
        s, name=f"s{at.randint(0, 9)}x{step}", release=at.choice(every).number, record_text=False,
        actor="a", at_us=step,
    )  # fmt: skip


async def split(s: Session, at: random.Random, step: int) -> None:
    """Any service gets two arms."""
    every, known = await releases.every(s), await services.every(s)
    if len(every) > 1 and known:
        one, two = at.sample(every, 2)
        arms = (Arm(release=one.number, weight_bp=7000), Arm(release=two.number, weight_bp=3000))
        await services.set_split(
            s, service=at.choice(known).name, arms=arms, expected_version=None, actor="a",
            at_us=step,
        )  # fmt: skip


async def remove(s: Session, at: random.Random, step: int) -> None:
    """Any service goes."""
    if known := await services.every(s):
        await services.remove(
            s, service=at.choice(known).name, actor="a", at_us=step, intent_id=None
        )


async def knob(s: Session, at: random.Random, step: int) -> None:
    """A knob of any deployment."""
    name = at.choice(await deployments.every(s)).name
    await knobs.set(s, deployment=name, name="queue_limit", value=step, actor="a", at_us=step)


async def scale(s: Session, at: random.Random, step: int) -> None:
    """Any deployment, sometimes one that the node gives up."""
    name = at.choice(await deployments.every(s)).name
    await deployments.scale(s, name, at.randint(1, 9), actor="a", at_us=step)
    if at.random() < 0.2:
        await deployments.mark_failing(s, name, "it died", step)


async def key(s: Session, at: random.Random, step: int) -> None:
    """A key comes, and sometimes goes."""
    await home_fixtures.add_key(s, f"key{step}")
    if at.random() < 0.5:
        await keys.revoke(s, f"key{step}", actor="a", at_us=step)


async def rest(s: Session, _at: random.Random, step: int) -> None:
    """An upstream, a quarantined template, a model that cannot be loaded."""
    await upstreams.add(
        s, name=f"up{step}", url="http://127.0.0.1:1/v1", actor="a", at_us=step, intent_id=None
    )
    await quarantine.add(
        s, key=f"{step:064x}", kind=quarantine.Kind.PROMPT, subject="terse@1", reason="r",
        at_us=step,
    )  # fmt: skip
    if step % 3 == 0:
        await models.mark_unloadable(s, (await models.find(s, "ops")).id, "damaged", step)


CHANGES: tuple[Change, ...] = (release, create, split, remove, knob, scale, key, rest)


@pytest.mark.parametrize("seed", range(3))
async def test_what_follows_from_the_ledger_is_what_the_store_holds(
    store: Store, seed: int
) -> None:
    """After any changes, one by one or several at once; only the templates are the same objects."""
    at = random.Random(seed)
    await store.write(lambda s: home_fixtures.add_model(s, home_fixtures.WEIGHTS))
    await store.write(lambda s: release(s, at, 1))
    following = await catalog(store)
    for step in range(2, 40):
        for change in at.sample(CHANGES, at.randint(1, 2)):
            await store.write(lambda s, c=change, n=step: c(s, at, n))  # type: ignore[misc]
        await following.look()
        assert plain(following.snapshot) == plain((await catalog(store)).snapshot)
        assert [*following.snapshot.services] == sorted(following.snapshot.services)


async def test_a_change_costs_what_changed(store: Store) -> None:
    """Of all that is stored only the touched service is read again, and for a run nothing is."""

    async def fill(s: Session) -> None:
        await home_fixtures.add_model(s, home_fixtures.WEIGHTS)
        await release(s, random.Random(0), 1)
        for number in range(20):
            await services.create(
                s, name=f"s{number}", release=1, record_text=False, actor="a", at_us=1
            )

    await store.write(fill)
    found = await catalog(store)
    before = found.snapshot
    await store.write(
        lambda s: services.set_record_text(
            s, service="s7", on=True, actor="a", at_us=2, intent_id=None
        )
    )
    await found.look()
    after = found.snapshot
    again = [name for name in before.services if before.services[name] is not after.services[name]]
    assert again == ["s7"]
    assert after.services["s7"].record_text
    assert after.releases is before.releases
    assert after.models is before.models


async def test_more_changes_than_are_followed_are_read_as_a_whole(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is missed."""
    monkeypatch.setattr(snapshot_reads, "CHANGES", 3)
    found = await catalog(store)
    for number in range(5):
        await store.write(lambda s, n=number: home_fixtures.add_key(s, f"key{n}"))  # type: ignore[misc]
    await found.look()
    assert len(found.snapshot.keys) == 5


async def test_the_error_for_an_unknown_model_lists_a_dozen_services(store: Store) -> None:
    """And says how many more there are."""

    async def fill(s: Session) -> None:
        await home_fixtures.add_model(s, home_fixtures.WEIGHTS)
        await release(s, random.Random(0), 1)
        for number in range(15):
            await services.create(
                s, name=f"s{number:02}", release=1, record_text=False, actor="a", at_us=1
            )

    await store.write(fill)
    with pytest.raises(failures.Unknown) as caught:
        await (await catalog(store)).service("nothing")
    assert "s11 and 3 more, see GET /v1/models" in str(caught.value)
    assert "s12" not in str(caught.value)
