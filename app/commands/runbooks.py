"""`paddock runbooks`: what runbooks there are, what a run of one did, and starting one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Final

import typer

from app import errors, listing, moments, session, terminal, words
from app.commands import options, run_decisions
from app.listing import Column
from runbooks import (
    alert_inputs,
    catalog,
    foresight,
    schema,
    start_request,
    steps,
    undo_plan,
    values,
)
from runbooks.steps import Do, Look, Runbook, Step
from storage import automations, run_steps, runs
from storage.automations import Automation
from storage.home import clock
from storage.past import runs as past_runs

app = options.group()

Name = Annotated[str, typer.Argument(metavar="NAME", help="As `paddock runbooks list` names it.")]


Found = tuple[str, Runbook | str]  # a name with its runbook, or with why that cannot be used


def _steps(book: Runbook | str) -> str:
    return words.UNKNOWN if isinstance(book, str) else str(len(book.steps))


def _title(book: Runbook | str) -> str:
    return f"cannot be used: {book}" if isinstance(book, str) else book.title


COLUMNS: Final[tuple[Column[Found], ...]] = (
    Column("RUNBOOK", lambda row: row[0]),
    Column("STEPS", lambda row: _steps(row[1]), right=True),
    Column("TITLE", lambda row: _title(row[1])),
)


_UNMET: Final = {
    steps.Unmet.FAIL: "",
    steps.Unmet.CONTINUE: ", else continue",
    steps.Unmet.UNDO: ", else undo it and continue",
}

AUTOMATIONS: Final[tuple[Column[Automation], ...]] = (
    Column("RUNBOOK", lambda each: each.runbook),
    Column("ENABLED BY", lambda each: each.enabled_by),
    Column("SINCE", lambda each: words.clock(each.enabled_at_us)),
    Column("LAST", lambda each: each.said or words.UNKNOWN, below=True),
)


@app.command("list")
def every(as_json: options.Json = False) -> None:
    """The runbooks that can be started: the shipped ones and those of this home."""
    found = catalog.every(session.home())
    listing.show(COLUMNS, list(found.items()), as_json=as_json, document=found)


@app.command()
def show(name: Name, as_json: options.Json = False) -> None:
    """The steps of a runbook: what each looks at, does, verifies, and how it is undone.

    Looks inform: what is not as expected is said and stops nothing. Verify decides.
    """
    book = _find(name)
    lines = [words.safe(f"{book.name}  {book.title}"), words.safe(f"when  {book.when}")]
    lines += [words.safe(f"asks  {key}: {asked.sentence}") for key, asked in book.inputs.items()]
    for number, step in enumerate(book.steps, 1):
        lines += ["", words.safe(f"{number}. {step.name}  {step.sentence}"), *_parts(step)]
    terminal.show(book, lines, as_json=as_json)


def _find(name: str) -> Runbook:
    known = catalog.every(session.home())
    book = known.get(name)
    if isinstance(book, Runbook):
        return book
    if book is not None:
        raise errors.AppError(f"{name} cannot be used: {book}")
    raise errors.AppError(f"There is no runbook {name}; there are: {words.one_of(known)}.")


def _parts(step: Step) -> list[str]:
    rows = []
    if step.look is not None:
        rows.append(f"   look    {_look(step.look)}")
    if step.when is not None:
        rows.append(f"   when    {_condition(step.when)}")
    if step.ask is not None:
        rows.append(f"   ask     {step.ask.sentence}")
    if step.do is not None:
        rows.append(f"   do      {_do(step.do)}")
    if step.verify is not None:
        wanted = step.verify
        expected = "what look saw" if wanted.expected == steps.LOOKED else wanted.expected
        fact = f"{wanted.probe} {wanted.of} is {expected}"
        rows.append(f"   verify  {fact} within {wanted.timeout_s:g} s{_UNMET[wanted.unmet]}")
    if step.undo is not None:
        rows.append(f"   undo    {_do(step.undo)}")
    rows += [f"   if      {_condition(each.condition)}: on to {each.to}" for each in step.branch]
    return [words.safe(row) for row in rows]


def _condition(condition: steps.Outcome | steps.Condition) -> str:
    if isinstance(condition, steps.Condition):
        return f"{condition.probe} {condition.of} is {condition.expected}"
    return condition.value


def _look(look: Look) -> str:
    expected = f", expected {look.expected}" if look.expected else ""
    return f"{look.probe} {look.of} over {look.window_s} s{expected}"


def _do(do: Do) -> str:
    rest = "".join(f" {name}={value}" for name, value in do.arguments.items())
    return f"{do.verb} {do.target}{rest}"


@app.command()
async def start(
    name: Name,
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="[INPUT=VALUE...]", help="service=support")
    ] = None,
    pace: Annotated[
        bool | None,
        typer.Option(
            "--step/--through", help="Stop before each action, or not; as the runbook says."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what each step would do; do nothing.")
    ] = False,
    alert: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="For an alert; what it is about fills in inputs."),
    ] = None,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Start a runbook; it continues when this terminal closes."""
    book = _find(name)
    given = await _given(book, parse(inputs or []), alert)
    if dry_run:
        await _preview(book, given, as_json=as_json)
        return
    shown = "".join(f"  {key}={value}" for key, value in given.items())
    async with session.reading() as s:
        effects = await foresight.effects(s, book, given, clock.now_us() // 1_000_000)
    effect = "".join(f"\n  {each}" for each in effects)
    agreed = session.agreed("runbooks.start", name, f"{book.title}{shown}{effect}", reason, yes=yes)
    wanted: dict[str, object] = {"inputs": given, "content": steps.content(book)}
    if alert is not None:
        wanted["alert"] = alert
    if pace is not None:
        wanted["pace"] = "step" if pace else "through"
    done = await session.ask("runbooks.start", name, wanted, reason=agreed.reason)
    session.report(done, as_json=as_json)


async def _given(book: Runbook, given: dict[str, str], alert: int | None) -> dict[str, str]:
    """The inputs that were typed, and those that the alert fills in."""
    if alert is None:
        return given
    async with session.reading() as s:
        about = await alert_inputs.of_number(s, alert)
    return {name: value for name, value in about.items() if name in book.inputs} | given


@app.command()
async def preview(
    name: Name,
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="[INPUT=VALUE...]", help="service=support")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """What each step of a runbook sees and would do now; changes nothing."""
    await _preview(_find(name), parse(inputs or []), as_json=as_json)


async def _preview(book: Runbook, given: dict[str, str], *, as_json: bool) -> None:
    try:
        async with session.reading() as s:
            found = await foresight.preview(s, book, given, clock.now_us() // 1_000_000)
    except start_request.Refused as refused:
        raise errors.AppError(str(refused)) from refused
    lines = []
    for number, each in enumerate(found, 1):
        lines += _foreseen(number, each)
    terminal.show([dataclasses.asdict(each) for each in found], lines, as_json=as_json)


def _foreseen(number: int, each: foresight.Foreseen) -> list[str]:
    passed = "" if each.reached else "  (a branch skips it as of now)"
    rows = [f"{number}. {each.step}  {each.sentence}{passed}"]
    if each.probe:
        expected = f" (expected {each.expected})" if each.expected else ""
        rows.append(f"   look    {each.probe} {values.shown(each.looked)}{expected}")
    if not each.needed:
        rows.append(f"   not needed: {each.why}")
    elif each.effect:
        rows.append(f"   would   {each.effect}")
    if each.measure and each.needed:
        rows.append(f"   verify  {each.measure} {values.shown(each.before)} now")
    if each.goto:
        rows.append(f"   then    {each.goto}")
    return [words.safe(row) for row in rows]


@app.command()
def lint(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="One runbook; without it, all of this home."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Check runbooks: every fault with its file and line; exits 1 if there is one."""
    faults = catalog.faults(session.home(), file)
    found = [said for each in faults.values() for said in each]
    lines = found or [f"{words.counted(len(faults), 'runbook')}: no faults."]
    terminal.show(faults, map(words.safe, lines), as_json=as_json)
    if found:
        raise typer.Exit(1)


@app.command("schema")
def schema_() -> None:
    """The JSON Schema of runbooks, for editors and other checkers."""
    terminal.say(schema.text().rstrip())


@app.command()
async def undo(
    run: Annotated[
        int, typer.Argument(metavar="RUN", min=1, help="As `paddock runbooks tail` numbers them.")
    ],
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Undo the steps that a run has done, the last one first."""
    try:
        async with session.reading() as s:
            book, inputs = await undo_plan.planned(s, catalog.every(session.home()), str(run))
    except start_request.Refused as refused:
        raise errors.AppError(str(refused)) from refused
    shown = "".join(
        values.filled(f"\n  {step.name}: {_do(step.do)}", inputs) for step in book.steps if step.do
    )
    agreed = session.agreed("runbooks.undo", str(run), f"{book.title}{shown}", reason, yes=yes)
    done = await session.ask("runbooks.undo", str(run), reason=agreed.reason)
    session.report(done, as_json=as_json)


@app.command()
async def automate(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Without it, those that are enabled.")
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="No longer.")] = False,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Let a runbook start by itself when its alert fires.

    It takes only the steps that its `on` allows, so often as that says, and stops before any other.
    """
    if name is None:
        async with session.reading() as s:
            found = await automations.every(s)
        empty = "No runbook starts by itself."
        listing.show(AUTOMATIONS, found, as_json=as_json, empty=empty)
        return
    book = _find(name)
    bound = "" if book.on is None else f" when {book.on.alert} fires, at most {book.on.at_most}"
    effect = f"{name} starts no more by itself" if off else f"{name} starts by itself{bound}"
    agreed = session.agreed("runbooks.automate", name, effect, reason, yes=yes)
    done = await session.ask("runbooks.automate", name, {"on": not off}, reason=agreed.reason)
    session.report(done, as_json=as_json)


def parse(words_: list[str]) -> dict[str, str]:
    """Inputs by name out of words such as service=support."""
    given: dict[str, str] = {}
    for word in words_:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise errors.BadWord(f"{word!r} is not INPUT=VALUE, as in service=support.")
        given[name] = value
    return given


@app.command()
async def tail(
    limit: options.Limit = 20,
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """The last runs with what each of their steps saw and did, newest at the bottom."""
    at_us = moments.at(at)
    async with session.reading() as s:
        if at_us is None:
            found = (await runs.tail(s, limit))[::-1]
            walked = {run.id: await run_steps.of(s, run.id) for run in found}
        else:
            found = (await past_runs.tail(s, at_us, limit))[::-1]
            walked = {run.id: await past_runs.steps_of(s, run.id, at_us) for run in found}
    lines: list[str] = []
    for run in found:
        inputs = "".join(f" {name}={value}" for name, value in run.inputs.items())
        lines.append(
            f"run {run.id}  {words.clock(run.began_at_us)}  {words.safe(run.runbook + inputs)}  "
            f"{run.state.value}  by {run.actor}"
        )
        lines += [
            f"  {step.position + 1}. {words.safe(step.name)}  {words.safe(step.sentence or '')}"
            for step in walked[run.id]
        ]
    both = [{"run": run, "steps": walked[run.id]} for run in found]
    terminal.show(both, lines or ["No runbook was run yet."], as_json=as_json)


app.registered_commands += run_decisions.app.registered_commands
