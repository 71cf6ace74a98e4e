"""`paddock knobs`: live settings of a deployment, set and undone while it serves."""

from __future__ import annotations

from typing import Annotated

import typer

from app import errors, session, terminal, words
from app.commands import options
from storage import deployments, knobs

app = options.group()

Deployment = Annotated[
    str, typer.Argument(metavar="DEPLOYMENT", help="As `paddock deployments list` names it.")
]
Knob = Annotated[str, typer.Argument(metavar="KNOB", help=", ".join(knobs.NAMES))]


@app.command("list")
def every(as_json: options.Json = False) -> None:
    """The knobs of each local deployment; those that are not set follow its settings."""
    terminal.run(_every(as_json=as_json))


async def _every(*, as_json: bool) -> None:
    async with session.reading() as s:
        local = [each.name for each in await deployments.every(s) if each.engine is not None]
        found = {name: await knobs.of(s, name) for name in local}
    rows = [("DEPLOYMENT", "KNOB", "VALUE")]
    rows += [
        (deployment, name, words.count(values[name]) if name in values else "not set")
        for deployment, values in found.items()
        for name in knobs.NAMES
    ]
    terminal.show(found, words.table(rows, right=(2,)), as_json=as_json)


@app.command()
def set(
    deployment: Deployment,
    change: Annotated[str, typer.Argument(metavar="KNOB=VALUE", help="max_running=8")],
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Set a knob of a deployment while it serves."""
    name, equals, figure = change.partition("=")
    if not equals or not figure.isdecimal():
        raise errors.BadWord(f"{change!r} is not KNOB=VALUE with a whole number: max_running=8.")
    terminal.run(
        _set(deployment, name, int(figure), reason=reason, yes=yes, as_json=as_json),
    )


async def _set(
    deployment: str, name: str, value: int, *, reason: str, yes: bool, as_json: bool
) -> None:
    async with session.reading() as s:
        before = await knobs.current(s, deployment, name)
    was = "not set" if before is None else words.count(before.value)
    terminal.confirm(f"{deployment} {name}  {was} → {words.count(value)}", yes=yes)
    done = await session.ask(
        "knobs.set",
        deployment,
        {"name": name, "value": value},
        reason=reason,
        expected_version=0 if before is None else before.id,
    )
    session.tell(done, as_json=as_json)


@app.command()
def undo(
    deployment: Deployment,
    name: Knob,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Undo the last setting of a knob; undoing twice changes once."""
    terminal.run(_undo(deployment, name, reason=reason, yes=yes, as_json=as_json))


async def _undo(deployment: str, name: str, *, reason: str, yes: bool, as_json: bool) -> None:
    async with session.reading() as s:
        newest = await knobs.current(s, deployment, name)
    if newest is None or newest.previous is None:
        raise errors.AppError(f"{name} of {deployment} was never set; there is nothing to undo.")
    after = newest.value if newest.undoes else newest.previous
    terminal.confirm(
        f"{deployment} {name}  {words.count(newest.value)} → {words.count(after)}", yes=yes
    )
    setting = newest.undoes or newest.id
    done = await session.ask(
        "knobs.undo", deployment, {"name": name, "setting": setting}, reason=reason
    )
    session.tell(done, as_json=as_json)
