"""Control carries out what was accepted: once, in one piece, whatever else happens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from storage import errors, intents, jobs, ledger, prompts, services
from storage.intents import State
from storage.store import Session, Store
from tests.engine.control.desks import Desk, desk
from tests.home_fixtures import WEIGHTS


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
