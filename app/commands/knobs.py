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
        before = await knobs.current(s, worker, name)
    was = "not set" if before is None else words.count(before.value)
    terminal.confirm(f"{worker} {name}  {was} → {words.count(value)}", yes=yes)
    done = await session.ask(
        "knobs.set",
        worker,
        {"name": name, "value": value},
        reason=reason,
        expected_version=0 if before is None else before.id,
    )
    session.tell(done, as_json=as_json)


@app.command()
def undo(
    worker: Worker,
    name: Knob,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Undo the last setting of a knob; undoing twice changes once."""
    terminal.run(_undo(worker, name, reason=reason, yes=yes, as_json=as_json))


async def _undo(worker: str, name: str, *, reason: str, yes: bool, as_json: bool) -> None:
    async with session.reading() as s:
        newest = await knobs.current(s, worker, name)
    if newest is None or newest.previous is None:
        raise errors.AppError(f"{name} of {worker} was never set; there is nothing to undo.")
    after = newest.value if newest.undoes else newest.previous
    terminal.confirm(
        f"{worker} {name}  {words.count(newest.value)} → {words.count(after)}", yes=yes
    )
    setting = newest.undoes or newest.id
    done = await session.ask(
        "knobs.undo", worker, {"name": name, "setting": setting}, reason=reason
    )
    session.tell(done, as_json=as_json)
