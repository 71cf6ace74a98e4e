"""What a release would do with a request, by all that is known of it."""

from __future__ import annotations

import pytest

from storage import availability, deployments, models, processes, services
from storage.availability import Availability, Can
from storage.processes import Kind, State
from storage.store import Session, Store
from tests.storage import fixtures

WORKER = "ops-1.0.0:1"


async def declare(s: Session, at_us: int = 10, restarts: int = 0) -> None:
    """A worker of the deployment is started."""
    await processes.declare(
        s, name=WORKER, kind=Kind.WORKER, deployment="ops-1.0.0", at_us=at_us, restarts=restarts
    )


async def ready(s: Session) -> None:
    """It is ready."""
    await declare(s)
    await processes.move(s, WORKER, State.READY, at_us=3_000_010)


async def silent(s: Session) -> None:
    """It is ready and says nothing."""
    await ready(s)
    await processes.move(s, WORKER, State.READY, at_us=3_000_011, silent_since_us=3_000_011)


async def again(s: Session) -> None:
    """It crashed twice and is being started once more; the last start took three seconds."""
    await ready(s)
    await processes.move(s, WORKER, State.CRASHED, at_us=4_000_000, reason="killed by SIGSEGV")
    await declare(s, 5_000_000, restarts=1)
    await processes.move(s, WORKER, State.READY, at_us=8_000_000)
    await processes.move(s, WORKER, State.CRASHED, at_us=9_000_000, reason="killed by SIGSEGV")
    await declare(s, 9_500_000, restarts=2)


async def looping(s: Session) -> None:
    """It has ended three times and is dead now."""
    await declare(s, restarts=3)
    await processes.move(s, WORKER, State.CRASHED, at_us=11, reason="killed by SIGSEGV.")


async def lost(s: Session) -> None:
    """The model file is gone."""
    (await s.get_one(models.ModelRow, 1)).path = "/nowhere/ops.gguf"


async def lost_and_loaded(s: Session) -> None:
    """The model file is gone, and a worker has the weights in memory."""
    await lost(s)
    await ready(s)


async def failing(s: Session) -> None:
    """The node gave it up."""
    await deployments.mark_failing(s, "ops-1.0.0", "it died 3 times.", 9)


async def unloaded(s: Session) -> None:
    """Nothing ever ran."""
    del s


@pytest.mark.parametrize(
    ("scene", "found"),
    [
        (unloaded, (Can.WAIT, "ops-1.0.0 is not loaded", None)),
        (declare, (Can.WAIT, "ops-1.0.0 is starting", None)),
        (again, (Can.WAIT, "ops-1.0.0 is starting", 3_000_000)),
        (ready, (Can.ANSWER, "", None)),
        (silent, (Can.WAIT, "ops-1.0.0:1 gives no sign of life", None)),
        (
            looping,
            (
                Can.NOT,
                "ops-1.0.0:1 has ended 3 times and is not ready: killed by SIGSEGV",
                None,
            ),
        ),
        (lost, (Can.NOT, "the file of ops@1.0.0 is missing: /nowhere/ops.gguf", None)),
        (lost_and_loaded, (Can.ANSWER, "", None)),
        (
            failing,
            (
                Can.NOT,
                (
                    "ops-1.0.0 is failing: it died 3 times; "
                    "`paddock deployments restart ops-1.0.0` starts it again"
                ),
                None,
            ),
        ),
    ],
)
async def test_what_a_release_would_do(
    store: Store, scene: object, found: tuple[Can, str, int | None]
) -> None:
    """It answers, it has to start first, or it cannot."""
    await fixtures.furnish(store)
    await store.write(scene)  # type: ignore[arg-type]
    async with store.read() as s:
        now = (await availability.every(s, [1]))[1]
    can, reason, starts_in_us = found
    assert now == Availability(can=can, reason=reason, starts_in_us=starts_in_us)


@pytest.mark.parametrize(
    ("named", "found"),
    [
        (
            False,
            Availability(can=Can.NOT, reason="the file of ops@1.1.0 is missing: /nowhere/l.gguf"),
        ),
        (True, Availability(can=Can.ANSWER)),
    ],
)
async def test_an_adapter_that_was_never_loaded_needs_its_file(
    store: Store, named: bool, found: Availability
) -> None:
    """Its base is ready and has no need of it; a split that names it had it loaded before."""
    records = await fixtures.furnish(store)

    async def scene(s: Session) -> None:
        await ready(s)
        (await s.get_one(models.ModelRow, records.adapter.id)).path = "/nowhere/l.gguf"
        version = (await services.find(s, "support")).version
        arms = [services.Arm(release=records.stable.number, weight_bp=10_000)]
        if named:
            arms.append(services.Arm(release=records.candidate.number, weight_bp=0))
        await services.set_split(
            s, service="support", arms=arms, expected_version=version, actor="sara", at_us=20
        )

    await store.write(scene)
    async with store.read() as s:
        assert (await availability.every(s))[records.candidate.number] == found
