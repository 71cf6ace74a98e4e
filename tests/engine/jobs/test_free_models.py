"""Deleting model files: recorded first, only what nothing needs, and never outside the home."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from engine.jobs import free_models, kinds
from engine.jobs.errors import Transient
from storage import job_steps, jobs, ledger, model_aliases, models, unused_models
from storage.intents import State
from storage.jobs import Job
from storage.models import Status
from storage.store import Session
from storage.unused_models import FREED
from tests.engine.control.desks import Desk, desk
from tests.engine.jobs import run_jobs
from tests.storage import fixtures

ORPHAN = "f" * 64


@pytest_asyncio.fixture
async def control(tmp_path: Path) -> AsyncIterator[Desk]:
    """Two downloaded versions, a local one, and a file that no version names."""
    async with desk(tmp_path / "home") as made:

        async def work(s: Session) -> None:
            for version in ("1.0.0", "1.1.0", "2.0.0"):
                known = await fixtures.model(s, version)
                row = await s.get_one(models.ModelRow, known.id)
                if version == "2.0.0":
                    continue
                path = made.store.home.models / known.sha256 / "x.gguf"
                path.parent.mkdir(parents=True)
                path.write_bytes(b"GGUF")
                row.path, row.source = str(path), "https://example.org/x.gguf"

        await made.store.write(work)
        (made.store.home.models / ORPHAN).mkdir()
        yield made


def kept(control: Desk) -> list[str]:
    """The directories below `models/`."""
    return sorted(
        path.name for path in control.store.home.models.iterdir() if path.name != ".partial"
    )


async def digest(control: Desk, name: str) -> str:
    """The SHA-256 of a version."""
    async with control.store.read() as s:
        return (await models.find(s, name)).sha256


async def freed(control: Desk) -> Job:
    """Carry out the one job that is queued."""
    (job,) = await run_jobs.run(control.store)
    return job


async def test_a_removed_version_loses_its_file_and_keeps_its_record(control: Desk) -> None:
    """Its number is not free; another version's file stays, and so does an orphan."""
    gone = await digest(control, "ops@1.1.0")
    await control.accept("models.remove", "ops@1.1.0")
    await control.control.settle()
    assert gone in kept(control)  # recorded first
    assert (await freed(control)).reason == "Deleted 1 file, 0.00 GB."
    assert kept(control) == sorted([ORPHAN, await digest(control, "ops@1.0.0")])
    async with control.store.read() as s:
        version = await models.find(s, "ops@1.1.0")
        assert version.status is Status.REMOVED
        entry = (await ledger.of(s, "model_file", gone))[0]
        assert (entry.actor, entry.before["versions"]) == ("kim", ["ops@1.1.0"])


async def test_what_is_needed_is_not_removed(control: Desk) -> None:
    """A release, an alias, an adapter: each refusal names it."""

    async def work(s: Session) -> None:
        base = await models.find(s, "ops@1.0.0")
        await fixtures.release(s, base)
        tuned = await models.find(s, "ops@1.1.0")
        await model_aliases.point(s, "ops", "champion", tuned.id, actor="lee", at_us=1)
        kind = models.Kind.ADAPTER
        local = await models.find(s, "ops@2.0.0")
        await fixtures.model(s, "2.1.0", kind=kind, base_id=local.id)

    await control.store.write(work)
    for name, said in (
        ("ops@1.0.0", "r1 answers with it"),
        ("ops@1.1.0", "ops@champion points at it"),
        ("ops@2.0.0", "it is the base of ops@2.1.0"),
    ):
        refused = await control.do("models.remove", name)
        assert refused.state is State.REFUSED
        assert said in (refused.outcome or "")


async def test_a_file_of_ones_own_is_never_deleted(control: Desk) -> None:
    """It was added by its path."""
    done = await control.do("models.remove", "ops@2.0.0")
    assert done.outcome == f"Removed ops@2.0.0; its file {fixtures.__file__} is yours and stays."
    assert Path(fixtures.__file__).exists()


async def test_gc_deletes_what_no_version_names_and_with_unused_more(control: Desk) -> None:
    """Without it every registered version counts."""
    done = await control.do("models.gc", "models", unused=False)
    assert done.outcome == "Deleted 1 file, 0.00 GB."
    assert ORPHAN not in kept(control)
    async with control.store.read() as s:
        spare = await unused_models.spare(s)
    assert [each.name for each in spare] == ["ops@1.0.0", "ops@1.1.0"]
    assert (await control.do("models.gc", "models", unused=True)).state is State.APPLIED
    assert kept(control) == []


async def test_a_file_that_a_job_has_hashed_is_being_written(control: Desk) -> None:
    """The job may be about to register it."""

    async def work(s: Session) -> None:
        job = await jobs.add(
            s, kind="add_model", target="x@1.0.0", arguments={}, actor="kim", at_us=1
        )
        hashed = msgspec.json.encode({"sha256": ORPHAN}).decode()
        await job_steps.record(s, job.id, "hash", result=hashed)

    await control.store.write(work)
    async with control.store.read() as s:
        needs = await unused_models.needs(s)
    assert unused_models.find(control.store.home, needs) == []


@pytest.mark.parametrize("step", ["set_aside", "delete"])
async def test_a_job_that_ends_between_its_steps_is_resumed(
    control: Desk, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger has the file already; the next attempt deletes it."""
    await control.accept("models.gc", "models", unused=False)
    await control.control.settle()
    at = next(n for n, each in enumerate(free_models.KIND.steps) if each.name == step)

    async def dies(_: object) -> None:
        raise Transient("the disk did not answer")

    broken = kinds.Step(step, dies)
    steps = (*free_models.KIND.steps[:at], broken)
    monkeypatch.setattr(free_models, "KIND", kinds.Kind(steps))
    (job,) = await run_jobs.run(control.store)
    assert job.state is jobs.State.QUEUED
    async with control.store.read() as s:
        assert await ledger.of(s, "model_file", ORPHAN)
    assert (f"{FREED}{ORPHAN}" in kept(control)) == (step == "delete")
    assert (ORPHAN in kept(control)) == (step == "set_aside")
    monkeypatch.undo()
    assert (await freed(control)).reason == "Deleted 1 file, 0.00 GB."
    assert ORPHAN not in "".join(kept(control))
