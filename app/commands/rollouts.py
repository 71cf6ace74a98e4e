"""`paddock rollouts`: lead a candidate to all of a service's traffic, watch it, take it back."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from app import (
    errors,
    job_progress,
    listing,
    moments,
    rollout_options,
    rollout_plan,
    rollout_tree,
    secret_files,
    session,
    terminal,
    words,
)
from app.commands import options
from app.listing import Column
from storage import releases, rollouts
from storage.errors import NotFound, StorageError
from storage.home import clock
from storage.rollout_steps import Strategy
from storage.rollouts import OPEN, Phase, Rollout, State
from storage.store import Session

app = options.group()

_PLAN_S: Final = 120.0
_END: Final = frozenset({Phase.HEALTHY, Phase.DEGRADED, Phase.PAUSED})

Service = Annotated[str, typer.Argument(metavar="SERVICE", help="The service, as clients call it.")]


To = Annotated[str | None, typer.Option("--to", help="The candidate: r2")]
Strategy_ = Annotated[Strategy | None, typer.Option("--strategy", help="canary unless it is said.")]
Steps = Annotated[
    str | None,
    typer.Option(
        "--steps",
        help="'5, 50, 100': percent, pause [10m], analysis [30m], mirror 10%, webhook URL.",
    ),
]
_ASKED: Final = "Ask this webhook {} each weight: 'https://host/path [10m] [abort]'."
AskBefore = Annotated[
    str | None, typer.Option("--ask-before", metavar="URL", help=_ASKED.format("before"))
]
AskAfter = Annotated[
    str | None, typer.Option("--ask-after", metavar="URL", help=_ASKED.format("after"))
]
Then = Annotated[
    Strategy | None,
    typer.Option("--then", help="How a shadow that has passed continues by itself: canary."),
]
Guards = Annotated[
    list[str] | None,
    typer.Option("--guard", help="latency_p95<=2s, error_rate<=1%, agreement>=80%; repeatable."),
]
File = Annotated[
    Path | None, typer.Option("--file", "-f", help="TOML with the same names; options win.")
]


@app.command()
async def start(
    service: Service,
    *,
    to: To = None,
    strategy: Strategy_ = None,
    steps: Steps = None,
    then: Then = None,
    guards: Guards = None,
    ask_before: AskBefore = None,
    ask_after: AskAfter = None,
    notify: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="Send a message at each pause and end; repeatable."),
    ] = None,
    webhook_secret_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Holds the key that signs the messages; - for stdin."),
    ] = None,
    file: File = None,
    load_timeout: Annotated[
        str | None, typer.Option("--load-timeout", help="How long it may load: 30m.")
    ] = None,
    rollback_window: Annotated[
        str | None,
        typer.Option("--rollback-window", help="How long the way back stays loaded: 1h."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the steps and guards; change nothing.")
    ] = False,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Start a rollout: by default a canary of 5 %, 50 %, 100 %, each held to the guards.

    Between two weights an analysis waits until the guards are shown to hold. A shadow tries the
    candidate on copies of requests first, and waits for a person or continues with --then. A first
    release needs no steps.

    A webhook gets the service, the releases, the next step and the verdicts of the guards as JSON,
    and continues the rollout with 2xx; 4xx pauses or aborts it, and without an answer it pauses.
    """
    arguments = rollout_options.arguments(
        file, to=to, strategy=strategy, steps=steps, then=then, guards=guards,
        ask_before=ask_before, ask_after=ask_after, notify=notify,
        load_timeout=load_timeout, rollback_window=rollback_window,
    )  # fmt: skip
    async with session.reading() as s:
        candidate = await releases.find(s, arguments["release"])
    plan = rollout_options.planned(arguments).lines()
    if dry_run:
        terminal.show(arguments, plan, as_json=as_json)
        return
    effect = "\n".join([f"{service}  rollout to {candidate.name}", *plan])
    agreed = session.agreed("rollouts.start", service, effect, reason, yes=yes)
    deposited = None
    if webhook_secret_file is not None:
        deposited = secret_files.deposit(webhook_secret_file, "The key of the webhooks")
        arguments["webhook_secret"] = deposited
    try:
        done = await session.ask("rollouts.start", service, arguments, reason=agreed.reason)
    except StorageError:
        secret_files.withdraw(deposited)
        raise
    if not done.ok and not done.waits:
        secret_files.withdraw(deposited)
    session.report(done, as_json=as_json, then=f"`paddock rollouts get {service} -w` follows it.")


@app.command()
async def plan(
    service: Service,
    *,
    to: To = None,
    strategy: Strategy_ = None,
    steps: Steps = None,
    then: Then = None,
    guards: Guards = None,
    ask_before: AskBefore = None,
    ask_after: AskAfter = None,
    file: File = None,
    as_json: options.Json = False,
) -> None:
    """What a rollout would find at the service's own traffic, and how long it would take.

    Nothing is changed. Each weight is listed with its expected length, the rates of harm that it
    finds and misses in that time (each with a chance of 80 %), and the weakest step. The last line
    says whether the traffic leads the rollout to its end, and what would.
    """
    arguments = rollout_options.arguments(
        file, to=to, strategy=strategy, steps=steps, then=then, guards=guards,
        ask_before=ask_before, ask_after=ask_after,
    )  # fmt: skip
    rollout_options.planned(arguments)
    done = await session.ask("rollouts.plan", service, arguments, timeout_s=_PLAN_S)
    if not done.ok or done.intent_id is None:
        session.report(done, as_json=as_json)
        return
    async with session.reading() as s:
        found = await rollout_plan.of_intent(s, done.intent_id)
    terminal.show(msgspec.to_builtins(found), rollout_plan.lines(found), as_json=as_json)


