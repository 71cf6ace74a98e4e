"""`paddock alerts`: alerts, silences, maintenance windows, alert rules and receivers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
import typer

from app import listing, moments, session, terminal, words
from app.commands import alert_receivers, alert_rules, alert_silences, options
from app.figures import alerts as figures
from app.listing import Column
from storage import (
    alert_events,
    alert_muting,
    alert_rounds,
    alerts,
    incident_alerts,
    silences,
)
from storage.alert_muting import Muted
from storage.alerts import Alert
from storage.home import clock, config
from storage.past import alerts as past_alerts

app = options.group()
Number = Annotated[int, typer.Argument(metavar="ALERT", min=1, help="As the list numbers it.")]

_LATE_US: Final = 120_000_000


Shown = tuple[Alert, Muted | None]

COLUMNS: Final[tuple[Column[Shown], ...]] = (
    Column("ALERT", lambda row: str(row[0].id), right=True),
    Column("SEVERITY", lambda row: row[0].severity.value),
    Column("RULE", lambda row: row[0].rule),
    Column("ABOUT", lambda row: row[0].subject or words.UNKNOWN),
    Column("STATE", lambda row: figures.status(*row)),
    Column("SINCE", lambda row: words.clock(figures.since(row[0]))),
    Column("SUMMARY", lambda row: row[0].summary, below=True),
)


@app.command("list")
async def every(
    ended: Annotated[bool, typer.Option("--ended", help="Also those that ended last.")] = False,
    limit: options.Limit = 20,
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """List the active alerts. Firing ones come first, by severity."""
    if (at_us := moments.at(at)) is not None:
        await _then(at_us, as_json=as_json)
        return
    now = clock.now_us()
    async with session.reading() as s:
        active = await alerts.active(s)
        past = await alerts.ended(s, limit=limit) if ended else []
        lasting = await silences.lasting(s, now)
        muted = alert_muting.muted(active, lasting, now)
        last = await alert_rounds.last(s)
    rows = [(alert, muted.get(alert.id)) for alert in (*active, *past)]
    _list(rows, "No alert is pending or firing.", as_json=as_json)
    if not as_json:
        for window in lasting:
            if window.maintenance is not None and window.holds(now):
                until = words.clock(window.ends_at_us)
                terminal.say(f"In maintenance until {until}: {window.words} ({window.comment}).")
        _say_late(last)


async def _then(at_us: int, *, as_json: bool) -> None:
    """The alerts of a past moment."""
    async with session.reading() as s:
        active = await past_alerts.active(s, at_us)
        muted = alert_muting.muted(active, await past_alerts.silenced(s, at_us), at_us)
    rows = [(alert, muted.get(alert.id)) for alert in active]
    _list(rows, f"No alert was pending or firing at {words.clock(at_us)}.", as_json=as_json)
    keep = config.readable(session.home())[0].retention.requests_days
    if not as_json and (gone := figures.deleted(at_us, clock.now_us(), keep)):
        terminal.say(gone)


def _list(rows: Sequence[Shown], empty: str, *, as_json: bool) -> None:
    document = [
        {**msgspec.to_builtins(alert), "muted": msgspec.to_builtins(mute)} for alert, mute in rows
    ]
    listing.show(COLUMNS, rows, as_json=as_json, document=document, empty=empty)


def _say_late(last: alert_rounds.Round | None) -> None:
    """Say so if the list is out of date."""
    if last is None:
        terminal.say("No rule has been evaluated yet.")
    elif (old := clock.now_us() - last.at_us) > _LATE_US:
        terminal.say(f"The rules were last evaluated {words.age(old)} ago; is the node running?")


@app.command()
async def get(number: Number, at: options.At = None, as_json: options.Json = False) -> None:
    """Show an alert. It lists runbook, incident, silences and moves."""
    at_us = moments.at(at)
    now = clock.now_us() if at_us is None else at_us
    async with session.reading() as s:
        if at_us is None:
            alert, active = await alerts.find(s, number), await alerts.active(s)
            lasting = await silences.lasting(s, now)
            incident = (await incident_alerts.joined(s, [number])).get(number)
        else:
            alert = await past_alerts.find(s, number, at_us)
            active = await past_alerts.active(s, at_us)
            lasting = await past_alerts.silenced(s, at_us)
            incident = await past_alerts.joined(s, number, at_us)
        events = await alert_events.of(s, number)
        if at_us is not None:
            events = [each for each in events if each.at_us <= at_us]
        muted = alert_muting.muted(active, lasting, now)
        quiet = await figures.silenced(s, alert, now)
    rows = figures.lines(alert, muted.get(number), events, incident, quiet)
    document = {
        "alert": alert,
        "events": events,
        "incident": None if incident is None else f"INC-{incident}",
        "silences": quiet,
    }
    terminal.show(msgspec.to_builtins(document), words.table(rows), as_json=as_json)


@app.command()
async def ack(
    number: Number,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Acknowledge a firing alert. No notifications are sent until it ends."""
    await _asked("alerts.ack", number, "acknowledge", reason, yes=yes, as_json=as_json)


@app.command()
async def unack(
    number: Number,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Withdraw an acknowledgement."""
    await _asked("alerts.unack", number, "not acknowledged", reason, yes=yes, as_json=as_json)


@app.command()
async def close(
    number: Number,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """End a firing alert that has no data any more. It takes a reason."""
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


app.command("silence")(alert_silences.silence)
app.command("maintenance")(alert_silences.maintenance)
app.command("unsilence")(alert_silences.unsilence)
app.command("silences")(alert_silences.every)
app.command("series")(alert_rules.series)
app.command("notifications")(alert_receivers.sent)
app.command("test-notify")(alert_receivers.try_one)
app.add_typer(alert_rules.app, name="rules", help="Alert rules.")
app.add_typer(alert_receivers.app, name="receivers", help="Where notifications go.")
