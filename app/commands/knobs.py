"""`paddock knobs`: live settings of a worker, set and undone while it serves."""

from __future__ import annotations

from typing import Annotated

import typer

from app import errors, session, terminal, words
from app.commands import options
from storage import knobs, processes

app = options.group()

Worker = Annotated[str, typer.Argument(metavar="WORKER", help="As `paddock status` names it.")]
Knob = Annotated[str, typer.Argument(metavar="KNOB", help=", ".join(knobs.NAMES))]


@app.command("list")
def every(as_json: options.Json = False) -> None:
    """The knobs that were set, by worker; the others stand at their release's settings."""
    terminal.run(_every(as_json=as_json))


async def _every(*, as_json: bool) -> None:
    async with session.reading() as s:
        workers = [p.name for p in await processes.every(s) if p.kind is processes.Kind.WORKER]
        found = {worker: await knobs.of(s, worker) for worker in workers}
    rows = [("WORKER", "KNOB", "VALUE")]
    rows += [
        (worker, name, words.count(values[name]) if name in values else "not set")
        for worker, values in found.items()
        for name in knobs.NAMES
    ]
    terminal.show(found, words.table(rows, right=(2,)), as_json=as_json)


@app.command()
def set(
    worker: Worker,
    change: Annotated[str, typer.Argument(metavar="KNOB=VALUE", help="max_running=8")],
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Set a knob of a worker while it serves."""
    name, equals, figure = change.partition("=")
    if not equals or not figure.isdecimal():
        raise errors.BadWord(f"{change!r} is not KNOB=VALUE with a whole number: max_running=8.")
    terminal.run(
        _set(worker, name, int(figure), reason=reason, yes=yes, as_json=as_json),
    )


async def _set(
    worker: str, name: str, value: int, *, reason: str, yes: bool, as_json: bool
) -> None:
    async with session.reading() as s:
        before = (await knobs.of(s, worker)).get(name)
    was = "not set" if before is None else words.count(before)
    terminal.confirm(f"{worker} {name}  {was} → {words.count(value)}", yes=yes)
    done = await session.ask("knobs.set", worker, {"name": name, "value": value}, reason=reason)
    session.tell(done, as_json=as_json)


@app.command()
def undo(
    worker: Worker,
    name: Knob,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Put back the value that a knob had before."""
    terminal.confirm(f"{worker} {name}  → its value before", yes=yes)
    done = terminal.run(session.ask("knobs.undo", worker, {"name": name}, reason=reason))
    session.tell(done, as_json=as_json)
