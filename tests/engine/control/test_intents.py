"""Control carries out what was accepted: once, in one piece, whatever else happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from engine.control.intents import Intents
from engine.control.reconcile import Loop
from storage import (
    deployments,
    errors,
    intents,
    jobs,
    keys,
    ledger,
    models,
    processes,
    prompts,
    samples,
    services,
)
from storage import store as stores
from storage.control_socket import nudges
from storage.home import clock
from storage.home import paths as homes
from storage.home.paths import Home
from storage.intents import Intent, State
from storage.store import Session, Store
from tests.engine.control import ggufs
from tests.engine.jobs import run_jobs
from tests.home_fixtures import ADAPTER, WEIGHTS
from tests.home_templates import Template


class Desk:
    """A store with a control that works when asked to."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.control = Loop(store, [Intents()], now_us=clock.now_us, retry_s=0)

    async def accept(
        self, verb: str, target: str, expected_version: int | None = None, **asked: Any
    ) -> int:
        """As the control socket does."""

        async def work(session: Session) -> int:
            return await intents.accept(
                session, actor="kim", role=self.role, verb=verb, target=target, arguments=asked,
                reason="because",
                expected_version=expected_version, at_us=clock.now_us(),
            )  # fmt: skip

        return await self.store.write(work)

    role = "admin"

    async def ended(self, number: int) -> Intent:
        """Let control work until this one has ended."""
        async with asyncio.timeout(60):
            with nudges.listen(self.store.home, "test") as listener:
                while True:
                    await self.control.settle()
                    await run_jobs.run(self.store)
                    async with self.store.read() as session:
                        intent = await intents.find(session, number)
                    if intent.ended_at_us is not None:
                        return intent
                    await listener.wait(timeout_s=0.25)

    async def do(
        self, verb: str, target: str, expected_version: int | None = None, **asked: Any
    ) -> Intent:
        """Accept it, and let control end it."""
        return await self.ended(await self.accept(verb, target, expected_version, **asked))

    async def furnish(self) -> None:
        """A service `support` on r1, and r2 beside."""
        steps: tuple[tuple[str, str, dict[str, Any]], ...] = (
            ("models.add", "ops", {"model": "ops", "version": "1.0.0", "path": str(WEIGHTS)}),
            ("models.add", "ops", {"model": "ops", "version": "1.1.0", "path": str(ADAPTER),
                                   "base": "ops@1.0.0"}),
            ("releases.create", "", {"model": "ops@1.0.0"}),
            ("releases.create", "", {"model": "ops@1.1.0"}),
            ("services.create", "support", {"release": "r1"}),
        )  # fmt: skip
        for verb, target, asked in steps:
            intent = await self.do(verb, target, **asked)
            assert intent.state is State.APPLIED, intent.outcome


_FURNISHED: Final = Template(lambda store: Desk(store).furnish())


@asynccontextmanager
async def desk(root: Path, *, furnished: bool = False) -> AsyncIterator[Desk]:
    """Control on a home of its own, which may begin with what `Desk.furnish` makes."""
    store = await stores.open(await _FURNISHED.copy(root) if furnished else homes.make(Home(root)))
    try:
        yield Desk(store)
    finally:
        await store.close()


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


async def test_weights_that_could_not_be_loaded_are_tried_again_when_they_are_added_again(
    tmp_path: Path,
) -> None:
    """The same file under the same name; until then nothing new is split onto them."""
    weights: dict[str, Any] = {"model": "ops", "version": "1.0.0", "path": str(WEIGHTS)}
    async with desk(tmp_path / "home", furnished=True) as control:
        await control.store.write(lambda s: models.mark_unloadable(s, 1, "torn", 5))
        refused = await control.do("services.split", "support", arms={"r1": 9000, "r2": 1000})
        assert refused.state is State.REFUSED
        assert "Add the same file again" in (refused.outcome or "")
        added = await control.do("models.add", "ops", **weights)
        assert added.outcome == "ops@1.0.0 is the same file; loading it is tried again."
        split = await control.do("services.split", "support", arms={"r1": 9000, "r2": 1000})
        assert split.state is State.APPLIED
        again = await control.do("models.add", "ops", **weights)
        assert again.state is State.REFUSED
        async with control.store.read() as session:
            entry = (await ledger.of(session, "model", "1"))[0]
    assert (entry.actor, entry.after, entry.intent_id) == ("kim", "registered", added.id)


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


