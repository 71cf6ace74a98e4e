"""`paddock ab-tests`: compare releases on a service's own traffic, and read the verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
import typer

from app import (
    ab_test_view,
    errors,
    job_progress,
    listing,
    moments,
    session,
    split_input,
    terminal,
    words,
)
from app.commands import options
from app.listing import Column
from storage import ab_test_goals, ab_test_units, ab_tests, releases, rollout_syntax, services
from storage.ab_test_units import Exposed
from storage.ab_tests import OPEN, AbTest
from storage.errors import Invalid, NotFound
from storage.past import ab_tests as past_ab_tests
from storage.store import Session

app = options.group()

Service = Annotated[str, typer.Argument(metavar="SERVICE", help="The service, as clients call it.")]


@app.command()
async def start(
    service: Service,
    arms: Annotated[
        list[str],
        typer.Option(
            "--arm",
            metavar="RELEASE=PERCENT",
            help="r1=50; the one that has the traffic now is the control.",
        ),
    ],
    goals: Annotated[
        list[str],
        typer.Option(
            "--goal",
            metavar="METRIC[:up|down][:LEAST]",
            help="thumbs_up:5%, latency:100ms, answer_tokens:10; the first decides.",
        ),
    ],
    guards: Annotated[
        list[str] | None,
        typer.Option(
            "--guard",
            help="error_rate<=1% by default; wrong<=5%, finished>=95%; repeatable.",
        ),
    ] = None,
    least_units: Annotated[
        int, typer.Option("--least-units", min=20, help="In each arm before a conclusion.")
    ] = 200,
    at_most: Annotated[
        str, typer.Option("--at-most", metavar="TIME", help="How long it may run: 12h, 14d.")
    ] = "14d",
    load_timeout: Annotated[
        str, typer.Option("--load-timeout", metavar="TIME", help="How long the arms may load.")
    ] = "30m",
    promote: Annotated[
        str | None,
        typer.Option("--promote", metavar="winner", help="Give a winner all of the traffic."),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option("--label", help="With --promote winner: the label its prompt then has."),
    ] = None,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Start an A/B test: users are assigned to the arms anew, and keep their arm.

    A user counts once, by the first answer or the first rating. The test ends by itself with a
    winner, without a difference that matters, or inconclusive; then the control has all of the
    traffic again unless --promote winner is given.
    """  # fmt: skip
    if promote not in {None, "winner"}:
        raise errors.BadWord("--promote takes one word: winner.")
    if label is not None and promote is None:
        raise errors.BadWord("--label moves with a promotion; add --promote winner.")
    weights = split_input.parse(arms)
    arguments: dict[str, Any] = {"least_units": least_units, "promotes": promote is not None}
    try:
        parsed = tuple(ab_test_goals.parse(each) for each in goals)
        ab_test_goals.check(parsed)
        arguments["goals"] = msgspec.to_builtins(parsed)
        if guards:
            held = tuple(rollout_syntax.parse_guard(each) for each in guards)
            arguments["guards"] = msgspec.to_builtins(held)
        arguments["at_most_s"] = rollout_syntax.parse_duration(at_most)
        arguments["load_timeout_s"] = rollout_syntax.parse_duration(load_timeout)
    except Invalid as error:
        raise errors.BadWord(str(error)) from error
    if label is not None:
        arguments["label"] = label
    async with session.reading() as s:
        found = await services.find(s, service)
        named = {(await releases.find(s, arm)).name: each for arm, each in weights.items()}
    arguments["arms"] = named
    shown = ", ".join(f"{name} {each / 100:g} %" for name, each in named.items())
    effect = f"{service}  A/B test of {shown}; users are assigned anew"
    agreed = session.agreed("ab_tests.start", service, effect, reason, yes=yes)
    done = await session.ask(
        "ab_tests.start", service, arguments, reason=agreed.reason,
        expected_version=found.version,
    )  # fmt: skip
    session.report(done, as_json=as_json, then=f"`paddock ab-tests show {service}` follows it.")


