"""`paddock doctor`: is this box healthy, and what has to be done about it."""

from __future__ import annotations

import typer

from app import session, terminal, words
from app.commands import options
from app.doctor import examination
from app.doctor.finding import Finding, Level
from storage.home import clock

_SIGNS = {Level.OK: " ", Level.WARNING: "△", Level.PROBLEM: "▲", Level.UNKNOWN: "?"}
_WIDTH = len("processes")


async def doctor(as_json: options.Json = False) -> None:
    """Check home, disk, memory, clock, GPU, engine, store, backups, keys, node and gateway.

    Exits with 1 where something does not work; a warning does not change the exit code.
    """
    found = []
    async for each in examination.examine(session.home(), clock.now_us):
        found.append(each)
        if not as_json:
            terminal.say("\n".join(lines(each)))
    if as_json:
        terminal.show(found, (), as_json=True)
    else:
        terminal.say(total(found))
    if any(each.level is Level.PROBLEM for each in found):
        raise typer.Exit(1)


def lines(found: Finding) -> list[str]:
    """What was found, with what to do below it."""
    rows = [words.safe(f"{_SIGNS[found.level]} {found.subject:<{_WIDTH}}  {found.sentence}")]
    if found.advice:
        rows.append(words.safe(f"  {'':<{_WIDTH}}  → {found.advice}"))
    return rows


def total(found: list[Finding]) -> str:
    """How much is wrong."""
    problems = sum(each.level is Level.PROBLEM for each in found)
    warnings = sum(each.level is Level.WARNING for each in found)
    if not (problems or warnings):
        return "Nothing is wrong."
    return f"{words.counted(problems, 'problem')}, {words.counted(warnings, 'warning')}."
