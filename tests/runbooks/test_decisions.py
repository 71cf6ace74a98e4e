"""What people decide about a run that waits: only who holds it, only about the step they saw."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from runbooks import decisions
from runbooks.start_request import Refused
from storage import intents, run_events, run_steps, runs
from storage import store as stores
from storage.home import paths as homes
from storage.home.paths import Home
from storage.run_events import Kind
from storage.runs import Pace, State, Waits
from storage.store import Store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A store with run 1 of sara, which waits before its step `cap`."""
    opened = await stores.open(homes.make(Home(tmp_path / "home")))
    started = await _asked(opened, "sara", "runbooks.start", {}, target="slow")
    await opened.write(
        lambda s: runs.begin(
            s, runbook="slow", intent_id=started.id, actor="sara", inputs={}, content="",
            at_us=1, pace=Pace.STEP, taken_by="sara", book="{}",
        )
    )  # fmt: skip
    await _waits(opened, Waits.NEXT)
    yield opened
    await opened.close()


async def _waits(store: Store, waits: Waits) -> None:
    async def work(s: stores.Session) -> None:
        await run_steps.note(s, 1, "cap", 0, 2, looked=7, outcome=None)
        await runs.stay(s, await runs.find(s, 1), waits, "cap", at_us=2)

    await store.write(work)


async def _asked(
    store: Store, actor: str, verb: str, arguments: dict[str, Any], target: str = "1", why: str = ""
) -> intents.Intent:
    id = await store.write(
        lambda s: intents.accept(
            s, actor=actor, role="operator", verb=verb, target=target, arguments=arguments,
            reason=why, at_us=1,
        )
    )  # fmt: skip
    async with store.read() as s:
        return await intents.find(s, id)


async def _drive(store: Store, actor: str, verb: str, **arguments: Any) -> runs.Run:
    intent = await _asked(store, actor, verb, arguments, why="because")
    return await store.write(lambda s: decisions.drive(s, intent, 5))


async def _tell(store: Store, actor: str, verb: str, **arguments: Any) -> str:
    intent = await _asked(store, actor, verb, arguments)
    return await store.write(lambda s: decisions.tell(s, intent, 5))


async def _events(store: Store) -> list[tuple[str, Kind, str]]:
    async with store.read() as s:
        return [(each.actor, each.kind, each.sentence) for each in await run_events.of(s, 1)]


async def test_a_decision_is_applied_once(store: Store) -> None:
    """The same intent, claimed again after a crash, finds the run running for it already."""
    intent = await _asked(store, "sara", "runbooks.next", {"step": "cap"}, why="p95 is 5 s")
    for _ in range(2):
        run = await store.write(lambda s: decisions.drive(s, intent, 5))
        assert (run.state, run.driver, run.waits_for) == (State.RUNNING, intent.id, None)
    assert await _events(store) == [("sara", Kind.CONTINUED, "p95 is 5 s")]
    async with store.read() as s:
        (step,) = await run_steps.of(s, 1)
    assert (step.go_intent_id, step.looked) == (intent.id, 7)


async def test_only_the_person_who_holds_a_run_decides_for_it(store: Store) -> None:
    """A colleague takes it over first, which the timeline shows; then the first one cannot."""
    with pytest.raises(Refused, match="taken by sara; `paddock runbooks take 1`"):
        await _drive(store, "tom", "runbooks.next")
    assert await _tell(store, "tom", "runbooks.take") == "Run 1 is tom's now, from sara."
    with pytest.raises(Refused, match="taken by tom"):
        await _drive(store, "sara", "runbooks.next")
    with pytest.raises(Refused, match="taken by tom"):
        await _tell(store, "sara", "runbooks.hand_over", to="sara")
    assert await _tell(store, "tom", "runbooks.hand_over", to="sara") == "Run 1 is sara's now."
    assert (await _drive(store, "sara", "runbooks.next")).state is State.RUNNING
    assert [(actor, kind) for actor, kind, _ in await _events(store)] == [
        ("tom", Kind.TAKEN), ("tom", Kind.HANDED_OVER), ("sara", Kind.CONTINUED),
    ]  # fmt: skip


async def test_everybody_may_write_a_note(store: Store) -> None:
    """Without holding the run."""
    await _tell(store, "tom", "runbooks.note", text="the batch job of finance")
    assert await _events(store) == [("tom", Kind.NOTED, "the batch job of finance")]


