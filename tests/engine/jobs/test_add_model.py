"""Adding a model: whatever it comes from, it is registered whole and checked, or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.jobs import kept_models, scratch
from storage import job_logs, job_steps, jobs, models
from storage import store as stores
from storage.home import clock, secrets
from storage.home import paths as homes
from storage.home.paths import Home
from storage.jobs import Job, State
from storage.model_checks import ModelChecks, Template
from storage.models import ModelVersion
from storage.store import Session, Store
from tests.engine.control import ggufs
from tests.engine.jobs import run_jobs
from tests.engine.registry import hub as hubs
from tests.engine.registry.hub import Hub
from tests.home_fixtures import ADAPTER, WEIGHTS

ASKED: dict[str, str] = {"model": "x", "version": "1.0.0"}


class Registry:
    """A store to which models are added."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.home = store.home

    async def add(self, path: object, **more: str) -> Job:
        """Carry out one attempt of the job for a file; the job as it is then."""
        asked = {**ASKED, "path": str(path), **more}
        job = await self.store.write(
            lambda s: jobs.add(
                s, kind="add_model", target=f"{asked['model']}@{asked['version']}",
                arguments=asked, actor="kim", at_us=1,
            )
        )  # fmt: skip
        return await run_jobs.attempt(self.store, job)

    async def versions(self) -> dict[str, ModelVersion]:
        """What is registered, by name."""
        async with self.store.read() as s:
            return {version.name: version for version in await models.every(s)}

    def kept(self) -> list[str]:
        """The files under `models/`, as paths in it."""
        root = self.home.models
        return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    """An empty one."""
    store = await stores.open(homes.make(Home(tmp_path / "home")))
    yield Registry(store)
    await store.close()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub with a tiny model."""
    content = ggufs.made(tmp_path / "tiny.gguf").read_bytes()
    with hubs.serving(Hub(content)) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.address)
        yield served


@pytest.mark.parametrize(
    ("path", "more", "said"),
    [
        ("/nowhere", {}, "No such file"),
        ("x.gguf", {}, "not an absolute path"),
        ("/etc", {}, "is not a regular file"),
        (__file__, {}, "letters GGUF"),
        (ADAPTER, {}, "is an adapter; name the weights"),
        (WEIGHTS, {"kind": "adapter"}, "contains weights, not an adapter"),
        (WEIGHTS, {"base": "ops@1.0.0"}, "no model ops@1.0.0"),
        (WEIGHTS, {"sha256": "0" * 64}, "is not the file that was asked for"),
        ("nosuch://bucket/x.gguf", {}, "Protocol not known: nosuch"),
        ("memory://nowhere.gguf", {}, "there is no such file"),
        ("hf://acme", {}, "hf://owner/repository/file.gguf@revision"),
    ],
)
async def test_what_cannot_be_added_leaves_nothing(
    registry: Registry, path: object, more: dict[str, str], said: str
) -> None:
    """The job has failed with a sentence; no version, no file."""
    job = await registry.add(path, **more)
    assert job.state is State.FAILED
    assert said in (job.reason or "")
    assert (await registry.versions(), registry.kept()) == ({}, [])


async def test_a_local_file_is_registered_in_place(registry: Registry) -> None:
    """With its hash, its header's facts and the verdict on its chat template."""
    job = await registry.add(WEIGHTS)
    assert job.state is State.SUCCEEDED
    version = (await registry.versions())["x@1.0.0"]
    assert (version.path, version.source) == (str(WEIGHTS), None)
    assert version.sha256 == hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    chat = version.checks.chat
    assert chat is not None
    assert (chat.template, chat.works, chat.takes_system) == (Template.OWN, True, True)


async def test_an_adapter_on_the_wrong_base_is_refused_with_what_differs(
    registry: Registry, tmp_path: Path
) -> None:
    """The architecture is the same; only the tensors tell."""
    await registry.add(ggufs.made(tmp_path / "other.gguf"), model="other")
    job = await registry.add(ADAPTER, base="other@1.0.0", kind="adapter")
    assert job.state is State.FAILED
    assert "is not an adapter for other@1.0.0: it changes " in (job.reason or "")
    assert "which is not there" in (job.reason or "")


async def test_a_name_that_is_taken_is_refused_before_anything_is_downloaded(
    registry: Registry, hub: Hub
) -> None:
    """Forty gigabytes later would be too late."""
    await registry.add(WEIGHTS)
    job = await registry.add("hf://acme/tiny/tiny.gguf")
    assert job.reason == "x@1.0.0 is registered; versions never change, so take the next number."
    assert hub.requests == []


