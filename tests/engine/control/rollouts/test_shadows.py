"""Shadows: the guards are held against copies, and users stay on the stable release."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from engine.control.decisions import Reason
from engine.control.rollouts import planning, starts
from storage import intents
from storage.availability import Availability, Can
from storage.control_socket import verbs
from storage.releases import Engine, Limits, Release, Sampling, Upstream
from storage.rollout_looks import Verdict
from storage.rollout_steps import HOUR_S, Strategy
from storage.rollouts import State, Why
from storage.services import Arm, Service, Split
from tests.engine.control.rollouts import worlds
from tests.engine.control.rollouts.worlds import CANDIDATE, STABLE, World
from tests.engine.execution import jobs

MIRROR: Final = {"type": "mirror", "share_bp": 1000, "at_least": 310}
STEPS: Final[list[dict[str, Any]]] = [
    MIRROR, {"type": "set_weight", "weight_bp": 500}, {"type": "analysis"},
    {"type": "set_weight", "weight_bp": 10_000}, {"type": "analysis"},
]  # fmt: skip
ERRORS: Final = {"measure": "error_rate", "allowed_bp": 100}
AGREEMENT: Final = {"measure": "agreement", "allowed_bp": 2000}
SLOWDOWN: Final = {"measure": "slowdown", "allowed_bp": 500, "limit_percent": 200}


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A box with a stable release and a candidate."""
    async with worlds.made(tmp_path) as made:
        yield made


async def begun(world: World, **arguments: Any) -> None:
    """A shadow whose candidate is loaded and was asked, at its mirror."""
    await world.start(strategy="shadow", **arguments)
    await world.load(CANDIDATE)
    await world.settle()
    await world.smoke()
    await world.settle()
    rollout = await world.rollout()
    assert (rollout.state, rollout.step) == (State.STEPPING, 0)


def test_a_plan_says_that_a_server_scores_no_chats() -> None:
    """For a shadow only, and only of a candidate on a server."""
    usual: dict[str, Any] = {
        "number": 2, "sha256": "", "model_version_id": None, "prompt_version_id": None,
        "sampling": Sampling(), "limits": Limits(), "deployment": "x", "adapter": "",
        "created_at_us": 1, "created_by": "kim", "comment": "",
    }  # fmt: skip
    local = Release(engine=Engine(), **usual)
    remote = Release(upstream=Upstream(name="lab", model="m"), **usual)
    shadow = verbs.rollouts.Start(release="r2", strategy=Strategy.SHADOW)
    canary = verbs.rollouts.Start(release="r2")
    assert planning.unscored(shadow, local) == planning.unscored(canary, remote) == ""
    assert "how likely r2 finds stable's answers to chats will not be known" in planning.unscored(
        shadow, remote
    )


async def test_a_shadow_that_passes_goes_on_to_its_canary_by_itself(world: World) -> None:
    """No user met the candidate before, and its counts start at zero with its first weight."""
    await begun(world, steps=STEPS, guards=[ERRORS, AGREEMENT, SLOWDOWN])
    await world.mirror(309)
    assert await world.settle() == [] or (await world.rollout()).step == 0
    assert await world.weights() == {STABLE: 10_000, CANDIDATE: 0}
    await world.mirror(1)
    await world.settle()
    rollout = await world.rollout()
    assert (rollout.step, rollout.weight_bp) == (2, 500)
    passed = next(event for event in await world.events() if event.why is Why.PASSED)
    assert passed.sentence.startswith("The guards hold: error_rate<=1%: 0 of 310")
    await world.serve(320)
    await world.settle()
    assert (await world.rollout()).weight_bp == 10_000


async def test_a_shadow_by_default_waits_for_a_person_once_it_has_passed(world: World) -> None:
    """Nothing but a promotion gives users to the candidate."""
    await begun(world)
    await world.mirror(310)
    await world.settle()
    rollout = await world.rollout()
    assert (rollout.state, rollout.why, rollout.weight_bp) == (State.PAUSED, Why.ASKED, 0)
    await world.ask("rollouts.promote", rollout=rollout.id)
    assert (await world.rollout()).weight_bp == 500


