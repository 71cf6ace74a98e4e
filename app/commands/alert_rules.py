"""`paddock alerts rules`: what is alerted on; as files in Prometheus' format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from app import errors, listing, terminal, words
from app.commands import options
from app.listing import Column
from storage import alert_rule_files, exported_series
from storage.alert_rules import Rule
from storage.errors import Invalid
from storage.exported_series import Exported

app = options.group()

File = Annotated[Path, typer.Argument(metavar="FILE", help="Rules in Prometheus' format.")]

COLUMNS: Final[tuple[Column[Rule], ...]] = (
    Column("RULE", lambda rule: rule.name),
    Column("SEVERITY", lambda rule: rule.severity.value),
    Column("FOR", lambda rule: alert_rule_files.written(rule.for_s), right=True),
    Column("RUNBOOK", lambda rule: words.known(rule.runbook)),
    Column("EXPRESSION", lambda rule: " ".join(rule.expression.split()), below=True),
)


@app.command("list")
async def every(as_json: options.Json = False) -> None:
    """The rules in force."""
    listing.show(COLUMNS, list(alert_rule_files.shipped().values()), as_json=as_json)


@app.command()
def check(file: File, as_json: options.Json = False) -> None:
    """Check a file of rules; nothing is changed. Errors name the line."""
    rules = read(file)
    said = f"{file}: {words.counted(len(rules), 'rule')}, all of which can be used."
    terminal.show(rules, [said], as_json=as_json)


@app.command()
async def export(
    prometheus: Annotated[
        bool, typer.Option("--prometheus", help="A rule file that a Prometheus can load.")
    ] = False,
) -> None:
    """Print the rules in force as a file that `set` reads."""
    rules = alert_rule_files.shipped().values()
    terminal.say(alert_rule_files.write(rules, prometheus=prometheus).rstrip())


def read(file: Path) -> list[Rule]:
    """The rules of a file.

    Raises:
        errors.BadWord: with the file and the line.
    """
    try:
        return alert_rule_files.read(file)
    except Invalid as error:
        raise errors.BadWord(str(error)) from error


SERIES_COLUMNS: Final[tuple[Column[Exported], ...]] = (
    Column("SERIES", lambda family: family.name),
    Column("KIND", lambda family: family.kind.value),
    Column("LABELS", lambda family: ", ".join(family.labels) or words.UNKNOWN),
    Column("MEANING", lambda family: family.help, below=True),
)


def series(as_json: options.Json = False) -> None:
    """The series that rules may ask for."""
    listing.show(SERIES_COLUMNS, exported_series.FAMILIES, as_json=as_json)