@pytest.mark.parametrize(
    ("verb", "target", "asked", "said"),
    [
        ("services.split", "support", {"arms": {"r9": 10_000}}, "no release r9; known: r1, r2"),
        ("services.split", "nobody", {"arms": {"r1": 10_000}}, "no service nobody; known: support"),
        ("services.undo", "support", {"to": 99}, "support never had a split 99; `paddock services"),
        ("services.undo", "support", {"intent": 1}, "Intent 1 did not set a split of support."),
        ("services.undo", "support", {"intent": 5}, "no split of support before the one"),
        ("services.freeze", "nobody", {}, "no service nobody"),
        ("services.set", "nobody", {"record_text": True}, "no service nobody"),
        ("services.create", "support", {"release": "r1"}, "There is a service support already"),
        ("services.create", "Bad Name", {"release": "r1"}, "Bad Name"),
        ("releases.create", "", {"model": "opps"}, "no model opps; known: ops@1.0.0"),
        ("releases.create", "", {"model": "ops", "prompt": "x"}, "no prompt x"),
        ("releases.create", "", {"model": "ops", "engine": {"context_tokens": 99_999}}, "context"),
        ("knobs.set", "nobody", {"name": "max_running", "value": 4}, "ops-1.0.0"),
        ("knobs.set", "ops-1.0.0", {"name": "max_running", "value": 0}, "max_running is 1 to 256"),
        ("knobs.undo", "ops-1.0.0", {"name": "queue_limit", "setting": 1}, "never set"),
        ("keys.revoke", "nobody", {}, "no key nobody"),
        (
            "prompts.label",
            "terse",
            {"label": "production", "number": 1},
            "no prompt terse; there is none yet",
        ),
        (
            "prompts.add",
            "terse",
            {"prompt": "terse", "messages": [{"role": "system", "template": "{% if %}"}]},
            "message 1 (system) of terse, line 1",
        ),
        (
            "prompts.add",
            "terse",
            {"prompt": "terse", "messages": [{"role": "user", "template": "{{ nme }}"}]},
            "nme is no variable of the prompt",
        ),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_refusals_say_what_to_do(
    shared: Desk, verb: str, target: str, asked: dict[str, Any], said: str
) -> None:
    """Refused, with a sentence, and nothing but the intent is written."""
    before = await _ledger(shared.store)
    intent = await shared.do(verb, target, **asked)
    assert intent.state is State.REFUSED
    assert said in (intent.outcome or "")
    assert await _ledger(shared.store) == before


async def _ledger(store: Store) -> list[int]:
    """The entries that are of no intent's own moves."""
    async with store.read() as session:
        return [entry.id for entry in await ledger.tail(session) if entry.noun != "intent"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    """A box with a service, for tests that change nothing."""
    async with desk(tmp_path_factory.mktemp("box") / "home", furnished=True) as made:
        yield made


@pytest.fixture
async def furnished(tmp_path: Path) -> AsyncIterator[Desk]:
    """A box with a service."""
    async with desk(tmp_path / "home", furnished=True) as made:
        yield made


@pytest.mark.parametrize(
    ("architecture", "template", "said"),
    [
        ("bert", "", "x@1.0.0 cannot answer: its file does not say how to pool"),
        ("llama", "{% for %}", "x@1.0.0 cannot answer: its chat template fails: Expected an exp"),
    ],
)
async def test_a_model_that_cannot_answer_gets_no_release(
    furnished: Desk, tmp_path: Path, architecture: str, template: str, said: str
) -> None:
    """It is registered and says why; no worker is started to die of requests."""
    path = ggufs.of_architecture(
        architecture, tmp_path / "x.gguf", **{"tokenizer.chat_template": template}
    )
    added = await furnished.do("models.add", "x", model="x", version="1.0.0", path=str(path))
    assert added.state is State.APPLIED
    created = await furnished.do("releases.create", "", model="x", engine={"context_tokens": 32})
    assert created.state is State.REFUSED
    assert (created.outcome or "").startswith(said)


async def test_a_release_for_embeddings_takes_no_prompt(furnished: Desk) -> None:
    """Nothing would come of it."""
    message = {"role": "system", "template": "Be terse."}
    await furnished.do("prompts.add", "terse", prompt="terse", messages=[message])
    engine = {"task": "embedding", "pooling": "last"}
    refused = await furnished.do(
        "releases.create", "", model="ops@1.0.0", prompt="terse@1", engine=engine
    )
    assert refused.state is State.REFUSED
    assert "leave out the prompt" in (refused.outcome or "")


async def test_a_change_based_on_an_old_version_is_refused(furnished: Desk) -> None:
    """Two operators: the second one's `expected_version` is old."""
    await furnished.do("services.split", "support", 1, arms={"r1": 5000, "r2": 5000})
    late = await furnished.do("services.split", "support", 1, arms={"r1": 1000, "r2": 9000})
    assert late.state is State.REFUSED
    assert "changed since you looked: kim set" in (late.outcome or "")


async def test_an_intent_of_a_dead_control_is_taken_up_again(furnished: Desk) -> None:
    """Claimed, killed, started: it is carried out once."""
    number = await furnished.accept("services.split", "support", arms={"r2": 10_000})

    async def claim(session: Session) -> None:
        await intents.claim(session, verbs={"services.split"}, by="control", at_us=1)

    await furnished.store.write(claim)
    await furnished.control.recover()
    assert (await furnished.ended(number)).state is State.APPLIED
    async with furnished.store.read() as session:
        assert len(await services.history(session, "support")) == 2


async def test_a_control_that_starts_while_the_store_is_held_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not die of it: what an earlier one had claimed is put back as soon as it can be."""
    attempts: list[int] = []
    async with desk(tmp_path / "home") as made:
        write = made.store.write

        async def held(work: Any, **how: Any) -> Any:
            attempts.append(1)
            if len(attempts) < 3:
                raise errors.Busy("another process holds it")
            return await write(work, **how)

        monkeypatch.setattr(made.store, "write", held)
        await made.control.recover()
    assert len(attempts) == 3


async def test_arguments_that_the_control_socket_never_checked_are_refused_too(
    furnished: Desk,
) -> None:
    """Whatever is in the store, control survives it."""
    intent = await furnished.do("services.split", "support", arms={"r1": "much"})
    assert intent.state is State.REFUSED
    assert "arms" in (intent.outcome or "")


async def test_a_fault_in_a_controller_ends_one_intent(
    furnished: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has failed and says so; what it began is taken back; the next one is carried out."""

    async def breaks(session: Session, *_: object, **__: object) -> None:
        await prompts.add(
            session, prompt="half", messages=[prompts.Message(role="user", template="x")],
            variables=[], author="kim", comment="", at_us=1,
        )  # fmt: skip
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr(services, "go_back", breaks)
        await furnished.do("services.split", "support", arms={"r2": 10_000})
        broken = await furnished.do("services.undo", "support", to=1)
    assert broken.state is State.FAILED
    assert "ZeroDivisionError: a bug" in (broken.outcome or "")
    async with furnished.store.read() as session:
        assert await prompts.every(session) == []
    assert (await furnished.do("services.undo", "support", to=1)).state is State.APPLIED


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


async def test_a_label_that_moved_is_not_moved_over(furnished: Desk) -> None:
    """`expected_version` is the number that it pointed at; the outcome says what it changes."""
    for text in ("one", "two"):
        message = {"role": "system", "template": text}
        await furnished.do("prompts.add", "terse", prompt="terse", messages=[message])
    moved = await furnished.do("prompts.label", "terse", 0, label="production", number=1)
    assert "Releases keep the prompt version that they were created with." in (moved.outcome or "")
    late = await furnished.do("prompts.label", "terse", 0, label="production", number=2)
    assert late.state is State.REFUSED
    assert "terse:production changed since you looked: it is terse@1" in (late.outcome or "")


async def test_a_price_is_set_and_unset(furnished: Desk) -> None:
    """The outcome says since when; what does not fit is refused with what to do."""
    done = await furnished.do("prices.set", "gpu-hour", from_s=1_800_000_123, micro=2_500_000)
    said = "gpu-hour costs 2.5 USD from 2027-01-15 08:00 UTC on."
    assert (done.state, done.outcome) == (State.APPLIED, said)
    tokens = {"input_micro": 2_500_000, "cached_micro": 0, "output_micro": 10_000_000}
    listed = await furnished.do("prices.set", "cloud/big", from_s=0, **tokens)
    assert "cloud/big cost 2.5 of input, 0 of cached, 10 of output (USD)" in (listed.outcome or "")
    unset = await furnished.do("prices.set", "gpu-hour", from_s=1_800_001_000)
    assert unset.outcome == "gpu-hour has no price from 2027-01-15 08:15 UTC on."
    refused = await furnished.do("prices.set", "kwh", from_s=0, micro=1, currency="EUR")
    assert refused.state is State.REFUSED
    assert refused.outcome == "The prices of this box are in USD; convert EUR into it."


async def test_no_role_grants_more_than_it_has(furnished: Desk) -> None:
    """An operator makes no admin's key, should the table ever let them ask."""
    minted = keys.mint()
    furnished.role = "operator"
    asked: dict[str, Any] = {
        "name": "k",
        "prefix": minted.prefix,
        "sha256": minted.sha256,
        "tenant": "t",
    }
    refused = await furnished.do("keys.add", "k", **asked, role="admin")
    assert refused.state is State.REFUSED
    given = await furnished.do("keys.add", "k", **asked, role="client")
    assert given.state is State.APPLIED
    assert minted.secret not in (given.outcome or "")
    revoked = await furnished.do("keys.revoke", "k")
    assert (revoked.outcome or "").startswith("Revoked key k (pk-")


async def test_what_takes_long_becomes_a_job_and_does_not_hold_up_the_rest(
    furnished: Desk,
) -> None:
    """The intent is handed to its job in one transaction, and ends when the job does."""
    asked: dict[str, Any] = {"model": "again", "version": "1.0.0", "path": str(WEIGHTS)}
    adding = await furnished.accept("models.add", "again", **asked)
    await furnished.control.settle()
    async with furnished.store.read() as session:
        intent = await intents.find(session, adding)
        job = await jobs.of_intent(session, adding)
    assert (intent.state, intent.claimed_by) == (State.CLAIMED, jobs.CLAIMER)
    assert job is not None
    assert (job.state, job.target) == (jobs.State.QUEUED, "again@1.0.0")
    await furnished.control.recover()
    async with furnished.store.read() as session:
        assert (await intents.find(session, adding)).state is State.CLAIMED
    assert (await furnished.ended(adding)).state is State.APPLIED


async def test_a_job_that_waits_is_cancelled_with_its_intent(furnished: Desk) -> None:
    """Both say who did it; cancelled once more, there is nothing to cancel; a retry queues it."""
    asked: dict[str, Any] = {"model": "again", "version": "1.0.0", "path": str(WEIGHTS)}
    adding = await furnished.accept("models.add", "again", **asked)
    await furnished.control.settle()
    async with furnished.store.read() as session:
        job = await jobs.of_intent(session, adding)
    assert job is not None
    cancelled = await furnished.do("jobs.cancel", str(job.id))
    assert cancelled.outcome == f"Job {job.id} (add_model again@1.0.0) is cancelled."
    ended = await furnished.ended(adding)
    assert (ended.state, ended.outcome) == (State.REFUSED, "Cancelled by kim.")
    again = await furnished.do("jobs.cancel", str(job.id))
    assert (again.state, again.outcome) == (
        State.REFUSED,
        f"Job {job.id} was cancelled; there is nothing to cancel.",
    )
    retried = await furnished.do("jobs.retry", str(job.id))
    assert retried.outcome == f"Job {job.id} (add_model again@1.0.0) is queued again."
    async with furnished.store.read() as session:
        assert (await jobs.find(session, job.id)).state is jobs.State.SUCCEEDED


@pytest.mark.parametrize("verb", ["jobs.cancel", "jobs.retry"])
@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("x", "'x' is not a job's number"),
        ("\u0661", "'\u0661' is not a job's number"),
        ("99", "no job 99; known: "),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_job_that_is_not_there_is_refused(
    shared: Desk, verb: str, target: str, said: str
) -> None:
    """With where to look."""
    intent = await shared.do(verb, target)
    assert intent.state is State.REFUSED
    assert said in (intent.outcome or "")


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


async def test_a_version_is_taken_from_another_path_with_the_same_content(tmp_path: Path) -> None:
    """Its file was moved; other content under the name is refused."""
    moved, other = tmp_path / "moved.gguf", tmp_path / "other.gguf"
    moved.write_bytes(WEIGHTS.read_bytes())
    async with desk(tmp_path / "home", furnished=True) as control:
        again: dict[str, Any] = {"model": "ops", "version": "1.0.0"}
        added = await control.do("models.add", "ops", **again, path=str(moved))
        assert added.outcome == f"ops@1.0.0 is the same file; it is now loaded from {moved}."
        with moved.open("rb") as file:
            other.write_bytes(file.read()[:-1] + b"x")
        refused = await control.do("models.add", "ops", **again, path=str(other))
        assert refused.state is State.REFUSED
        assert "versions never change" in (refused.outcome or "")
        async with control.store.read() as session:
            assert (await models.get(session, 1)).path == str(moved)


async def test_a_device_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    """By the latest samples; while nothing was sampled the driver is asked, which is not here."""
    gpu = samples.GpuSample(
        index=0, name="H100", utilisation_percent=None, memory_used=0, memory_total=80 * 10**9,
        power_mw=None, power_limit_mw=None, temperature_c=None, throttle=(),
    )  # fmt: skip
    host = samples.HostSample(
        cpu_percent=0, cores=1, memory_used=0, memory_total=1, disk_used=0, disk_total=1, load1=0
    )

    def on(*devices: int) -> dict[str, Any]:
        return {"model": "ops", "engine": {"devices": list(devices)}}

    async def sampled(session: Session) -> None:
        found: list[tuple[samples.Kind, str, samples.Sample]] = [
            (samples.Kind.HOST, "box01", host),
            (samples.Kind.GPU, "0", gpu),
        ]
        await samples.record(session, clock.now_us() // 1_000_000, found)

    async with desk(tmp_path / "home", furnished=True) as control:
        asked = await control.do("releases.create", "", **on(77))
        assert (asked.outcome or "").startswith("The release cannot run here: there is no GPU 77")
        await control.store.write(sampled)
        refused = await control.do("releases.create", "", **on(0, 3))
        assert (refused.state, refused.outcome) == (
            State.REFUSED,
            "The release cannot run here: there is no GPU 3; present: 0.",
        )
        assert (await control.do("releases.create", "", **on(0))).state is State.APPLIED
