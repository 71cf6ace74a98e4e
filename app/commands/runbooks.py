"""`paddock runbooks`: the runbooks of this home, what their runs did, and which are automated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from app import listing, moments, runbook_lines, session, terminal, words
from app.commands import options, run_decisions, run_starts
from app.listing import Column
from runbooks import catalog, schema
from runbooks.steps import Runbook
from storage import automations, run_steps, runs
from storage.automations import Automation
from storage.past import runs as past_runs

app = options.group()

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

AUTOMATIONS: Final[tuple[Column[Automation], ...]] = (
    Column("RUNBOOK", lambda each: each.runbook),
    Column("ENABLED BY", lambda each: each.enabled_by),
    Column("SINCE", lambda each: words.clock(each.enabled_at_us)),
    Column("LAST", lambda each: each.said or words.UNKNOWN, below=True),
)


@app.command("list")
def every(as_json: options.Json = False) -> None:
    """List the runbooks: shipped ones and those of this home."""
    found = catalog.every(session.home())
    listing.show(COLUMNS, list(found.items()), as_json=as_json, document=found)


@app.command()
def show(name: options.Runbook, as_json: options.Json = False) -> None:
    """Show the steps of a runbook.

    What each looks at, does and verifies, and how it is undone. A look informs: an unexpected value
    is reported and stops nothing. A verify decides.
    """
    book = run_starts.find(name)
    lines = [words.safe(f"{book.name}  {book.title}"), words.safe(f"when  {book.when}")]
    lines += [words.safe(f"asks  {key}: {asked.sentence}") for key, asked in book.inputs.items()]
    for number, step in enumerate(book.steps, 1):
        lines += [
            "",
            words.safe(f"{number}. {step.name}  {step.sentence}"),
            *runbook_lines.parts(step),
        ]
    terminal.show(book, lines, as_json=as_json)


@app.command()
def lint(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="One runbook; without it, all of this home."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Check runbooks. Prints every fault with its file and line; exits 1 if there is one."""
    faults = catalog.faults(session.home(), file)
    found = [said for each in faults.values() for said in each]
    lines = found or [f"{words.counted(len(faults), 'runbook')}: no faults."]
    terminal.show(faults, map(words.safe, lines), as_json=as_json)
    if found:
        raise typer.Exit(1)


@app.command("schema")
def schema_() -> None:
    """Print the JSON Schema of runbooks, for editors."""
    terminal.say(schema.text().rstrip())


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

    It takes only the steps that its `on` allows, as often as that says, and stops before any other.
    """
    if name is None:
        async with session.reading() as s:
            found = await automations.every(s)
        empty = "No runbook starts by itself."
        listing.show(AUTOMATIONS, found, as_json=as_json, empty=empty)
        return
    book = run_starts.find(name)
    bound = "" if book.on is None else f" when {book.on.alert} fires, at most {book.on.at_most}"
    effect = f"{name} no longer starts by itself" if off else f"{name} starts by itself{bound}"
    agreed = session.agreed("runbooks.automate", name, effect, reason, yes=yes)
    done = await session.ask("runbooks.automate", name, {"on": not off}, reason=agreed.reason)
    session.report(done, as_json=as_json)


@app.command()
async def tail(
    limit: options.Limit = 20,
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """List the last runs, newest at the bottom. It has what each step saw and did."""
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


app.take(run_starts.app, after="show")
app.take(run_decisions.app)
