"""`paddock alerts silence`, `maintenance`, `unsilence`, `silences`: alerts without notifications.

Imported by `app.commands.alerts`.
"""

from __future__ import annotations

from typing import Annotated, Final

import typer

from app import errors, listing, moments, session, words
from app.commands import options
from app.listing import Column
from storage import alert_rule_files, silences
from storage import errors as storage_errors
from storage.home import clock
from storage.past import alerts as past_alerts
from storage.silences import Silence

_SECOND_US: Final = 1_000_000


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
    """Send no notifications of some alerts for a while. The alerts still fire."""
    seconds = _lasting("A silence", for_, reason)
    arguments = {"matchers": matchers, "for_s": seconds, "starts_in_s": _seconds(starts_in)}
    target = " ".join(matchers)[:200]
    effect = f"silence {target} for {alert_rule_files.written(seconds)}"
    agreed = session.agreed("alerts.silence", target, effect, reason, yes=yes)
    done = await session.ask("alerts.silence", target, arguments, reason=agreed.reason)
    session.report(done, as_json=as_json)


async def maintenance(
    matchers: Annotated[
        list[str], typer.Argument(metavar="LABEL=VALUE...", help="service=support")
    ],
    begin: Annotated[
        str, typer.Option("--from", metavar="TIME", help="22:00 (UTC), or 2h from now; else now.")
    ] = "now",
    for_: Annotated[
        str | None, typer.Option("--for", metavar="DURATION", help="How long: 2h, 30m, 7d.")
    ] = None,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Plan a maintenance window.

    Its alerts are marked, send no notification and open no incident. `paddock alerts silences`
    lists it, `paddock alerts unsilence` ends it.
    """
    seconds = _lasting("A maintenance window", for_, reason)
    starts_us = moments.coming(begin, clock.now_us())
    target = " ".join(matchers)[:200]
    span = f"{words.clock(starts_us)} to {words.clock(starts_us + seconds * _SECOND_US)}"
    effect = f"maintenance of {target} from {span}"
    agreed = session.agreed("alerts.maintain", target, effect, reason, yes=yes)
    arguments: dict[str, object] = {"matchers": matchers, "for_s": seconds}
    if begin.strip() != "now":
        arguments["starts_at_us"] = starts_us
    done = await session.ask("alerts.maintain", target, arguments, reason=agreed.reason)
    session.report(done, as_json=as_json)


async def unsilence(
    number: Annotated[int, typer.Argument(metavar="SILENCE", min=1)],
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """End a silence or a maintenance window early."""
    effect = f"end silence {number}"
    agreed = session.agreed("alerts.unsilence", str(number), effect, reason, yes=yes)
    done = await session.ask("alerts.unsilence", str(number), {}, reason=agreed.reason)
    session.report(done, as_json=as_json)


def _lasting(what: str, typed: str | None, reason: str) -> int:
    """How long it lasts, in seconds; it has to have an end, and a reason."""
    if typed is None:
        raise errors.BadWord(f"{what} has an end; say how long it lasts: --for 2h")
    if not reason.strip():
        raise errors.BadWord("Say why with --reason; it is shown with it.")
    return _seconds(typed)


def _seconds(typed: str) -> int:
    try:
        return alert_rule_files.duration(typed)
    except storage_errors.Invalid as error:
        raise errors.BadWord(str(error)) from error


COLUMNS: Final[tuple[Column[Silence], ...]] = (
    Column("SILENCE", lambda each: str(each.id), right=True),
    Column("KIND", lambda each: "silence" if each.maintenance is None else "maintenance"),
    Column("OF", lambda each: each.words),
    Column("FROM", lambda each: words.clock(each.starts_at_us)),
    Column("UNTIL", lambda each: words.clock(each.ended_at_us or each.ends_at_us)),
    Column("BY", lambda each: each.created_by),
    Column("REASON", lambda each: words.known(each.comment), below=True),
)


async def every(
    ended: Annotated[bool, typer.Option("--ended", help="Also those that are over.")] = False,
    limit: options.Limit = 20,
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """List silences and maintenance windows. Those in force and those to come."""
    at_us = moments.at(at)
    if ended and at_us is not None:
        raise errors.BadWord("--at lists what was in force or to come then: leave --ended out.")
    async with session.reading() as s:
        if at_us is not None:
            found = await past_alerts.silences_of(s, at_us)
        elif ended:
            found = await silences.past(s, limit)
        else:
            found = await silences.lasting(s, clock.now_us())
    listing.show(COLUMNS, found, as_json=as_json, empty="Nothing is silenced.")