@app.command("list")
async def every(
    service: Annotated[
        str | None, typer.Argument(metavar="[SERVICE]", help="Only tests of this service.")
    ] = None,
    limit: options.Limit = 20,
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """The newest A/B tests, newest at the bottom; with --at as far as they were then."""
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
    service: Service,
    id: Annotated[
        int | None, typer.Option("--test", metavar="N", min=1, help="As `list` numbers them.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show it again whenever it changes.")
    ] = False,
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """The newest A/B test: arms, and for each goal n, effect, interval and what is needed."""
    if (at_us := moments.at(at)) is not None:
        await _then(service, id, at_us, as_json=as_json)
        return
    async with session.store() as store:
        while True:
            async with store.read() as s:
                view = await ab_test_view.read(s, await _test(s, service, id))
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
    """A test as far as it was at a past moment."""
    async with session.reading() as s:
        view = await ab_test_view.read_at(s, await _test_at(s, service, id, at_us), at_us)
    terminal.show(view, ab_test_view.lines(view), as_json=as_json)


async def _test_at(s: Session, service: str, id: int | None, at_us: int) -> AbTest:
    """A test of a service at a past moment; without a number the newest of then."""
    if id is not None:
        return await past_ab_tests.find(s, id, at_us)
    found = await past_ab_tests.tail(s, at_us, 1, service=service)
    if not found:
        raise NotFound(f"{service} had had no A/B test then.")
    return found[0]


@app.command()
async def units(
    service: Service,
    id: Annotated[
        int | None, typer.Option("--test", metavar="N", min=1, help="As `list` numbers them.")
    ] = None,
    limit: options.Limit = 100,
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """The exposure log: which unit saw which arm first, and when; units are keyed hashes.

    With --at the units that had been exposed by then, without ratings, which have no time here.
    """
    at_us = moments.at(at)
    async with session.reading() as s:
        if at_us is None:
            test = await _test(s, service, id)
            found = await ab_test_units.log(s, test.id, limit)
        else:
            test = await _test_at(s, service, id, at_us)
            found = await past_ab_tests.exposed(s, test.id, at_us, limit)
    listing.show(UNITS, found, as_json=as_json, empty="No unit has been exposed yet.")


@app.command()
async def stop(
    service: Service,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """End the test without a result: all traffic back to the control."""
    effect = "stop; all traffic back to the control"
    await _ask("ab_tests.stop", service, effect, {}, reason, yes=yes, as_json=as_json)


@app.command()
async def promote(
    service: Service,
    to: Annotated[
        str | None, typer.Option("--to", help="The arm, where no winner was found: r2")
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", help="Point this label at its prompt version.")
    ] = None,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Give the winner, or the arm that is named, all of the traffic; a running test ends."""
    more = {"release": to, "label": label}
    arguments = {name: value for name, value in more.items() if value is not None}
    effect = f"all traffic to {to or 'the winner'}"
    await _ask(
        "ab_tests.promote", service, effect, arguments, reason, yes=yes, as_json=as_json,
        versioned=True,
    )  # fmt: skip


async def _ask(
    verb: str,
    service: str,
    effect: str,
    more: Mapping[str, object],
    reason: str,
    *,
    yes: bool,
    as_json: bool,
    versioned: bool = False,
) -> None:
    async with session.reading() as s:
        test = await _test(s, service, None)
    known = f"{service}  A/B test {test.id} ({ab_test_view.result(test)})"
    agreed = session.agreed(verb, service, f"{known}  {effect}", reason, yes=yes)
    done = await session.ask(
        verb,
        service,
        {"ab_test": test.id, **more},
        reason=agreed.reason,
        expected_version=test.version if versioned else None,
    )
    session.report(done, as_json=as_json)


async def _test(s: Session, service: str, id: int | None) -> AbTest:
    found = await ab_tests.latest(s, service) if id is None else await ab_tests.find(s, id)
    if found is None or found.service != service:
        raise NotFound(
            f"{service} has had no {'A/B test' if id is None else f'A/B test {id}'}; "
            f"`paddock ab-tests list {service}` shows those that it had."
        )
    return found


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
