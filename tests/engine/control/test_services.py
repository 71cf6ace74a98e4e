"""Verbs of services: splits that are set, undone and refused; freezes, settings, removal."""

from __future__ import annotations

from pathlib import Path

from storage import models, processes, samples, services
from storage.home import clock
from storage.intents import State
from storage.store import Session
from tests.engine.control.desks import Desk, desk


async def test_from_a_file_to_a_split_and_back(tmp_path: Path) -> None:
    """The way that every box goes, each step with its sentence."""
    async with desk(tmp_path / "home", furnished=True) as control:
        split = await control.do("services.split", "support", arms={"r1": 9000, "r2": 1000})
        assert split.outcome == "support: r1 90 %, r2 10 % (before: r1 100 %)."
        again = await control.do("services.split", "support", arms={"r2": 1000, "r1": 9000})
        assert (again.state, again.outcome) == (
            State.APPLIED,
            "support already has this split: r2 10 %, r1 90 %.",
        )
        for said in (
            "support: r1 100 % (before: r1 90 %, r2 10 %).",
            "support is already at split 1 (r1 100 %); no change.",
        ):
            undone = await control.do("services.undo", "support", 2, to=1)
            assert (undone.state, undone.outcome) == (State.APPLIED, said)
        async with control.store.read() as session:
            versions = await models.every(session)
            service = await services.find(session, "support")
    assert [version.name for version in versions] == ["ops@1.0.0", "ops@1.1.0"]
    assert (versions[1].kind, versions[1].base_id) == (models.Kind.ADAPTER, versions[0].id)
    assert service.version == 3


async def test_going_back_to_what_a_worker_serves_is_never_refused(tmp_path: Path) -> None:
    """Whatever became of the file meanwhile: the weights are in memory."""

    async def mark(session: Session) -> None:
        await models.mark_unloadable(session, 1, "torn", 5)
        await processes.declare(
            session, name="ops-1.0.0:1", kind=processes.Kind.WORKER, deployment="ops-1.0.0", at_us=6
        )

    async with desk(tmp_path / "home", furnished=True) as control:
        await control.do("services.split", "support", arms={"r1": 9000, "r2": 1000})
        await control.store.write(mark)
        assert (await control.do("services.undo", "support", to=1)).state is State.REFUSED
        await control.store.write(
            lambda s: processes.move(s, "ops-1.0.0:1", processes.State.READY, at_us=7)
        )
        assert (await control.do("services.undo", "support", to=1)).state is State.APPLIED


async def test_a_change_based_on_an_old_version_is_refused(furnished: Desk) -> None:
    """Two operators: the second one's `expected_version` is old."""
    await furnished.do("services.split", "support", 1, arms={"r1": 5000, "r2": 5000})
    late = await furnished.do("services.split", "support", 1, arms={"r1": 1000, "r2": 9000})
    assert late.state is State.REFUSED
    assert "changed since you looked: kim set" in (late.outcome or "")


async def test_an_intent_is_undone_while_nothing_came_after_it(furnished: Desk) -> None:
    """Once, however often it is asked; after another change it is refused with what to do."""
    split = await furnished.do("services.split", "support", arms={"r2": 10_000})
    for said in ("support: r1 100 % (before: r2 100 %).", "already at split 1"):
        undone = await furnished.do("services.undo", "support", intent=split.id)
        assert undone.state is State.APPLIED
        assert said in (undone.outcome or "")
    await furnished.do("services.split", "support", arms={"r1": 5_000, "r2": 5_000})
    late = await furnished.do("services.undo", "support", intent=split.id)
    assert late.state is State.REFUSED
    assert "support changed after intent" in (late.outcome or "")
    assert "--to" in (late.outcome or "")


async def test_two_who_go_back_at_once_change_once(furnished: Desk) -> None:
    """Both saw the bad split; both end on the good one, and the second hears that it is there."""
    await furnished.do("services.split", "support", arms={"r2": 10_000})
    first, second = [await furnished.accept("services.undo", "support", 2, to=1) for _ in range(2)]
    assert (await furnished.ended(first)).state is State.APPLIED
    told = await furnished.ended(second)
    assert (told.state, told.outcome) == (
        State.APPLIED,
        "support is already at split 1 (r1 100 %); no change.",
    )
    async with furnished.store.read() as session:
        service = await services.find(session, "support")
    assert (service.version, [arm.release for arm in service.split.arms]) == (3, [1])


async def test_a_frozen_service_is_not_split(furnished: Desk) -> None:
    """Refused with who froze it and why, until it is unfrozen; going back is allowed."""
    await furnished.do("services.split", "support", arms={"r1": 9_000, "r2": 1_000})
    await furnished.do("services.freeze", "support")
    refused = await furnished.do("services.split", "support", arms={"r2": 10_000})
    assert refused.state is State.REFUSED
    assert "support is frozen by kim since" in (refused.outcome or "")
    assert "paddock services unfreeze support" in (refused.outcome or "")
    assert (await furnished.do("services.undo", "support", to=1)).state is State.APPLIED
    assert (await furnished.do("services.unfreeze", "support")).state is State.APPLIED
    again = await furnished.do("services.unfreeze", "support")
    assert (again.state, again.outcome) == (State.APPLIED, "support is not frozen; no change.")
    split = await furnished.do("services.split", "support", arms={"r2": 10_000})
    assert split.state is State.APPLIED


async def test_the_recording_of_texts_is_switched_on_and_off(furnished: Desk) -> None:
    """From then on; what was recorded stays until its retention ends."""
    for on, said in ((True, "texts are recorded from now on."), (False, "not recorded from now")):
        ended = await furnished.do("services.set", "support", record_text=on)
        assert said in (ended.outcome or "")
        async with furnished.store.read() as session:
            assert (await services.find(session, "support")).record_text is on


async def test_a_service_in_use_is_not_removed(furnished: Desk) -> None:
    """It is refused with the traffic of the last minutes, unless that is said to be fine."""
    second = clock.now_us() // 1_000_000
    busy = samples.ArmSample(requests=7, ok=7)
    await furnished.store.write(
        lambda s: samples.record(s, second, [(samples.Kind.ARM, "support/r1", busy)])
    )
    refused = await furnished.do("services.remove", "support")
    assert refused.state is State.REFUSED
    assert "support had 7 requests within the last 5 minutes" in (refused.outcome or "")
    removed = await furnished.do("services.remove", "support", despite_traffic=True)
    assert (removed.state, removed.outcome) == (State.APPLIED, "Removed service support.")
    async with furnished.store.read() as session:
        assert await services.every(session) == []
