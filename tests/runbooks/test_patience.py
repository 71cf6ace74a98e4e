"""Runs where the store, a probe or the runner itself has a bad moment; in one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from runbooks import actions, runner, steps
from runbooks.steps import Do, Look, Runbook, Step
from runbooks.walk import sight
from storage import errors, intents, run_steps, runs, services
from storage import store as stores
from storage.control_socket import nudges
from storage.home import paths as homes
from storage.home.paths import Home
from storage.services import Arm
from storage.store import Session, Store
from tests.storage import fixtures

LOOKS = Runbook(
    name="looks",
    title="Looks twice",
    when="In tests.",
    steps=(
        Step(name="first", sentence="?", look=Look(probe="mood")),
        Step(name="second", sentence="?", look=Look(probe="mood")),
    ),
)


class Moody:
    """A store that cannot be read now and then."""

    def __init__(self, store: Store, *, busy: int) -> None:
        self._store = store
        self._busy = busy

    def __getattr__(self, name: str) -> Any:
        """All else is the store's own."""
        return getattr(self._store, name)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Session]:
        """Busy for the first few looks."""
        if self._busy:
            self._busy -= 1
            raise errors.Busy("Another process holds the store.")
        async with self._store.read() as session:
            yield session


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A store without anything in it."""
    opened = await stores.open(homes.make(Home(tmp_path / "home")))
    yield opened
    await opened.close()


def sees(monkeypatch: pytest.MonkeyPatch, *found: object) -> None:
    """The probe `mood`: one after the other what it finds, or raises."""
    moods = iter(found)

    async def mood(*_: object) -> object:
        if isinstance(seen := next(moods), Exception):
            raise seen
        return seen

    monkeypatch.setattr(sight, "PROBES", {"mood": mood})


async def started(store: Store, **arguments: str) -> int:
    """The intent of a run that is not claimed yet."""
    return await store.write(
        lambda s: intents.accept(
            s, actor="sara", role="operator", verb="runbooks.start", target="looks",
            arguments=arguments, at_us=1,
        )
    )  # fmt: skip


async def ended(
    store: Store, id: int, *, busy: int = 0, book: Runbook = LOOKS
) -> tuple[intents.Intent, runs.Run]:
    """How the run of an intent ends under a runner of its own."""
    moody = cast("Store", Moody(store, busy=busy))
    walker = runner.Runner(moody, lambda: {"looks": book}, now_us=lambda: 5, again_s=0)
    with nudges.listen(store.home, "test") as news, nudges.listen(store.home, "runner") as listener:
        running = asyncio.create_task(walker.run(listener))
        try:
            async with asyncio.timeout(60):
                while True:
                    async with store.read() as s:
                        intent = await intents.find(s, id)
                        run = await runs.of_intent(s, id)
                    if intent.ended_at_us is not None:
                        assert run is not None
                        return intent, run
                    await news.wait(timeout_s=0.25)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_a_moment_without_the_store_ends_no_run(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be read now is read again, before the first step and in the middle of one."""
    sees(monkeypatch, errors.Busy("Held."), "fine", errors.Busy("Held."), "fine")
    intent, run = await ended(store, await started(store), busy=3)
    assert (intent.state, run.state) == (intents.State.APPLIED, runs.State.DONE)
    async with store.read() as s:
        assert [step.looked for step in await run_steps.of(s, run.id)] == ["fine", "fine"]


async def test_a_fault_of_the_runner_ends_run_and_intent(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that no process walks ends."""
    sees(monkeypatch, "fine", ZeroDivisionError("a probe's own fault"))
    intent, run = await ended(store, await started(store))
    assert (intent.state, run.state) == (intents.State.FAILED, runs.State.FAILED)
    assert run.reason == intent.outcome
    assert "ZeroDivisionError: a probe's own fault" in (run.reason or "")


async def test_a_begun_run_whose_runbook_is_gone_ends(store: Store) -> None:
    """Its intent is refused, and the run that was begun for it does not run forever."""
    id = await started(store)
    await store.write(
        lambda s: runs.begin(
            s, runbook="looks", intent_id=id, actor="sara", inputs={}, at_us=2,
            content=steps.content(LOOKS),
        )
    )  # fmt: skip
    async with store.read() as s:
        assert (await runs.of_intent(s, id)) is not None
    await store.write(lambda s: _retarget(s, id))
    intent, run = await ended(store, id)
    assert (intent.state, run.state) == (intents.State.REFUSED, runs.State.FAILED)


async def _retarget(s: Session, id: int) -> None:
    row = await s.get(intents.IntentRow, id)
    assert row is not None
    row.target = "gone"


def changed(book: Runbook) -> Runbook:
    """The same runbook with another second step."""
    first, second = book.steps
    return msgspec.structs.replace(
        book, steps=(first, msgspec.structs.replace(second, sentence="Quite another question."))
    )


async def test_a_run_does_not_continue_with_another_runbook(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was edited while a run was cut off ends it, before anything is done."""
    sees(monkeypatch)
    id = await started(store)
    await store.write(
        lambda s: runs.begin(
            s, runbook="looks", intent_id=id, actor="sara", inputs={}, at_us=2,
            content=steps.content(changed(LOOKS)),
        )
    )  # fmt: skip
    intent, run = await ended(store, id)
    assert (intent.state, run.state) == (intents.State.FAILED, runs.State.FAILED)
    assert run.reason == "looks was changed since run 1 began; start it again."


async def test_a_run_keeps_the_hash_of_what_it_walked(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it was shown to the person who started it."""
    sees(monkeypatch, "fine", "fine")
    _, run = await ended(store, await started(store, content=steps.content(LOOKS)))
    assert run.content == steps.content(LOOKS) != steps.content(changed(LOOKS))


async def test_a_step_acts_on_the_version_that_it_looked_at(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change between the look and the version would let it undo what it never saw."""
    await fixtures.furnish(store)
    expected: list[int | None] = []

    async def probe(s: Session, of: str, *_: object) -> int:
        await services.find(s, of)
        arms = [Arm(release=2, weight_bp=10_000)]
        await store.write(
            lambda s: services.set_split(
                s, service="support", arms=arms, expected_version=None, actor="b", at_us=5
            )
        )
        return 1

    async def ask(*_: object, expected_version: int | None, **__: object) -> int:
        expected.append(expected_version)
        raise errors.Refused("It changed.")

    monkeypatch.setattr(sight, "PROBES", {"mood": probe})
    monkeypatch.setattr(actions, "ask", ask)
    do = Do(verb="services.undo", target="support", arguments={"to": "{looked}"})
    step = Step(name="back", sentence="?", look=Look(probe="mood", of="support"), do=do)
    book = msgspec.structs.replace(LOOKS, steps=(step,))
    intent, _ = await ended(store, await started(store), book=book)
    assert intent.outcome == "looks: step back: It changed."
    assert expected == [1]
