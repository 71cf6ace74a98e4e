"""`paddock rollouts`: lead a candidate to all of a service's traffic, watch it, take it back."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Annotated, Final

import msgspec
import typer

from app import (
    errors,
    job_progress,
    listing,
    moments,
    rollout_options,
    rollout_tree,
    rollout_view,
    secret_files,
    session,
    terminal,
    words,
)
from app.commands import options, rollout_leads, rollout_starts
from app.listing import Column
from storage.errors import NotFound
from storage.home import clock
from storage.past import rollouts as past_rollouts
from storage.rollouts import OPEN, Phase, Rollout, State

app = options.group()

_END: Final = frozenset({Phase.HEALTHY, Phase.DEGRADED, Phase.PAUSED})


@app.command()
async def get(
    service: options.Service,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Draw it again whenever it changes.")
    ] = False,
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """Show the newest rollout as a tree. It says what the rollout waits for."""
    if (at_us := moments.at(at)) is not None:
        async with session.reading() as s:
            past = await rollout_view.read_latest_at(s, service, at_us)
        terminal.show(_document(past), rollout_tree.lines(past), as_json=as_json)
        return
    async with session.store() as store:
        while True:
            async with store.read() as s:
                newest = await rollout_leads.newest(s, service)
                view = await rollout_view.read(s, newest, clock.now_us())
            if not as_json:
                _draw(rollout_tree.lines(view), again=watch)
            elif watch:
                terminal.say(terminal.compact(_document(view)))
            else:
                terminal.show(_document(view), (), as_json=True)
            if not watch or view.rollout.state not in OPEN:
                return
            try:
                await job_progress.changed(store)
            except asyncio.CancelledError:
                raise errors.Waits(f"The rollout of {service} continues.") from None


@app.command("list")
async def every(
    service: Annotated[
        str | None, typer.Argument(metavar="[SERVICE]", help="Only rollouts of this service.")
    ] = None,
    limit: options.Limit = 20,
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """List rollouts, newest at the bottom. --at lists them as they were then."""
    at_us = moments.at(at)
    async with session.reading() as s:
        found = await rollout_view.tail(s, limit, service, at_us)
    found = found[::-1]
    document = [secret_files.without(each) for each in found]
    listing.show(COLUMNS, found, as_json=as_json, document=document, empty="No rollouts yet.")


@app.command()
async def status(
    service: options.Service,
    within: Annotated[
        str | None,
        typer.Option(
            "--timeout", metavar="TIME", help="Wait this long for its end or a pause: 90s, 10m, 2h."
        ),
    ] = None,
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """Print the phase of the newest rollout.

    Exits 0 only when it is Healthy, and 4 while it is under way. With --at its phase then, with
    the same exit codes.
    """
    if (at_us := moments.at(at)) is not None:
        if within is not None:
            raise errors.BadWord("--at shows a past moment: leave --timeout out.")
        async with session.reading() as s:
            past = await past_rollouts.latest(s, service, at_us)
        if past is None:
            raise NotFound(f"{service} had no rollout at that time.")
        _say_phase(past, as_json=as_json)
        return
    until = time.monotonic() + (0 if within is None else rollout_options.seconds(within))
    async with session.store() as store:
        while True:
            async with store.read() as s:
                rollout = await rollout_leads.newest(s, service)
            if rollout.phase in _END or time.monotonic() >= until:
                break
            await job_progress.changed(store, max(until - time.monotonic(), 0.0))
    _say_phase(rollout, as_json=as_json)


def _say_phase(rollout: Rollout, *, as_json: bool) -> None:
    """Print it, and exit with its code."""
    said = f"{rollout.phase.value}: {rollout.sentence}"
    document = {"phase": rollout.phase.value, "rollout": rollout.id, "sentence": rollout.sentence}
    terminal.show(document, [said], as_json=as_json)
    if rollout.phase is Phase.DEGRADED:
        raise typer.Exit(errors.AppError.exit_code)
    if rollout.phase is not Phase.HEALTHY:
        raise typer.Exit(errors.Waits.exit_code)


def _document(view: rollout_view.View) -> dict[str, object]:
    return {**msgspec.to_builtins(view), "rollout": secret_files.without(view.rollout)}


def _draw(lines: list[str], *, again: bool) -> None:
    """Print a tree; on a terminal a watched one takes the place of the one before."""
    if again and sys.stdout.isatty():
        sys.stdout.write("\x1b[H\x1b[2J")
    for line in lines:
        terminal.say(line)
    if again and not sys.stdout.isatty():
        terminal.say()


def _step(rollout: Rollout) -> str:
    if rollout.state is State.COMPLETED or rollout.step is None:
        return words.UNKNOWN
    return f"{rollout.step + 1}/{len(rollout.steps)}"


COLUMNS: Final[tuple[Column[Rollout], ...]] = (
    Column("ROLLOUT", lambda each: str(each.id), right=True),
    Column("SERVICE", lambda each: each.service),
    Column("REVISION", lambda each: str(each.revision), right=True),
    Column("FROM", lambda each: words.UNKNOWN if each.stable is None else f"r{each.stable}"),
    Column("TO", lambda each: f"r{each.candidate}"),
    Column("STATE", lambda each: each.state.value),
    Column("STEP", _step),
    Column("STARTED", lambda each: words.clock(each.started_at_us)),
    Column("BY", lambda each: each.started_by),
    Column("WHY", lambda each: each.sentence, below=True),
)


app.take(rollout_starts.app, after="list")
app.take(rollout_leads.app)
