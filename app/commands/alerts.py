"""`paddock alerts`: what is wrong by the rules, who knows of it, who is told."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
import typer

from app import listing, session, terminal, words
from app.commands import alert_rules, options
from app.figures import alerts as figures
from app.listing import Column
from storage import alert_events, alert_rounds, alerts
from storage.alerts import Alert
from storage.home import clock

app = options.group()
app.command("series")(alert_rules.series)
app.add_typer(alert_rules.app, name="rules", help="What is alerted on.")

Number = Annotated[int, typer.Argument(metavar="ALERT", min=1, help="As the list numbers it.")]

_LATE_US: Final = 120_000_000


COLUMNS: Final[tuple[Column[Alert], ...]] = (
    Column("ALERT", lambda alert: str(alert.id), right=True),
    Column("SEVERITY", lambda alert: alert.severity.value),
    Column("RULE", lambda alert: alert.rule),
    Column("ABOUT", lambda alert: alert.subject or words.UNKNOWN),
    Column("STATE", figures.status),
    Column("SINCE", lambda alert: words.clock(figures.since(alert))),
    Column("SUMMARY", lambda alert: alert.summary, below=True),
)


@app.command("list")
async def every(
    ended: Annotated[bool, typer.Option("--ended", help="Those that ended last, too.")] = False,
    limit: options.Limit = 20,
    as_json: options.Json = False,
) -> None:
    """What is wrong by the rules: firing first, the worst first, then what is pending."""
    async with session.reading() as s:
        found = await alerts.active(s)
        found += await alerts.ended(s, limit=limit) if ended else []
        last = await alert_rounds.last(s)
    listing.show(COLUMNS, found, as_json=as_json, empty="No alert is pending or firing.")
    if not as_json:
        _say_late(last)


def _say_late(last: alert_rounds.Round | None) -> None:
    """Say that what is listed is old, if it is."""
    if last is None:
        terminal.say("No rule has been evaluated yet.")
    elif (old := clock.now_us() - last.at_us) > _LATE_US:
        terminal.say(f"The rules were last evaluated {words.age(old)} ago; is the node running?")


@app.command()
async def get(number: Number, as_json: options.Json = False) -> None:
    """One alert: what it says, its labels, its moves."""
    async with session.reading() as s:
        alert = await alerts.find(s, number)
        events = await alert_events.of(s, number)
    labels = " ".join(f"{name}={value}" for name, value in sorted(alert.labels.items()))
    rows = [
        ("alert", f"{alert.id}, {alert.severity.value}"),
        ("rule", f"{alert.rule}, version {alert.rule_version}"),
        ("summary", alert.summary),
        ("state", figures.status(alert)),
        ("value", figures.value(alert)),
        ("labels", labels),
        ("runbook", words.known(alert.runbook)),
        *[
            (words.clock(event.at_us), f"{event.after.value}: {event.why.value}{_by(event)}")
            for event in events
        ],
    ]
    if alert.acknowledged_by is not None:
        why = f": {alert.acknowledged_reason}" if alert.acknowledged_reason else ""
        at = words.clock(alert.acknowledged_at_us)
        rows.append((at, f"acknowledged by {alert.acknowledged_by}{why}"))
    document = {"alert": alert, "events": events}
    terminal.show(msgspec.to_builtins(document), words.table(rows), as_json=as_json)


def _by(event: alert_events.AlertEvent) -> str:
    return "" if event.intent_id is None else f" ({event.actor})"


@app.command()
async def ack(
    number: Number,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Say that you see to a firing alert: it is told of no more until it ends."""
    await _asked("alerts.ack", number, "acknowledge", reason, yes=yes, as_json=as_json)


@app.command()
async def unack(
    number: Number,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Take an acknowledgement back."""
    await _asked("alerts.unack", number, "not acknowledged", reason, yes=yes, as_json=as_json)


@app.command()
async def close(
    number: Number,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """End a firing alert of which nothing is measured any more; it takes a reason."""
    await _asked("alerts.close", number, "close", reason, yes=yes, as_json=as_json)


async def _asked(
    verb: str, number: int, effect: str, reason: str, *, yes: bool, as_json: bool
) -> None:
    async with session.reading() as s:
        alert = await alerts.find(s, number)
    said = f"alert {number}  {figures.brief(alert)}  {effect}"
    agreed = session.agreed(verb, str(number), said, reason, yes=yes)
    done = await session.ask(verb, str(number), {}, reason=agreed.reason)
    session.report(done, as_json=as_json)
