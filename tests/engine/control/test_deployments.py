"""How many instances a deployment may have, and what is said of a number that it may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.control import deployments as control
from engine.control.decisions import Reason
from engine.control.deployments import Memory, Observed
from engine.node.memory_estimate import Footprint
from storage import deployments, ledger
from storage.deployments import MOST, Backend, Deployment, Status
from storage.intents import State
from storage.releases import Engine
from storage.store import Session
from tests.engine.control.desks import desk
from tests.home_fixtures import WEIGHTS

GB = 1_000_000_000


def _deployment(replicas: int = 1, backend: Backend = Backend.LOCAL) -> Deployment:
    local = backend is Backend.LOCAL
    return Deployment(
        name="ops-1.0.0",
        backend=backend,
        weights="ab" * 32 if local else None,
        engine=Engine() if local else None,
        upstream=None if local else "far",
        server=None,
        replicas=replicas,
        status=Status.ACTIVE,
        status_reason=None,
        created_at_us=0,
    )


observations = st.builds(
    Observed,
    deployment=st.integers(1, MOST).map(_deployment),
    running=st.integers(0, MOST),
    footprint=st.none()
    | st.builds(Footprint, st.integers(0, 100 * GB), st.integers(0, 10 * GB), st.booleans()),
    memory=st.none() | st.integers(0, 500 * GB).map(lambda free: Memory("in memory", free)),
)


@given(observed=observations, replicas=st.integers(-5, 2000))
def test_what_is_allowed_is_in_range_and_fits(observed: Observed, replicas: int) -> None:
    """Scaling down is always possible, and scaling up as far as memory is known to reach."""
    decision = control.decide(observed, replicas)
    before = observed.deployment.replicas
    if not 1 <= replicas <= MOST:
        assert decision.reason is Reason.INVALID
        assert "1 to 64" in decision.sentence
    elif replicas == before:
        assert decision.reason is Reason.UNCHANGED
    else:
        more = replicas - observed.running
        fits = (
            observed.footprint is None
            or observed.memory is None
            or observed.footprint.more_bytes(observed.running, more)
            <= (observed.memory.free_bytes or 0)
        )
        allowed = replicas < before or fits
        assert decision.reason is (Reason.APPLIED if allowed else Reason.INVALID)


@given(observed=observations)
def test_what_is_said_to_fit_fits(observed: Observed) -> None:
    """The number in a refusal is one that is not refused."""
    fitting = observed.fitting
    if fitting is not None and fitting > observed.deployment.replicas:
        assert control.decide(observed, fitting).reason is Reason.APPLIED


@pytest.mark.parametrize(
    ("replicas", "said"),
    [
        (0, "replicas is 1 to 64, not 0; to stop ops-1.0.0, take its releases out of every split."),
        (-3, "replicas is 1 to 64, not -3; to stop ops-1.0.0, take its releases out"),
        (1000, "replicas is 1 to 64, not 1000; at most 4 fit."),
        (
            8,
            "6 more need at least 30 GB for weights and KV cache, and 14.5 GB are free on the GPUs",
        ),
        (3, "ops-1.0.0: 3 replicas (before: 2)."),
        (1, "ops-1.0.0: 1 replica (before: 2)."),
        (2, "ops-1.0.0 has 2 replicas already."),
    ],
)
def test_the_answer_says_what_would_be_possible(replicas: int, said: str) -> None:
    """The range, and with a number that is too large what would fit."""
    memory = Memory("on the GPUs", 14_500_000_000)
    footprint = Footprint(weights_bytes=4 * GB, cache_bytes=GB)
    observed = Observed(_deployment(2), running=2, footprint=footprint, memory=memory)
    assert said in control.decide(observed, replicas).sentence


def test_instances_on_a_cpu_share_their_weights() -> None:
    """One more takes its KV cache only; the first also brings the weights."""
    shared = Footprint(weights_bytes=30 * GB, cache_bytes=GB, shared=True)
    memory = Memory("in memory", 10 * GB)
    assert control.decide(Observed(_deployment(1), 1, shared, memory), 11).reason is Reason.APPLIED
    assert control.decide(Observed(_deployment(1), 1, shared, memory), 12).reason is Reason.INVALID
    assert control.decide(Observed(_deployment(1), 0, shared, memory), 2).reason is Reason.INVALID


def test_an_upstream_is_scaled_where_it_runs() -> None:
    """Its instances are not ours."""
    observed = Observed(_deployment(1, Backend.UPSTREAM), 0, None, None)
    decision = control.decide(observed, 2)
    assert decision.reason is Reason.INVALID
    assert "scale it there" in decision.sentence


async def test_a_deployment_is_scaled_by_its_name_or_its_beginning(tmp_path: Path) -> None:
    """Nonsense is refused with the range; the ledger has the number before."""
    async with desk(tmp_path / "home", furnished=True) as control:
        for replicas, said in ((0, "1 to 64, not 0"), (1000, "1 to 64, not 1000")):
            refused = await control.do("deployments.scale", "ops", replicas=replicas)
            assert (refused.state, said in (refused.outcome or "")) == (State.REFUSED, True)
        unknown = await control.do("deployments.scale", "other", replicas=2)
        assert unknown.outcome == "There is no deployment other; known: ops-1.0.0."
        scaled = await control.do("deployments.scale", "ops", replicas=2)
        assert scaled.outcome == "ops-1.0.0: 2 replicas (before: 1)."
        again = await control.do("deployments.scale", "ops", replicas=2)
        assert (again.state, again.outcome) == (State.APPLIED, "ops-1.0.0 has 2 replicas already.")
        async with control.store.read() as session:
            (entry,) = await ledger.of(session, "deployment", "ops-1.0.0")
            assert (await deployments.find(session, "ops-1.0.0")).replicas == 2
    assert (entry.before, entry.after, entry.intent_id) == (1, 2, scaled.id)


async def test_a_failing_deployment_runs_again_when_someone_says_so(tmp_path: Path) -> None:
    """By its own verb, or by adding its file again."""
    weights: dict[str, Any] = {"model": "ops", "version": "1.0.0", "path": str(WEIGHTS)}

    async def mark(session: Session) -> None:
        await deployments.mark_failing(session, "ops-1.0.0", "it died 5 times", 5)

    async def status() -> str:
        async with here.store.read() as session:
            return (await deployments.find(session, "ops-1.0.0")).status.value

    async with desk(tmp_path / "home", furnished=True) as here:
        unchanged = await here.do("deployments.restart", "ops")
        assert unchanged.outcome == "ops-1.0.0 is not failing; no change."
        await here.store.write(mark)
        assert await status() == "failing"
        restarted = await here.do("deployments.restart", "ops")
        assert (restarted.outcome, await status()) == ("ops-1.0.0 is started again.", "active")
        await here.store.write(mark)
        added = await here.do("models.add", "ops", **weights)
        assert added.outcome == "ops@1.0.0 is the same file; loading it is tried again."
        assert await status() == "active"
