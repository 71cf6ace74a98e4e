"""`paddock drill`: rehearse a fault on a service made for it, and see how long the box took."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from app import errors, listing, session, terminal, words
from app.commands import options
from app.listing import Column
from runbooks.drills import plans
from storage import drills
from storage.drills import Drill

_DRILL_S: Final = 2_700.0


def _took(drill: Drill, at_us: int | None) -> str:
    took = drill.took_us(at_us)
    return words.UNKNOWN if took is None else words.duration(took)


def _why(each: Drill) -> str:
    if each.reason is not None or each.detected_by is None:
        return each.reason or words.UNKNOWN
    measured = "" if each.alert_id is None else f"{each.measured_by}; "
    return f"{measured}{each.detected_by}; {each.acted_by}"


COLUMNS: Final[tuple[Column[Drill], ...]] = (
    Column("DRILL", lambda each: each.name),
    Column("RESULT", lambda each: each.state.value),
    Column("MEASURED", lambda each: _took(each, each.measured_at_us), right=True),
    Column("DETECTED", lambda each: _took(each, each.detected_at_us), right=True),
    Column("ACTED", lambda each: _took(each, each.acted_at_us), right=True),
    Column("RECOVERED", lambda each: _took(each, each.recovered_at_us), right=True),
    Column("WHEN", lambda each: words.clock(each.began_at_us), below=True),
    Column("BY", lambda each: each.actor, below=True),
    Column("WHY", _why, below=True),
)


async def _drill(name: str | None, *, every: bool, listed: bool, yes: bool, as_json: bool) -> None:
    if listed:
        async with session.reading() as s:
            found = (await drills.tail(s))[::-1]
        listing.show(COLUMNS, found, as_json=as_json, empty="No drill yet.")
        return
    names = list(plans.PLANS) if every else [name] if name is not None else []
    if not names:
        lines = words.table([(known, said) for known, said in plans.PLANS.items()])
        terminal.show(plans.PLANS, lines, as_json=as_json)
        return
    if unknown := [each for each in names if each not in plans.PLANS]:
        raise errors.AppError(
            f"There is no drill {unknown[0]}; there are {words.one_of(plans.PLANS, limit=99)}."
        )
    effect = "".join(f"\n  {each}: {plans.PLANS[each]}" for each in names)
    what = f"rehearse, on a service, a worker and a key made for it:{effect}"
    session.agreed("drills.start", names[0], what, "", yes=yes)
    ended = [await _one(each, quiet=as_json) for each in names]
    listing.show(COLUMNS, ended, as_json=as_json)
    if any(each.state is not drills.State.PASSED for each in ended):
        raise typer.Exit(1)


async def _one(name: str, *, quiet: bool) -> Drill:
    """Start one and wait for its end."""
    if not quiet:
        terminal.say(f"{name}: {plans.PLANS[name]}")
    done = await session.ask("drills.start", name, timeout_s=_DRILL_S)
    async with session.reading() as s:
        found = await drills.of_intent(s, done.intent_id or 0)
    if found is None:  # it was refused before it began
        session.report(done)
        raise errors.AppError(done.sentence)
    return found


async def drill(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Without it, the drills that there are.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All of them, one after the other.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="The drills that were run.")] = False,
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Rehearse a fault: how long until it was detected, acted upon and over.

    It has its own service, worker, key and bounded load, which are removed afterwards. It is
    refused where the box is frozen or short of memory.
    """
    await _drill(name, every=every, listed=listed, yes=yes, as_json=as_json)
