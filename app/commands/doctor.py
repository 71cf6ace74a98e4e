"""`paddock doctor`: is this box healthy, and what has to be done about it."""

from __future__ import annotations

import typer

from app import session, terminal, words
from app.commands import options
from app.doctor import examination
from app.doctor.finding import Finding, Level
from storage.home import clock

_SIGNS = {Level.OK: " ", Level.WARNING: "△", Level.PROBLEM: "▲", Level.UNKNOWN: "?"}


async def doctor(as_json: options.Json = False) -> None:
    """Check home, disk, memory, clock, GPU, engine, store, backups, keys, node and gateway.

    Exits with 1 where something does not work; a warning does not change the exit code.
    """
    found = await examination.examine(session.home(), clock.now_us)
    terminal.show(found, lines(found), as_json=as_json)
    if any(each.level is Level.PROBLEM for each in found):
        raise typer.Exit(1)


def lines(found: list[Finding]) -> list[str]:
    """A line for each finding, with what to do below it, and the sum."""
    width = max(len(each.subject) for each in found)
    rows = []
    for each in found:
        rows.append(words.safe(f"{_SIGNS[each.level]} {each.subject:<{width}}  {each.sentence}"))
        if each.advice:
            rows.append(words.safe(f"  {'':<{width}}  → {each.advice}"))
    problems = sum(each.level is Level.PROBLEM for each in found)
    warnings = sum(each.level is Level.WARNING for each in found)
    if not (problems or warnings):
        return [*rows, "Nothing is wrong."]
    return [*rows, f"{words.counted(problems, 'problem')}, {words.counted(warnings, 'warning')}."]
