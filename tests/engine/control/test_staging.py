"""A staging tries a release for its production, and a retired release gets no traffic."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest_asyncio

from storage import ab_test_goals, jobs, ledger, retired_releases, rollouts, services
from storage.intents import State
from storage.rollout_steps import Strategy
from tests.engine.control.desks import Desk, desk

GOALS: list[dict[str, Any]] = [msgspec.to_builtins(ab_test_goals.parse("thumbs_up"))]
COOL: dict[str, Any] = {"model": "ops@1.0.0", "sampling": {"temperature": 0.1}}


@pytest_asyncio.fixture
async def control(tmp_path: Path) -> AsyncIterator[Desk]:
    """The service `support` on r1; r2 beside it."""
    async with desk(tmp_path / "home", furnished=True) as made:
        yield made


async def said(control: Desk, verb: str, target: str, **asked: Any) -> str:
    """The outcome of something that is done."""
    done = await control.do(verb, target, **asked)
    assert done.state is State.APPLIED, done.outcome
    return done.outcome or ""


async def refused(control: Desk, verb: str, target: str, **asked: Any) -> str:
    """The sentence with which something is refused."""
    done = await control.do(verb, target, **asked)
    assert done.state is State.REFUSED, done.outcome
    return done.outcome or ""


async def stage(control: Desk) -> None:
    """`support-next` tries r2."""
    made = await said(
        control, "services.create", "support-next", release="r2", staging_of="support"
    )
    assert made == "Created service support-next, the staging of support; r2 answers."


async def test_a_staging_is_promoted_by_a_rollout_of_its_production(control: Desk) -> None:
    """The rollout is that of `rollouts.start`, with its refusals."""
    await stage(control)
    done = await said(control, "services.promote", "support-next", strategy="blue_green")
    assert done.startswith("Started rollout 1 of support: r1 → r2")
    async with control.store.read() as s:
        rollout = await rollouts.latest(s, "support")
        assert await rollouts.latest(s, "support-next") is None
    assert rollout is not None
    assert (rollout.stable, rollout.candidate, rollout.strategy) == (1, 2, Strategy.BLUE_GREEN)
    again = await refused(control, "services.promote", "support-next")
    assert "rollout 1" in again


async def test_what_is_no_staging_or_is_split_is_not_promoted(control: Desk) -> None:
    """With what to do."""
    await stage(control)
    assert "`paddock rollouts start`" in await refused(control, "services.promote", "support")
    await said(control, "services.split", "support-next", arms={"r1": 5000, "r2": 5000})
    assert "set it to one of them first" in await refused(
        control, "services.promote", "support-next"
    )


async def test_a_staging_has_a_production_that_is_one(control: Desk) -> None:
    """No chains, no circles, and none without the other."""
    await stage(control)
    create = "services.create"
    chain = await refused(control, create, "third", release="r2", staging_of="support-next")
    assert chain == "support-next is the staging of support; name that one."
    assert "There is no service nine" in await refused(
        control, create, "third", release="r2", staging_of="nine"
    )
    assert "support-next is the staging of support; remove it first" in await refused(
        control, "services.remove", "support", despite_traffic=True
    )
    arms = [{"release": COOL}]
    itself = await refused(control, "manifests.apply", "support", arms=arms, staging_of="support")
    assert itself == "support cannot be the staging of itself."
    circle = await refused(
        control, "manifests.apply", "support", arms=arms, staging_of="support-next"
    )
    assert circle == chain


async def test_a_manifest_makes_and_ends_a_staging(control: Desk) -> None:
    """Its absence makes the service a production again."""
    arms = [{"release": COOL}]
    await said(control, "manifests.apply", "next", arms=arms, staging_of="support")
    async with control.store.read() as s:
        assert (await services.find(s, "next")).staging_of == "support"
    again = await said(control, "manifests.apply", "next", arms=arms, staging_of="support")
    assert again == "next is what the manifest says already; no change."
    await said(control, "manifests.apply", "next", arms=arms)
    async with control.store.read() as s:
        assert (await services.find(s, "next")).staging_of is None


async def test_a_retired_release_gets_no_traffic_until_it_is_brought_back(control: Desk) -> None:
    """Wherever a release can be chosen; each refusal says how to bring it back."""
    done = await said(control, "releases.retire", "r2")
    assert done == "Retired r2; `paddock releases unretire r2` brings it back."
    assert "no change" in await said(control, "releases.retire", "r2")
    adapted = [{"release": {"model": "ops@1.1.0"}}]
    for verb, target, asked in (
        ("services.split", "support", {"arms": {"r1": 9000, "r2": 1000}}),
        ("services.split", "support", {"arms": {"r1": 10_000, "r2": 0}}),
        ("services.create", "other", {"release": "r2"}),
        ("rollouts.start", "support", {"release": "r2"}),
        ("rollouts.plan", "support", {"release": "r2"}),
        ("ab_tests.start", "support", {"arms": {"r1": 5000, "r2": 5000}, "goals": GOALS}),
        ("manifests.apply", "support", {"arms": adapted}),
        ("manifests.apply", "support", {"arms": adapted, "rollout": {}}),
        ("releases.smoke", "r2", {}),
        ("replays.sample", "r2", {"service": "support"}),
        ("replays.request", "req_1", {"release": "r2"}),
    ):
        why = await refused(control, verb, target, **asked)
        assert "it was retired by kim; `paddock releases unretire r2` brings it back" in why
    async with control.store.read() as s:
        assert [arm.release for arm in (await services.find(s, "support")).split.arms] == [1]
        assert (await retired_releases.every(s))[2].reason == "because"
        verbs = [entry.verb for entry in await ledger.of(s, "release", "r2")]
    assert "releases.retire" in verbs
    again = await said(control, "releases.create", "", model="ops@1.1.0")
    assert "it is retired, and `paddock releases unretire r2` brings it back" in again
    await said(control, "releases.unretire", "r2")
    assert "no change" in await said(control, "releases.unretire", "r2")
    await said(control, "services.split", "support", arms={"r1": 9000, "r2": 1000})


async def test_no_way_back_leads_to_a_retired_release(control: Desk) -> None:
    """Neither an undo of a split, nor a rollout that is retried or undone.

    An arm without traffic does not stand in the way of an earlier split.
    """
    await said(control, "rollouts.start", "support", release="r2")
    await said(control, "rollouts.abort", "support", rollout=1)
    await said(control, "services.split", "support", arms={"r1": 9000, "r2": 1000})
    await said(control, "services.split", "support", arms={"r1": 10_000, "r2": 0})
    await said(control, "services.split", "support", arms={"r1": 10_000})
    await said(control, "releases.retire", "r2")
    async with control.store.read() as s:
        ids = {
            tuple(arm.weight_bp for arm in split.arms): split.id
            for split in await services.history(s, "support")
        }
    for verb, asked in (
        ("services.undo", {"to": ids[9000, 1000]}),
        ("rollouts.retry", {"rollout": 1}),
        ("rollouts.undo", {"to_revision": 1}),
    ):
        why = await refused(control, verb, "support", **asked)
        assert "`paddock releases unretire r2` brings it back" in why
    await said(control, "services.undo", "support", to=ids[10_000, 0])


async def test_a_release_that_is_named_is_not_retired(control: Desk) -> None:
    """Neither an arm without traffic, nor the candidate of a rollout."""
    assert "the split of support names it" in await refused(control, "releases.retire", "r1")
    await said(control, "services.split", "support", arms={"r1": 10_000, "r2": 0})
    assert "the split of support names it" in await refused(control, "releases.retire", "r2")
    await said(control, "services.split", "support", arms={"r1": 10_000})
    await said(control, "rollouts.start", "support", release="r2")
    assert "rollout 1 of support" in await refused(control, "releases.retire", "r2")
    await said(control, "releases.create", "", **COOL)
    await control.accept("releases.smoke", "r3")
    await control.control.settle()
    assert "a replay or a smoke holds it" in await refused(control, "releases.retire", "r3")


async def test_a_smoke_is_a_job_that_ends_the_intent(control: Desk) -> None:
    """Of the release itself, whatever the splits say."""
    await control.accept("releases.smoke", "r2")
    await control.control.settle()
    async with control.store.read() as s:
        (job,) = [each for each in await jobs.unfinished(s) if each.kind == "smoke_release"]
    assert (job.target, job.arguments) == ("r2", {"release": 2})
