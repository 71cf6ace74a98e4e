"""How many instances a deployment may have, and what is said of a number that it may not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.control import deployments as control
from engine.control.decisions import Reason
from engine.control.deployments import Memory, Observed
from engine.node.memory_estimate import Footprint
from storage.deployments import MOST, Backend, Deployment, Status
from storage.releases import Engine

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