@pytest.mark.parametrize(
    ("broken", "guard"),
    [
        ({"failed": 40}, "error_rate<=1%"),
        ({"differing": 40}, "agreement>=80%"),
        ({"times_slower": 3}, "slowdown_p95<=2x"),
    ],
)
async def test_harm_among_copies_ends_a_shadow_that_no_user_met(
    world: World, broken: dict[str, int], guard: str
) -> None:
    """Failures, another answer, and a slower one than stable's; paused or not."""
    await begun(world, steps=STEPS, guards=[ERRORS, AGREEMENT, SLOWDOWN])
    await world.ask("rollouts.pause", rollout=(await world.rollout()).id)
    await world.mirror(40, **broken)
    await world.settle()
    rollout = await world.rollout()
    assert (rollout.state, rollout.why) == (State.ABORTED, Why.HARM)
    assert guard in rollout.sentence
    assert rollout.impact is None
    assert await world.weights() == {STABLE: 10_000, CANDIDATE: 0}


async def test_a_shadow_without_copies_pauses_and_never_promotes(world: World) -> None:
    """Silence is no evidence, and neither are the answers that users get from stable."""
    await begun(world)
    await world.serve(1000, release=STABLE)
    world.wait(24 * HOUR_S)
    await world.settle()
    rollout = await world.rollout()
    assert (rollout.state, rollout.why) == (State.PAUSED, Why.INCONCLUSIVE)
    assert "300 more copies have to be compared" in rollout.sentence
    assert rollout.weight_bp == 0


async def test_copies_of_an_earlier_attempt_do_not_count(world: World) -> None:
    """A retry begins with no evidence."""
    await begun(world)
    await world.mirror(290)
    await world.settle()
    rollout = await world.rollout()
    await world.ask("rollouts.abort", rollout=rollout.id)
    await world.ask("rollouts.retry", rollout=rollout.id)
    await world.settle()
    await world.smoke()
    await world.settle()
    await world.mirror(20)
    world.wait(10)
    await world.settle()
    assert (await world.rollout()).step == 0
    newest = {look.guard: look for look in await world.looks()}
    assert newest["error_rate<=1%"].n == 20
    assert newest["error_rate<=1%"].verdict is Verdict.RUNNING


async def test_a_shadow_of_a_release_that_was_healthy_before_skips_nothing(world: World) -> None:
    """Other strategies go back to such a release at once."""
    first = await world.start(strategy="canary")
    await world.load(CANDIDATE)
    await world.settle()
    await world.smoke()
    await world.settle()
    await world.ask("rollouts.promote", rollout=first.id, full=True)
    done = await world.ask("rollouts.start", release="r1", strategy="shadow")
    assert done.state is intents.State.APPLIED, done.outcome
    assert await world.weights() == {CANDIDATE: 10_000, STABLE: 0}


def test_a_shadow_of_embeddings_is_refused_with_what_to_do_instead() -> None:
    """It would wait for comparisons of texts that never come; a canary has guards for it."""
    release = jobs.release(number=2, engine=Engine(task="embedding", pooling="last"))
    service = Service(
        name="search", record_text=False, version=1, created_at_us=0, created_by="kim",
        split=Split(
            id=1, service="search", salt="s", set_at_us=0, set_by="kim", intent_id=None,
            arms=(Arm(release=1, weight_bp=10_000),),
        ),
    )  # fmt: skip
    able = Availability(can=Can.ANSWER, reason="")
    wanted = starts.Wanted(service=service, candidate=release, able=able)
    shadow = verbs.rollouts.Start(release="r2", strategy=Strategy.SHADOW)
    refused = starts.decide(wanted, shadow)
    assert refused.reason is Reason.INVALID
    assert "r2 is for embedding; lead it by a canary" in refused.sentence
    assert starts.decide(wanted, verbs.rollouts.Start(release="r2")).reason is Reason.APPLIED