async def test_a_decision_is_about_the_step_that_was_seen(store: Store) -> None:
    """A second press of the key cannot let the next step act as well."""
    with pytest.raises(Refused, match="waits at step cap now, not at batch"):
        await _drive(store, "sara", "runbooks.next", step="batch")
    await _drive(store, "sara", "runbooks.next", step="cap")
    with pytest.raises(Refused, match="is running; it does not wait"):
        await _drive(store, "sara", "runbooks.next", step="cap")


@pytest.mark.parametrize(
    ("waits", "verb", "allowed"),
    [
        (Waits.NEXT, "runbooks.next", True),
        (Waits.NEXT, "runbooks.confirm", False),
        (Waits.NEXT, "runbooks.retry", False),
        (Waits.CONFIRM, "runbooks.confirm", True),
        (Waits.CONFIRM, "runbooks.next", False),
        (Waits.DECIDE, "runbooks.retry", True),
        (Waits.DECIDE, "runbooks.next", False),
        (Waits.NEXT, "runbooks.skip", True),
        (Waits.CONFIRM, "runbooks.skip", True),
        (Waits.DECIDE, "runbooks.skip", True),
    ],
)
async def test_each_wait_takes_its_own_decisions(
    store: Store, waits: Waits, verb: str, allowed: bool
) -> None:
    """And says which, where another was made."""
    if waits is not Waits.NEXT:
        await _drive(store, "sara", "runbooks.next")
        await _waits(store, waits)
    if allowed:
        assert (await _drive(store, "sara", verb)).state is State.RUNNING
    else:
        with pytest.raises(Refused, match="does not wait for that: `paddock runbooks"):
            await _drive(store, "sara", verb)


async def test_a_step_that_is_skipped_has_ended_with_the_reason(store: Store) -> None:
    """The walk continues with the next one."""
    await _drive(store, "sara", "runbooks.skip")
    async with store.read() as s:
        (step,) = await run_steps.of(s, 1)
    assert (step.outcome, step.sentence, step.ended_at_us) == ("skipped", "skipped: because", 5)


@pytest.mark.parametrize("applied", [True, False])
async def test_what_was_done_is_not_done_again_by_a_retry(store: Store, applied: bool) -> None:
    """A step whose action was carried out only verifies again; another looks and acts again."""
    acted = await _asked(store, "sara", "knobs.set", {"name": "max_running", "value": 1}, "ops")

    async def work(s: stores.Session) -> None:
        state = intents.State.APPLIED if applied else intents.State.REFUSED
        await intents.claim_one(s, acted.id, by="control", at_us=3)
        await intents.end(s, acted.id, state, "said", 3)
        await run_steps.change(s, 1, "cap", intent_id=acted.id, outcome="failed")

    await _drive(store, "sara", "runbooks.next")
    await _waits(store, Waits.DECIDE)
    await store.write(work)
    await _drive(store, "sara", "runbooks.retry")
    async with store.read() as s:
        (step,) = await run_steps.of(s, 1)
    assert (step.intent_id, step.looked) == ((acted.id, 7) if applied else (None, None))
    assert step.outcome is None


async def test_a_waiting_run_is_aborted_at_once_and_has_ended_then(store: Store) -> None:
    """By who holds it; nothing can be decided about it any more, and its reason says who."""
    other = await _asked(store, "tom", "runbooks.abort", {}, why="wrong box")
    with pytest.raises(Refused, match="taken by sara"):
        await store.write(lambda s: decisions.abort(s, other, 5))
    intent = await _asked(store, "sara", "runbooks.abort", {}, why="wrong box")
    for _ in range(2):
        run = await store.write(lambda s: decisions.abort(s, intent, 5))
        assert (run.state, run.reason) == (State.ABORTED, "aborted by sara: wrong box")
    with pytest.raises(Refused, match="has ended: it is aborted"):
        await _drive(store, "sara", "runbooks.next")


@pytest.mark.parametrize(("target", "said"), [("x", "named by its number"), ("7", "no run 7")])
async def test_a_run_that_does_not_exist_is_refused(store: Store, target: str, said: str) -> None:
    """With a sentence that says how runs are named."""
    intent = await _asked(store, "sara", "runbooks.take", {}, target)
    with pytest.raises(Refused, match=said):
        await store.write(lambda s: decisions.tell(s, intent, 5))
