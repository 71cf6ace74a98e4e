"""`paddock knobs`: live settings of a deployment, set and undone while it serves."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from app import errors, listing, moments, session, words
from app.commands import options
from app.listing import Column
from storage import deployments, knobs
from storage.past import knobs as past_knobs

app = options.group()

Deployment = Annotated[
    str, typer.Argument(metavar="DEPLOYMENT", help="As `paddock deployments list` names it.")
]
Knob = Annotated[str, typer.Argument(metavar="KNOB", help=", ".join(knobs.NAMES))]


Value = tuple[str, str, int, bool]  # deployment, knob, value, whether it is the default


COLUMNS: Final[tuple[Column[Value], ...]] = (
    Column("DEPLOYMENT", lambda row: row[0]),
    Column("KNOB", lambda row: row[1]),
    Column("VALUE", lambda row: words.count(row[2]), right=True),
    Column("SOURCE", lambda row: "default" if row[3] else "set"),
)


@app.command("list")
async def every(at: options.At = None, as_json: options.Json = False) -> None:
    """List the knobs of local deployments. With --json only those that were ever set."""
    at_us = moments.at(at)
    async with session.reading() as s:
        local = {
            each.name: each.engine
            for each in await deployments.every(s)
            if each.engine and (at_us is None or each.created_at_us <= at_us)
        }
        found = {
            name: await (knobs.of(s, name) if at_us is None else past_knobs.of(s, name, at_us))
            for name in local
        }
    values = [
        (name, knob, found[name].get(knob, knobs.defaults(engine)[knob]), knob not in found[name])
        for name, engine in local.items()
        for knob in knobs.NAMES
    ]
    listing.show(COLUMNS, values, as_json=as_json, document=found)


@app.command()
async def set(
    deployment: Deployment,
    change: Annotated[str, typer.Argument(metavar="KNOB=VALUE", help="max_running=8")],
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Set a knob of a deployment while it serves."""
    name, equals, figure = change.partition("=")
    if not equals or not (figure.isascii() and figure.isdecimal()):
        raise errors.BadWord(f"{change!r} is not KNOB=VALUE with a whole number: max_running=8.")
    value = int(figure)
    async with session.reading() as s:
        before = await knobs.current(s, deployment, name)
    was = "default" if before is None else words.count(before.value)
    effect = f"{deployment} {name}  {was} → {words.count(value)}"
    agreed = session.agreed("knobs.set", deployment, effect, reason, yes=yes)
    done = await session.ask(
        "knobs.set",
        deployment,
        {"name": name, "value": value},
        reason=agreed.reason,
        expected_version=0 if before is None else before.id,
    )
    session.report(done, as_json=as_json)


@app.command()
async def undo(
    deployment: Deployment,
    name: Knob,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Undo the last setting of a knob; undoing twice changes once."""
    async with session.reading() as s:
        newest = await knobs.current(s, deployment, name)
    if newest is None or newest.previous is None:
        raise errors.AppError(f"{name} of {deployment} was never set; there is nothing to undo.")
    after = newest.value if newest.undoes else newest.previous
    effect = f"{deployment} {name}  {words.count(newest.value)} → {words.count(after)}"
    agreed = session.agreed("knobs.undo", deployment, effect, reason, yes=yes)
    setting = newest.undoes or newest.id
    done = await session.ask(
        "knobs.undo", deployment, {"name": name, "setting": setting}, reason=agreed.reason
    )
    session.report(done, as_json=as_json)
