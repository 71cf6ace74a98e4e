"""`paddock alerts receivers`: where notifications go.

An address holds tokens: it is read from a file or from standard input, deposited in the data
directory, and never printed.
"""

from __future__ import annotations

import textwrap
from typing import Annotated, Final

import msgspec
import typer

from app import errors, listing, moments, receiver_address, secret_files, session, terminal, words
from app.commands import options
from app.figures import alerts as figures
from app.listing import Column
from storage import alert_rule_files, notifications, receivers
from storage import errors as storage_errors
from storage.home import clock, secrets
from storage.notifications import Backlog, Notification, State
from storage.past import notifications as past_notifications
from storage.receivers import Receiver

app = options.group()

Name = Annotated[str, typer.Argument(metavar="NAME", help="The receiver.")]
Known = tuple[Receiver, Backlog | None]

_WIDTH: Final = 78


@app.command()
async def add(
    name: Name,
    url_file: Annotated[
        str,
        typer.Option(
            "--url-file",
            metavar="FILE",
            help="Holds the address: https:// for a webhook, or one of apprise; - for stdin.",
        ),
    ],
    match: Annotated[
        list[str] | None,
        typer.Option("--match", metavar="LABEL=VALUE", help="severity=critical; all must fit."),
    ] = None,
    group_by: Annotated[
        str,
        typer.Option(
            "--group-by", metavar="LABELS", help="One notification for alerts with the same."
        ),
    ] = ",".join(receivers.GROUP_BY),
    wait: Annotated[
        str, typer.Option("--wait", metavar="DURATION", help="Before a group's first notification.")
    ] = alert_rule_files.written(receivers.GROUP_WAIT_S),
    interval: Annotated[
        str,
        typer.Option("--interval", metavar="DURATION", help="Between notifications of changes."),
    ] = alert_rule_files.written(receivers.GROUP_INTERVAL_S),
    repeat: Annotated[
        str, typer.Option("--repeat", metavar="DURATION", help="Before it is sent again.")
    ] = alert_rule_files.written(receivers.REPEAT_INTERVAL_S),
    resolved: Annotated[
        bool, typer.Option("--resolved/--no-resolved", help="Notify of ends, too.")
    ] = True,
    sign_file: Annotated[
        str | None,
        typer.Option("--sign-file", metavar="FILE", help="Holds the key that signs a webhook."),
    ] = None,
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Add a receiver. A webhook gets Alertmanager's JSON, other services of apprise text."""
    arguments: dict[str, object] = {
        "matchers": match or [],
        "group_by": [label.strip() for label in group_by.split(",") if label.strip()],
        "group_wait_s": _seconds(wait),
        "group_interval_s": _seconds(interval),
        "repeat_interval_s": _seconds(repeat),
        "send_resolved": resolved,
    }
    with secret_files.deposits() as deposits:
        address = deposits.add(url_file, "The address")
        url = secrets.read(session.home(), address)
        receiver_address.check(url)
        kind = receivers.kind_of(url)
        arguments |= {"kind": kind.value, "shown": receivers.shown(url), "secret": address}
        if sign_file is not None:
            if kind is not receivers.Kind.WEBHOOK:
                raise errors.BadWord("Only the messages to a webhook are signed.")
            arguments["signing"] = deposits.add(sign_file, "The signing key")
        done = await session.ask("alerts.add_receiver", name, arguments, reason=reason)
        deposits.settle(done)
    session.report(done, as_json=as_json)


@app.command()
async def remove(
    name: Name,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Remove a receiver; undelivered notifications are dropped."""
    async with session.reading() as s:
        known = await receivers.find(s, name)
        waits = (await notifications.backlog(s)).get(name)
    lost = "" if waits is None else f"; {waits.waiting} undelivered are dropped"
    effect = f"receiver {name} ({known.shown})  → removed{lost}"
    agreed = session.agreed("alerts.remove_receiver", name, effect, reason, yes=yes)
    done = await session.ask("alerts.remove_receiver", name, reason=agreed.reason)
    if done.ok:
        secret_files.withdraw(known.secret)
        secret_files.withdraw(known.signing)
    session.report(done, as_json=as_json)


COLUMNS: Final[tuple[Column[Known], ...]] = (
    Column("RECEIVER", lambda row: row[0].name),
    Column("KIND", lambda row: row[0].kind.value),
    Column("ADDRESS", lambda row: row[0].shown),
    Column("ALERTS", lambda row: " ".join(row[0].matchers) or "all"),
    Column("REPEAT", lambda row: alert_rule_files.written(row[0].repeat_interval_s), right=True),
    Column("DELIVERY", lambda row: figures.delivery(row[1], clock.now_us()), below=True),
)


@app.command("list")
async def every(as_json: options.Json = False) -> None:
    """List the receivers, and whether they accept notifications."""
    async with session.reading() as s:
        known = await receivers.every(s)
        backlog = await notifications.backlog(s)
    rows = [(each, backlog.get(each.name)) for each in known]
    document = [_document(each, waits) for each, waits in rows]
    empty = "No receivers: `paddock alerts receivers add` adds one."
    listing.show(COLUMNS, rows, as_json=as_json, document=document, empty=empty)


@app.command()
def services(as_json: options.Json = False) -> None:
    """List the services that apprise can notify. It shows how their addresses begin."""
    known = receiver_address.schemes()
    lines = textwrap.wrap(" ".join(known), _WIDTH)
    terminal.show(known, lines, as_json=as_json)


def _document(receiver: Receiver, waits: Backlog | None) -> dict[str, object]:
    """As JSON shows it: without the references to its secrets."""
    shown: dict[str, object] = msgspec.to_builtins(receiver)
    del shown["secret"]
    shown["signed"] = shown.pop("signing") is not None
    shown["undelivered"] = msgspec.to_builtins(waits)
    return shown


def _error(each: Notification) -> str:
    return "" if each.state is State.SENT else each.error or ""


NOTIFICATION_COLUMNS: Final[tuple[Column[Notification], ...]] = (
    Column("NOTIFICATION", lambda each: str(each.id), right=True),
    Column("QUEUED", lambda each: words.clock(each.created_at_us)),
    Column("RECEIVER", lambda each: each.receiver),
    Column("STATE", lambda each: each.state.value),
    Column("FAILED TRIES", lambda each: words.count(each.attempts), right=True),
    Column("MESSAGE", lambda each: each.title, below=True),
    Column("ERROR", _error, below=True),
)


async def sent(
    limit: options.Limit = 20, at: options.At = None, as_json: options.Json = False
) -> None:
    """List notifications, newest first, and their delivery.

    With --at the number of attempts of one that was still waiting is left out: it is not recorded.
    """
    at_us = moments.at(at)
    async with session.reading() as s:
        if at_us is None:
            found = await notifications.tail(s, limit)
        else:
            found = await past_notifications.tail(s, at_us, limit)
    listing.show(NOTIFICATION_COLUMNS, found, as_json=as_json, empty="No notification yet.")


async def try_one(name: Name, reason: options.Reason = "", as_json: options.Json = False) -> None:
    """Send a receiver a test notification."""
    done = await session.ask("alerts.test_receiver", name, reason=reason)
    session.report(done, as_json=as_json)


def _seconds(typed: str) -> int:
    try:
        return alert_rule_files.duration(typed)
    except storage_errors.Invalid as error:
        raise errors.BadWord(str(error)) from error
