"""`paddock ab-tests`: compare releases on a service's own traffic, and read the verdict."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

import typer

from app import (
    ab_test_view,
    errors,
    job_progress,
    listing,
    moments,
    session,
    terminal,
    words,
)
from app.commands import ab_test_ends, ab_test_starts, options
from app.listing import Column
from storage import ab_test_units, ab_tests
from storage.ab_test_units import Exposed
from storage.ab_tests import OPEN, AbTest
from storage.errors import NotFound
from storage.past import ab_tests as past_ab_tests
from storage.store import Session

app = options.group()


@app.command("list")
async def every(
    service: Annotated[
        str | None, typer.Argument(metavar="[SERVICE]", help="Only tests of this service.")
    ] = None,
    limit: options.Limit = 20,
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """List A/B tests, newest at the bottom. --at lists them as they were then."""
    at_us = moments.at(at)
    async with session.reading() as s:
        found = (
            await ab_tests.tail(s, limit, service=service)
            if at_us is None
            else await past_ab_tests.tail(s, at_us, limit, service=service)
        )[::-1]
    listing.show(COLUMNS, found, as_json=as_json, empty="No A/B tests yet.")


@app.command()
async def show(
    service: options.Service,
    id: Annotated[
        int | None, typer.Option("--test", metavar="N", min=1, help="As `list` numbers them.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show it again whenever it changes.")
    ] = False,
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """Show the newest A/B test and its verdict. It lists arms, goals and guards."""
    if (at_us := moments.at(at)) is not None:
        await _then(service, id, at_us, as_json=as_json)
        return
    async with session.store() as store:
        while True:
            async with store.read() as s:
                view = await ab_test_view.read(s, await ab_test_ends.find(s, service, id))
            if as_json and watch:
                terminal.say(terminal.compact(view))
            else:
                terminal.show(view, ab_test_view.lines(view), as_json=as_json)
            if not watch or view.ab_test.state not in OPEN:
                return
            try:
                await job_progress.changed(store)
            except asyncio.CancelledError:
                raise errors.Waits(f"The A/B test of {service} is still running.") from None


async def _then(service: str, id: int | None, at_us: int, *, as_json: bool) -> None:
    """A test as it was at a past moment."""
    async with session.reading() as s:
        view = await ab_test_view.read_at(s, await _test_at(s, service, id, at_us), at_us)
    terminal.show(view, ab_test_view.lines(view), as_json=as_json)


async def _test_at(s: Session, service: str, id: int | None, at_us: int) -> AbTest:
    """A test of a service at a past moment; without a number the newest at that time."""
    if id is not None:
        return await past_ab_tests.find(s, id, at_us)
    found = await past_ab_tests.tail(s, at_us, 1, service=service)
    if not found:
        raise NotFound(f"{service} had no A/B test at that time.")
    return found[0]


@app.command()
async def units(
    service: options.Service,
    id: Annotated[
        int | None, typer.Option("--test", metavar="N", min=1, help="As `list` numbers them.")
    ] = None,
    limit: options.Limit = 100,
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """List which unit saw which arm first, and when. Units are keyed hashes.

    --at lists the units that had been exposed by then, without ratings, which are not timed here.
    """
    at_us = moments.at(at)
    async with session.reading() as s:
        if at_us is None:
            test = await ab_test_ends.find(s, service, id)
            found = await ab_test_units.log(s, test.id, limit)
        else:
            test = await _test_at(s, service, id, at_us)
            found = await past_ab_tests.exposed(s, test.id, at_us, limit)
    listing.show(UNITS, found, as_json=as_json, empty="No unit has been exposed yet.")


UNITS: Final[tuple[Column[Exposed], ...]] = (
    Column("UNIT", lambda each: each.unit),
    Column("ARM", lambda each: f"r{each.release}"),
    Column("FIRST", lambda each: words.clock(each.at_us)),
    Column("LATENCY", lambda each: words.duration(each.latency_us), right=True),
    Column("THUMB", lambda each: {1: "up", -1: "down"}.get(each.score or 0, words.UNKNOWN)),
)

COLUMNS: Final[tuple[Column[AbTest], ...]] = (
    Column("TEST", lambda each: str(each.id), right=True),
    Column("SERVICE", lambda each: each.service),
    Column("ARMS", lambda each: " ".join(f"r{arm.release}" for arm in each.arms)),
    Column("CONTROL", lambda each: f"r{each.control}"),
    Column("GOAL", lambda each: each.goal.name),
    Column("RESULT", ab_test_view.result),
    Column("STARTED", lambda each: words.clock(each.started_at_us)),
    Column("BY", lambda each: each.started_by),
    Column("WHY", lambda each: each.sentence, below=True),
)


app.take(ab_test_starts.app, after="show")
app.take(ab_test_ends.app)
