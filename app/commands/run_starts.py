"""`paddock runbooks start` and `preview`: a runbook with its inputs, carried out or foreseen.

Imported by `app.commands.runbooks`.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from app import errors, runbook_lines, session, terminal
from app.commands import options
from runbooks import alert_inputs, catalog, foresight, start_request, steps
from runbooks.steps import Runbook
from storage.home import clock

app = options.group()

Inputs = Annotated[
    list[str] | None, typer.Argument(metavar="[INPUT=VALUE...]", help="service=support")
]


def find(name: str) -> Runbook:
    """A runbook of this home that can be used."""
    try:
        return start_request.named(catalog.every(session.home()), name)
    except start_request.Refused as refused:
        raise errors.AppError(str(refused)) from refused


@app.command()
async def start(
    name: options.Runbook,
    inputs: Inputs = None,
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
        typer.Option(metavar="N", min=1, help="Start it for this alert, which fills in inputs."),
    ] = None,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Start a runbook; it continues when this terminal closes."""
    book = find(name)
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
    name: options.Runbook,
    inputs: Inputs = None,
    as_json: options.Json = False,
) -> None:
    """Show what each step sees and would do now. Changes nothing."""
    await _preview(find(name), parse(inputs or []), as_json=as_json)


async def _preview(book: Runbook, given: dict[str, str], *, as_json: bool) -> None:
    try:
        async with session.reading() as s:
            found = await foresight.preview(s, book, given, clock.now_us() // 1_000_000)
    except start_request.Refused as refused:
        raise errors.AppError(str(refused)) from refused
    lines = []
    for number, each in enumerate(found, 1):
        lines += runbook_lines.foreseen(number, each)
    terminal.show([dataclasses.asdict(each) for each in found], lines, as_json=as_json)


def parse(words_: list[str]) -> dict[str, str]:
    """Inputs by name out of words such as service=support."""
    given: dict[str, str] = {}
    for word in words_:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise errors.BadWord(f"{word!r} is not INPUT=VALUE, as in service=support.")
        given[name] = value
    return given
