"""Runbooks that start by themselves: which alert starts which, how often, with which inputs.

Deciding is pure. A start is an intent of the principal `automation NAME`, stored in the transaction
that marks the event as looked at, so that an alert starts a runbook once. Imported by
`runbooks.runner`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from runbooks import alert_inputs, limits, steps
from runbooks.steps import Runbook
from storage import alert_events, alerts, automations, intents, runs
from storage.alerts import Alert
from storage.automations import Automation
from storage.intents import Intent
from storage.keys import Role
from storage.runs import Run
from storage.store import Session


class Unable(Exception):
    """A runbook cannot start by itself; the message says why."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a runbook starts for an alert, in words; with which inputs if it does."""

    sentence: str
    inputs: Mapping[str, str] | None = None


def decide(
    automation: Automation,
    book: Runbook | str | None,
    alert: Alert,
    past: Iterable[Run],
    now_us: int,
    *,
    about: Mapping[str, str],
) -> Decision | None:
    """Whether an alert that fires starts the runbook; None where it is about another.

    `about` is what the alert is about, by the names of inputs.

    It does not start while a run of it has not ended, more often than it says, or if its file
    changed since an operator enabled it.
    """
    if not isinstance(book, Runbook) or book.on is None:
        return Decision(f"{automation.runbook} cannot be used any more; look at it and enable it.")
    if book.on.alert != alert.rule:
        return None
    named = f"alert {alert.id} ({alert.rule} {alert.subject})".replace(" )", ")")
    if steps.content(book) != automation.content:
        return Decision(f"{named}: {book.name} changed since it was enabled; enable it again.")
    own = [run for run in past if run.actor == automations.actor(book.name)]
    if (running := next((run for run in own if run.ended_at_us is None), None)) is not None:
        return Decision(f"{named}: run {running.id} has not ended.")
    limit = limits.parsed(book.on.at_most)
    if limit is None or not limit.allows((run.began_at_us for run in own), now_us):
        return Decision(f"{named}: it has started as often as it may ({book.on.at_most}).")
    given = {name: value for name, value in about.items() if name in book.inputs}
    return Decision(f"{named}: started.", {**given, **book.on.inputs})


async def look(
    s: Session, automation: Automation, books: Mapping[str, Runbook | str], now_us: int
) -> Sequence[Decision]:
    """Decide about the alerts that fired since the last look, and store the starts.

    One transaction: what it decides, and up to which event.
    """
    made = []
    last = automation.event_id
    for event in await alert_events.since(s, automation.event_id):
        last = event.id
        if event.after is not alerts.State.FIRING or event.before is alerts.State.FIRING:
            continue
        alert = await alerts.find(s, event.alert_id)
        book = books.get(automation.runbook)
        past = await runs.called(s, automation.runbook)
        about = await alert_inputs.of(s, alert)
        decision = decide(automation, book, alert, past, now_us, about=about)
        if decision is None:
            continue
        made.append(decision)
        if decision.inputs is not None and isinstance(book, Runbook):
            await _start(s, automation, alert, decision.inputs, now_us)
    if last != automation.event_id:
        said = made[-1].sentence if made else None
        await automations.looked(s, automation.runbook, last, said=said, at_us=now_us)
    return made


async def _start(
    s: Session, automation: Automation, alert: Alert, inputs: Mapping[str, str], now_us: int
) -> None:
    await intents.accept(
        s, actor=automations.actor(automation.runbook), role=Role.OPERATOR.value,
        verb="runbooks.start", target=automation.runbook,
        arguments={"inputs": dict(inputs), "content": automation.content},
        reason=f"alert {alert.id}: {alert.summary}", on_behalf_of=automation.intent_id,
        idempotency_key=f"alert {alert.id}", at_us=now_us,
    )  # fmt: skip


def alone(book: Runbook, intent: Intent) -> tuple[str, ...] | None:
    """The steps that a run may take without a person; None where a person started it."""
    if book.on is None or intent.actor != automations.actor(book.name):
        return None
    return book.on.alone


async def enable(
    s: Session, intent: Intent, book: Runbook | str | None, *, on: bool, now_us: int
) -> str:
    """Let a runbook start by itself, or no longer; the sentence that it ends with.

    Raises:
        Unable: it cannot be enabled; the message says why.
    """
    name = intent.target
    if not on:
        was = await automations.disable(s, name, by=intent.actor, intent_id=intent.id, at_us=now_us)
        return (
            f"{name} no longer starts by itself." if was else f"{name} was not enabled; no change."
        )
    if book is None:
        raise Unable(f"There is no runbook {name}.")
    if isinstance(book, str):
        raise Unable(book)
    if book.on is None:
        raise Unable(f"{name} has no `on`, which names an alert and what it may do alone.")
    await automations.enable(
        s, name, steps.content(book), by=intent.actor, intent_id=intent.id, at_us=now_us
    )
    may = ", ".join(book.on.alone) or "no step"
    return (
        f"{name} starts by itself when {book.on.alert} fires, at most {book.on.at_most}; it takes "
        f"{may} without a person and stops before anything else. "
        f"`paddock runbooks automate {name} --off` ends that."
    )