async def test_a_file_of_the_hub_lands_under_its_hash(registry: Registry, hub: Hub) -> None:
    """The version knows the commit that it came from, whatever the branch does later."""
    job = await registry.add("hf://acme/tiny/tiny.gguf")
    assert job.state is State.SUCCEEDED, job.reason
    version = (await registry.versions())["x@1.0.0"]
    sha256 = hashlib.sha256(hub.content).hexdigest()
    assert version.source == f"hf://acme/tiny/tiny.gguf@{hubs.COMMIT}"
    assert version.path == str(registry.home.models / sha256 / "tiny.gguf")
    assert version.sha256 == sha256
    assert Path(version.path).read_bytes() == hub.content
    assert Path(version.path).stat().st_mtime_ns == version.mtime_ns
    assert registry.kept() == [f"{sha256}/tiny.gguf"]


async def test_the_same_file_under_another_name_is_kept_once(registry: Registry, hub: Hub) -> None:
    """What has landed is what was verified."""
    await registry.add("hf://acme/tiny/tiny.gguf")
    job = await registry.add(f"{hub.address}/plain/tiny.gguf", version="1.1.0")
    assert job.state is State.SUCCEEDED
    first, second = (await registry.versions()).values()
    assert (first.path, first.mtime_ns) == (second.path, second.mtime_ns)
    assert Path(first.path).stat().st_mtime_ns == first.mtime_ns
    assert len(registry.kept()) == 1


