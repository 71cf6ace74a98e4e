"""`paddock alerts`: alerts, silences, alert rules and receivers of notifications."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
import typer

from app import errors, listing, moments, session, terminal, words
from app.commands import alert_receivers, alert_rules, options
from app.figures import alerts as figures
from app.listing import Column
from storage import alert_events, alert_muting, alert_rounds, alert_rule_files, alerts, silences
from storage import errors as storage_errors
from storage.alert_muting import Muted
from storage.alerts import Alert
from storage.home import clock, config
from storage.past import alerts as past_alerts
from storage.silences import Silence

app = options.group()
app.command("series")(alert_rules.series)
app.command("notifications")(alert_receivers.sent)
app.command("test-notify")(alert_receivers.try_one)
app.add_typer(alert_rules.app, name="rules", help="Alert rules.")
app.add_typer(alert_receivers.app, name="receivers", help="Where notifications go.")

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
    """Active alerts: firing ones first, the most severe first, then pending ones."""
    if (at_us := moments.at(at)) is not None:
        await _then(at_us, as_json=as_json)
        return
    now = clock.now_us()
    async with session.reading() as s:
        active = await alerts.active(s)
        past = await alerts.ended(s, limit=limit) if ended else []
        muted = alert_muting.muted(active, await silences.lasting(s, now), now)
        last = await alert_rounds.last(s)
    rows = [(alert, muted.get(alert.id)) for alert in (*active, *past)]
    _list(rows, "No alert is pending or firing.", as_json=as_json)
    if not as_json:
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
async def get(number: Number, as_json: options.Json = False) -> None:
    """One alert: what it says, its labels, its moves."""
    now = clock.now_us()
    async with session.reading() as s:
        alert = await alerts.find(s, number)
        events = await alert_events.of(s, number)
        active = await alerts.active(s)
        muted = alert_muting.muted(active, await silences.lasting(s, now), now)
    rows = figures.lines(alert, muted.get(number), events)
    document = {"alert": alert, "events": events}
    terminal.show(msgspec.to_builtins(document), words.table(rows), as_json=as_json)


@app.command()
async def ack(
    number: Number,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Acknowledge a firing alert: no notifications are sent until it ends."""
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


@app.command()
async def silence(
    matchers: Annotated[
        list[str],
        typer.Argument(metavar="LABEL=VALUE...", help='service=support rule=~"latency-.*"'),
    ],
    for_: Annotated[
        str | None, typer.Option("--for", metavar="DURATION", help="How long: 2h, 30m, 7d.")
    ] = None,
    starts_in: Annotated[
        str, typer.Option("--in", metavar="DURATION", help="When it begins, from now.")
    ] = "0s",
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Send no notifications of some alerts for a while; they still fire."""
    if for_ is None:
        raise errors.BadWord("A silence has an end; say how long it lasts: --for 2h")
    if not reason.strip():
        raise errors.BadWord("Say why with --reason; the silence shows it.")
    try:
        seconds = alert_rule_files.duration(for_)
        arguments = {
            "matchers": matchers,
            "for_s": seconds,
            "starts_in_s": alert_rule_files.duration(starts_in),
        }
    except storage_errors.Invalid as error:
        raise errors.BadWord(str(error)) from error
    target = " ".join(matchers)[:200]
    effect = f"silence {target} for {alert_rule_files.written(seconds)}"
    agreed = session.agreed("alerts.silence", target, effect, reason, yes=yes)
    done = await session.ask("alerts.silence", target, arguments, reason=agreed.reason)
    session.report(done, as_json=as_json)


@app.command()
async def unsilence(
    number: Annotated[int, typer.Argument(metavar="SILENCE", min=1)],
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """End a silence before its end."""
    effect = f"end silence {number}"
    agreed = session.agreed("alerts.unsilence", str(number), effect, reason, yes=yes)
    done = await session.ask("alerts.unsilence", str(number), {}, reason=agreed.reason)
    session.report(done, as_json=as_json)


SILENCE_COLUMNS: Final[tuple[Column[Silence], ...]] = (
    Column("SILENCE", lambda each: str(each.id), right=True),
    Column("OF", lambda each: each.words),
    Column("FROM", lambda each: words.clock(each.starts_at_us)),
    Column("UNTIL", lambda each: words.clock(each.ended_at_us or each.ends_at_us)),
    Column("BY", lambda each: each.created_by),
    Column("REASON", lambda each: words.known(each.comment), below=True),
)


@app.command("silences")
async def every_silence(
    ended: Annotated[bool, typer.Option("--ended", help="Also those that are over.")] = False,
    limit: options.Limit = 20,
    as_json: options.Json = False,
) -> None:
    """Silences in force and to come."""
    async with session.reading() as s:
        found = await (silences.past(s, limit) if ended else silences.lasting(s, clock.now_us()))
    listing.show(SILENCE_COLUMNS, found, as_json=as_json, empty="Nothing is silenced.")
