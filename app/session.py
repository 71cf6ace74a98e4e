"""Where a command reads the store and hands in what it wants done.

It opens the store for reading only; every change goes through the control socket. Imported by
`app.commands`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from app import actions, errors, job_progress, terminal
from storage import intents, jobs
from storage import store as stores
from storage.control_socket.verbs import Danger
from storage.home import access
from storage.home import paths as homes
from storage.home.paths import Home
from storage.store import Session, Store

_DEMO_S: Final = 60.0


def home() -> Home:
    """The home that this terminal uses: --home, PADDOCK_HOME, or the user's own."""
    return homes.find()


@asynccontextmanager
async def store() -> AsyncIterator[Store]:
    """The store, read-only."""
    place = home()
    access.require(place)
    if not homes.begun(place):
        raise errors.NodeIsDown(
            f"There is no box in {place.root} yet; start one with `paddock serve` "
            "or try `paddock demo`."
        )
    opened = await stores.open(place, readonly=True)
    try:
        yield opened
    finally:
        await opened.close()


@asynccontextmanager
async def reading() -> AsyncIterator[Session]:
    """One snapshot of the store."""
    async with store() as opened, opened.read() as session:
        yield session


async def ask(
    name: str,
    target: str,
    arguments: Mapping[str, object] | None = None,
    *,
    reason: str = "",
    expected_version: int | None = None,
    confirm: str = "",
    timeout_s: float = actions.OUTCOME_S,
) -> actions.Done:
    """Hand in one action and wait for its outcome; `confirm` as `agreed` returned it."""
    wanted = actions.Wanted(
        target=target,
        arguments=arguments or {},
        reason=reason,
        expected_version=expected_version,
        confirm=confirm,
    )
    async with store() as opened:
        return await actions.perform(
            home(), opened, actions.TABLE[name], wanted, timeout_s=timeout_s
        )


@dataclass(frozen=True, slots=True)
class Agreement:
    """What a person said to an action; `confirm` is what the intent repeats of its target."""

    confirm: str
    reason: str


def agreed(name: str, target: str, effect: str, reason: str, *, yes: bool) -> Agreement:
    """Have the person confirm an action as its danger demands, and say why as its verb asks.

    Raises:
        errors.Stopped: the person did not agree.
    """
    action = actions.TABLE[name]
    hard = action.danger is Danger.HARD
    terminal.confirm(effect, yes=yes, name=target if hard else "")
    if action.asks_reason and not yes:
        reason = terminal.ask_reason(reason)
    return Agreement(target if hard else "", reason)


async def act(
    name: str,
    target: str,
    arguments: Mapping[str, object],
    effect: str,
    reason: str,
    *,
    yes: bool,
    as_json: bool,
    expected_version: int | None = None,
) -> None:
    """Confirm an action by its effect, hand it in, and print the outcome.

    Raises:
        errors.Stopped: the person did not agree. Otherwise as `report`.
    """
    consent = agreed(name, target, effect, reason, yes=yes)
    done = await ask(
        name,
        target,
        arguments,
        reason=consent.reason,
        expected_version=expected_version,
        confirm=consent.confirm,
    )
    report(done, as_json=as_json)


async def do(
    name: str,
    target: str,
    arguments: Mapping[str, object] | None = None,
    *,
    expected_version: int | None = None,
) -> None:
    """One of the demo's actions, all of which have to be applied."""
    done = await ask(
        name,
        target,
        arguments,
        reason="paddock demo",
        timeout_s=_DEMO_S,
        expected_version=expected_version,
        confirm=target,
    )
    if not done.ok:
        raise errors.AppError(f"{name} {target}: {done.sentence}")


async def followed(store: Store, intent_id: int, *, quiet: bool) -> actions.Done:
    """Follow the intent's job, once control has queued it, to the end of both."""
    left = actions.OUTCOME_S
    while True:
        async with store.read() as s:
            intent = await intents.find(s, intent_id)
            job = await jobs.of_intent(s, intent_id)
        if job is not None:
            await job_progress.follow(store, job.id, quiet=quiet)
            left = 0.0
        if intent.ended_at_us is not None or (job is None and left <= 0):
            return await actions.outcome(store, intent)
        if job is None:
            await job_progress.changed(store, 1.0)
            left -= 1.0


def report(done: actions.Done, *, as_json: bool = False, then: str = "") -> None:
    """Print the outcome; `then` is said of what was done or still may be.

    Raises:
        errors.AppError: it was refused or failed. errors.Waits: it has not ended.
    """
    if not done.ok and not done.waits:
        raise errors.AppError(done.sentence)
    if as_json:
        document = {"intent": done.intent_id, "state": done.state, "outcome": done.sentence}
        terminal.show(document, (), as_json=True)
    elif done.ok:
        terminal.say(done.sentence)
    if then and not as_json:
        terminal.say(then)
    if done.waits:
        raise errors.Waits(done.sentence)
