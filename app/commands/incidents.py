"""`paddock incidents`: open one, keep its timeline, see what changed before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import typer

from app import incident_view, listing, moments, session, terminal, words
from app.commands import options, post_mortems
from app.listing import Column
from storage import changes, incidents
from storage.changes import Change
from storage.home import clock, config
from storage.incidents import Incident, Role, Severity
from storage.past import incidents as past_incidents

app = options.group()
app.add_typer(
    post_mortems.items, name="items", help="Action items: what will be done, and by whom."
)

At = Annotated[
    str | None,
    typer.Option(
        "--at", metavar="TIME", help="When it happened: 03:12 (UTC), or 15m for 15 minutes ago."
    ),
]


@app.command("open")
async def open_up(
    title: Annotated[str, typer.Argument(help="What is wrong, for those who read it later.")],
    service: Annotated[
        str | None, typer.Option("--service", help="Without one it concerns the whole box.")
    ] = None,
    severity: Annotated[
        Severity,
        typer.Option("--severity", help="sev1: no answers; sev2: errors; sev3: unnoticed."),
    ] = Severity.SEV2,
    began: Annotated[
        str | None,
        typer.Option("--began", metavar="TIME", help="When clients were first affected: 03:12."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Open an incident. It is active until it is declared stable or closed."""
    arguments: dict[str, object] = {"title": title, "severity": severity.value}
    if service is not None:
        arguments["service"] = service
    if began is not None:
        arguments["began_at_us"] = moments.parse(began, clock.now_us())
    await _ask("incidents.open", "", arguments, as_json=as_json)


@app.command("list")
async def every(
    service: Annotated[
        str | None, typer.Argument(metavar="[SERVICE]", help="Only incidents of this service.")
    ] = None,
    limit: options.Limit = 20,
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """List incidents, newest at the bottom. --at lists them as they were then."""
    at_us = moments.at(at)
    async with session.reading() as s:
        found = (
            await incidents.tail(s, limit, service=service)
            if at_us is None
            else await past_incidents.tail(s, at_us, limit, service=service)
        )[::-1]
    listing.show(COLUMNS, found, as_json=as_json, empty="No incidents yet.")


@app.command()
async def show(
    name: options.Incident, at: options.At = None, as_json: options.Json = False
) -> None:
    """Show an incident. It lists people, impact, timeline, and what changed before."""
    at_us, id = moments.at(at), incidents.number(name)
    async with session.reading() as s:
        if at_us is None:
            view = await incident_view.read(s, id, clock.now_us(), config.price(session.home()))
        else:
            view = await incident_view.read_at(s, id, at_us, config.price(session.home()))
    terminal.show(view, incident_view.lines(view), as_json=as_json)


@app.command("changes")
async def changed(
    begin: Annotated[
        str, typer.Option("--from", metavar="TIME", help="03:12 (UTC), or 2h for two hours ago.")
    ] = "1h",
    end: Annotated[str, typer.Option("--to", metavar="TIME", help="Else now.")] = "0s",
    service: Annotated[
        str | None, typer.Option("--service", help="Leave other services out.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """List what changed on the box. It has all that can alter an answer, with reasons."""
    now = clock.now_us()
    async with session.reading() as s:
        found = await changes.between(
            s, moments.parse(begin, now), moments.parse(end, now), service=service
        )
    listing.show(CHANGES, found, as_json=as_json, empty="Nothing changed in this time.")


@app.command()
async def note(
    name: options.Incident,
    sentence: Annotated[str, typer.Argument(help="What was seen, done or decided.")],
    at: At = None,
    as_json: options.Json = False,
) -> None:
    """Add a line to the timeline."""
    await _ask("incidents.note", name, {"sentence": sentence, **_when(at)}, as_json=as_json)


@app.command()
async def rate(
    name: options.Incident,
    severity: Annotated[Severity, typer.Argument()],
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Change the severity."""
    found = await _found(name)
    arguments = {"severity": severity.value}
    await _ask("incidents.rate", name, arguments, reason, seen=found.version, as_json=as_json)


@app.command()
async def assign(
    name: options.Incident,
    role: Annotated[Role, typer.Argument()],
    person: Annotated[
        str | None, typer.Argument(help="Without one, the role is free again.")
    ] = None,
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Assign a role to a person.

    Roles are commander, operations, communications and scribe. A role that another person holds is
    taken over after confirmation; `--yes` confirms.
    """
    found = await _found(name)
    holder = found.roles.get(role)
    if holder not in {None, person}:
        effect = f"{found.name}  {role}  {holder} → {person or 'not assigned'}"
        session.agreed("incidents.assign", found.name, effect, "", yes=yes)
    arguments = {"role": role.value} | ({} if person is None else {"person": person})
    await _ask("incidents.assign", name, arguments, seen=found.version, as_json=as_json)


@app.command()
async def stable(
    name: options.Incident,
    at: At = None,
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Declare an incident stable. Clients are no longer affected: its impact ends here."""
    await _ask("incidents.stable", name, _when(at), reason, as_json=as_json)


@app.command()
async def close(
    name: options.Incident, reason: options.Reason = "", as_json: options.Json = False
) -> None:
    """Close an incident. The post-mortem may still be written."""
    await _ask("incidents.close", name, {}, reason, as_json=as_json)


@app.command()
async def reopen(
    name: options.Incident, reason: options.Reason = "", as_json: options.Json = False
) -> None:
    """Reopen an incident: clients are affected again."""
    await _ask("incidents.reopen", name, {}, reason, as_json=as_json)


@app.command()
async def link(
    name: options.Incident,
    entry: Annotated[int, typer.Argument(min=1, help="Its number in `paddock ledger tail`.")],
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Link a change to the incident."""
    await _ask("incidents.link", name, {"entry": entry}, reason, as_json=as_json)


def _when(at: str | None) -> dict[str, object]:
    return {} if at is None else {"at_us": moments.parse(at, clock.now_us())}


async def _found(name: str) -> Incident:
    async with session.reading() as s:
        return await incidents.find(s, incidents.number(name))


async def _ask(
    verb: str,
    name: str,
    arguments: Mapping[str, object],
    reason: str = "",
    *,
    seen: int | None = None,
    as_json: bool,
) -> None:
    """Ask for one change; `seen` is the version of the incident that it rests on."""
    target = f"INC-{incidents.number(name)}" if name else ""
    done = await session.ask(verb, target, arguments, reason=reason, expected_version=seen)
    session.report(done, as_json=as_json)


COLUMNS: Final[tuple[Column[Incident], ...]] = (
    Column("INCIDENT", lambda each: each.name),
    Column("STATE", lambda each: each.state.value),
    Column("SEVERITY", lambda each: each.severity.value),
    Column("SERVICE", lambda each: words.known(each.service)),
    Column("BEGAN", lambda each: words.clock(each.began_at_us)),
    Column("STABLE", lambda each: words.clock(each.stable_at_us)),
    Column("COMMANDER", lambda each: words.known(each.roles.get(Role.COMMANDER))),
    Column("TITLE", lambda each: each.title, below=True),
)

CHANGES: Final[tuple[Column[Change], ...]] = (
    Column("ENTRY", lambda each: str(each.entry.id), right=True),
    Column("AT", lambda each: words.clock(each.entry.at_us)),
    Column("WHO", lambda each: each.entry.actor),
    Column("DID", lambda each: each.entry.verb),
    Column("TO", lambda each: f"{each.entry.noun} {each.entry.key}"),
    Column("REASON", lambda each: words.known(each.reason), below=True),
)


app.take(post_mortems.app)