@app.command()
async def get(
    service: Service,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Draw it again whenever it changes.")
    ] = False,
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """The newest rollout as a tree: set beside actual, steps, guards, what it waits for."""
    if (at_us := moments.at(at)) is not None:
        async with session.reading() as s:
            past = await rollout_tree.read_latest_at(s, service, at_us)
        terminal.say(_json(past) if as_json else "\n".join(rollout_tree.lines(past)))
        return
    async with session.store() as store:
        while True:
            async with store.read() as s:
                view = await rollout_tree.read(s, await _latest(s, service), clock.now_us())
            if as_json:
                terminal.say(terminal.compact(view) if watch else _json(view))
            else:
                _draw(rollout_tree.lines(view), again=watch)
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
    """The newest rollouts, newest at the bottom; with --at as far as they were then."""
    at_us = moments.at(at)
    async with session.reading() as s:
        found = await rollout_tree.tail(s, limit, service, at_us)
    listing.show(COLUMNS, found[::-1], as_json=as_json, empty="No rollouts yet.")


@app.command()
async def status(
    service: Service,
    within: Annotated[
        str | None,
        typer.Option(
            "--timeout", metavar="TIME", help="Wait so long for its end or a pause: 90s, 10m, 2h."
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """The phase of the newest rollout; exits 0 only when it is Healthy, 4 while it is under way."""
    until = time.monotonic() + (0 if within is None else rollout_options.seconds(within))
    async with session.store() as store:
        while True:
            async with store.read() as s:
                rollout = await _latest(s, service)
            if rollout.phase in _END or time.monotonic() >= until:
                break
            await job_progress.changed(store, max(until - time.monotonic(), 0.0))
    said = f"{rollout.phase.value}: {rollout.sentence}"
    document = {"phase": rollout.phase.value, "rollout": rollout.id, "sentence": rollout.sentence}
    terminal.show(document, [said], as_json=as_json)
    if rollout.phase is Phase.DEGRADED:
        raise typer.Exit(errors.AppError.exit_code)
    if rollout.phase is not Phase.HEALTHY:
        raise typer.Exit(errors.Waits.exit_code)


@app.command()
async def pause(
    service: Service,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Pause before the next step; weights stay, and harm is still looked for."""
    effect = "pause before the next step"
    await _ask("rollouts.pause", service, effect, {}, reason, yes=yes, as_json=as_json)


@app.command()
async def promote(
    service: Service,
    full: Annotated[
        bool, typer.Option("--full", help="Skip all steps: all traffic to the candidate.")
    ] = False,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Continue: from a pause, or past the step that is under way."""
    effect = "all traffic to the candidate, without further steps" if full else "continue"
    await _ask(
        "rollouts.promote", service, effect, {"full": full}, reason, yes=yes, as_json=as_json,
        versioned=True,
    )  # fmt: skip


@app.command()
async def abort(
    service: Service,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """All traffic back to the stable release; the candidate stays loaded for a while."""
    effect = "all traffic back to the stable release"
    await _ask("rollouts.abort", service, effect, {}, reason, yes=yes, as_json=as_json)


@app.command()
async def retry(
    service: Service,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Begin the newest rollout again, which was aborted, from its first step."""
    effect = "begin again from the first step"
    await _ask("rollouts.retry", service, effect, {}, reason, yes=yes, as_json=as_json)


@app.command()
async def undo(
    service: Service,
    to_revision: Annotated[
        int | None,
        typer.Option("--to-revision", metavar="N", min=0, help="As `list` numbers them."),
    ] = None,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Go back to the release before the newest rollout, at once while that one is loaded.

    Undoing twice goes back once. Revision 0 is the release before the first rollout.
    """
    if to_revision is None:
        effect = "back to the release before it"
        await _ask("rollouts.undo", service, effect, {}, reason, yes=yes, as_json=as_json)
        return
    effect = f"{service}  back to revision {to_revision}"
    agreed = session.agreed("rollouts.undo", service, effect, reason, yes=yes)
    arguments = {"to_revision": to_revision}
    done = await session.ask("rollouts.undo", service, arguments, reason=agreed.reason)
    session.report(done, as_json=as_json)


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
        rollout = await _latest(s, service)
    known = f"{service}  rollout {rollout.id} (r{rollout.candidate}, {rollout.state.value})"
    agreed = session.agreed(verb, service, f"{known}  {effect}", reason, yes=yes)
    done = await session.ask(
        verb,
        service,
        {"rollout": rollout.id, **more},
        reason=agreed.reason,
        expected_version=rollout.version if versioned else None,
    )
    session.report(done, as_json=as_json)


async def _latest(s: Session, service: str) -> Rollout:
    found = await rollouts.latest(s, service)
    if found is None:
        raise NotFound(
            f"{service} has had no rollout; start one with `paddock rollouts start {service}`."
        )
    return found


def _json(view: rollout_tree.View) -> str:
    return msgspec.json.format(msgspec.json.encode(view), indent=2).decode()


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