@pytest.mark.usefixtures("hub")
async def test_a_file_that_was_kept_without_its_version_is_replaced_by_the_next_attempt(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its transaction failed after the file was in place; the version records the new file."""
    keep = kept_models.keep

    def keep_and_fail(part: Path, kept: Path) -> None:
        keep(part, kept)
        raise RuntimeError("the commit failed")

    with monkeypatch.context() as patch:
        patch.setattr(kept_models, "keep", keep_and_fail)
        failed = await registry.add("hf://acme/tiny/tiny.gguf")
    (left,) = registry.kept()
    assert (failed.state, await registry.versions()) == (State.FAILED, {})
    os.utime(registry.home.models / left, ns=(1, 1))
    await registry.store.write(lambda s: jobs.retry(s, failed.id, actor="kim", at_us=1))
    job = await run_jobs.attempt(registry.store, failed)
    assert job.state is State.SUCCEEDED, job.reason
    version = (await registry.versions())["x@1.0.0"]
    assert registry.kept() == [left]
    assert Path(version.path).stat().st_mtime_ns == version.mtime_ns


async def test_a_file_whose_hash_is_not_the_announced_one_is_not_kept(
    registry: Registry, hub: Hub
) -> None:
    """The sentence has both hashes."""
    hub.sha256 = "b" * 64
    job = await registry.add("hf://acme/tiny/tiny.gguf")
    assert job.state is State.FAILED
    assert "not the file that was announced" in (job.reason or "")
    assert "b" * 64 in (job.reason or "")
    assert (await registry.versions(), registry.kept()) == ({}, [])


@pytest.mark.parametrize("share", [0.5, 0.99])
async def test_a_download_that_died_is_resumed_by_the_next_attempt(
    registry: Registry, hub: Hub, share: float
) -> None:
    """The first attempt keeps what has arrived; looking up is not done again."""
    hub.faults.append("cut")
    hub.cut_at = share
    job = await registry.add("hf://acme/tiny/tiny.gguf")
    assert (job.state, job.failures) == (State.QUEUED, 1)
    assert scratch.directory(registry.home, job.id).is_dir()
    job = await run_jobs.attempt(registry.store, job)
    assert job.state is State.SUCCEEDED, job.reason
    ranges = [request.headers.get("range") for request in hub.asked_for_bytes()]
    assert ranges == [None, f"bytes={int(len(hub.content) * share)}-"]
    assert (await registry.versions())["x@1.0.0"].sha256 == hashlib.sha256(hub.content).hexdigest()
    assert [each.method for each in hub.requests].count("HEAD") == 1


async def test_the_query_of_an_address_is_sent_and_in_no_record(
    registry: Registry, hub: Hub
) -> None:
    """It may be a signature: the job holds a reference, its steps and log hold neither."""
    reference = secrets.deposit(registry.home, "token=t0ps3cret")
    hub.faults.append("cut")
    job = await registry.add(f"{hub.address}/plain/tiny.gguf", secret=reference)
    async with registry.store.read() as s:
        assert await jobs.secrets(s) == {reference}
        records = [job, *await job_steps.of(s, job.id), *await job_logs.read(s, job.id)]
    record = (scratch.directory(registry.home, job.id) / "file.json").read_text()
    assert "t0ps3cret" not in f"{records} {record}"
    job = await run_jobs.attempt(registry.store, job)
    assert job.state is State.SUCCEEDED, job.reason
    assert {each.path for each in hub.asked_for_bytes()} == {"/plain/tiny.gguf?token=t0ps3cret"}
    assert "t0ps3cret" not in f"{await registry.versions()}"
    async with registry.store.read() as s:
        assert await jobs.secrets(s) == set()


async def test_a_download_that_starts_over_every_time_is_given_up(
    registry: Registry, hub: Hub
) -> None:
    """The server cannot resume and always hangs up half-way: that is no progress.

    After ten attempts in as many minutes what has arrived is kept, and a retry resumes there.
    """
    hub.etags = False
    hub.faults.extend(["cut"] * 10)
    job = await registry.add(f"{hub.address}/plain/tiny.gguf")
    failures = [job.failures]
    while job.state is State.QUEUED and len(failures) < 20:
        hub.etags = len(failures) == 9
        job = await run_jobs.attempt(registry.store, job)
        failures.append(job.failures)
    assert failures == [*range(1, 11)]
    assert job.state is State.FAILED
    assert "Given up after 10 attempts in a row; `paddock jobs retry 1`" in (job.reason or "")
    await registry.store.write(lambda s: jobs.retry(s, job.id, actor="kim", at_us=clock.now_us()))
    job = await run_jobs.attempt(registry.store, job)
    assert job.state is State.SUCCEEDED, job.reason
    assert hub.asked_for_bytes()[-1].headers["range"] == f"bytes={len(hub.content) // 2}-"


@pytest.mark.parametrize("fault", ["html", "404"])
async def test_an_answer_that_is_no_file_fails_the_job(
    registry: Registry, hub: Hub, fault: str
) -> None:
    """At once, and nothing is left."""
    hub.faults.append(fault)
    job = await registry.add(f"{hub.address}/plain/tiny.gguf")
    assert job.state is State.FAILED
    assert (await registry.versions(), registry.kept()) == ({}, [])


SYSTEMLESS = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('System role not "
    "supported') }}{% endif %}{{ m.role + ': ' + m.content }}{% endfor %}"
)


@pytest.mark.parametrize(
    ("changes", "works", "system", "said"),
    [
        ({}, True, True, None),
        ({"tokenizer.chat_template": SYSTEMLESS}, True, False, "System role not supported"),
        ({"tokenizer.chat_template": "{% for %}"}, False, False, "Expected an expression"),
        ({"tokenizer.chat_template": "{{ nothing.at.all }}"}, False, False, "undefined"),
        ({"tokenizer.chat_template": "hello"}, False, False, "leaves out the user message"),
        (
            {"tokenizer.chat_template": "{% for i in range(99999999) %}x{% endfor %}"},
            False, False, "too large a number",
        ),
    ],
)  # fmt: skip
async def test_a_chat_template_is_tried_when_its_model_is_added(
    registry: Registry, tmp_path: Path, changes: dict[str, Any], works: bool, system: bool,
    said: str | None,
) -> None:  # fmt: skip
    """The verdict is kept with the version; the person learns it at once."""
    job = await registry.add(ggufs.made(tmp_path / "x.gguf", **changes))
    assert job.state is State.SUCCEEDED, job.reason
    chat = (await registry.versions())["x@1.0.0"].checks.chat
    assert chat is not None
    assert (chat.works, chat.takes_system) == (works, system)
    assert (said is None) == (chat.reason is None)
    assert (said or "") in (chat.reason or "")
    told = "" if works and system else "system message" if works else "cannot answer chats"
    assert told in (job.reason or "")


async def test_a_version_that_was_never_checked_is_checked_when_it_is_added_again(
    registry: Registry,
) -> None:
    """Homes of 0.1.0 have such versions; one that was found sound keeps its name as it is."""

    async def unchecked(s: Session) -> None:
        await models.add_again(
            s, 1, path=str(WEIGHTS), size_bytes=1, mtime_ns=1, actor="kim", at_us=1,
            checks=ModelChecks(),
        )  # fmt: skip

    await registry.add(WEIGHTS)
    checked = (await registry.versions())["x@1.0.0"]
    await registry.store.write(unchecked)
    again = await registry.add(WEIGHTS)
    assert again.reason == "x@1.0.0 is the same file; it was checked again."
    assert (await registry.versions())["x@1.0.0"] == checked
    sound = await registry.add(WEIGHTS)
    assert sound.state is State.FAILED
    assert "versions never change" in (sound.reason or "")


async def test_an_encoder_is_registered_and_known_to_make_no_text(
    registry: Registry, tmp_path: Path
) -> None:
    """It may serve embeddings one day; for chats the reason is kept."""
    path = ggufs.of_architecture("bert", tmp_path / "bert.gguf")
    job = await registry.add(path)
    assert job.state is State.SUCCEEDED, job.reason
    checks = (await registry.versions())["x@1.0.0"].checks
    assert checks.unable_to_chat == (
        "bert is an encoder: it makes embeddings and cannot generate text"
    )
