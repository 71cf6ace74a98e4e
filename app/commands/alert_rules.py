"""`paddock alerts rules`: the alert rules, as files in Prometheus' format."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from app import errors, listing, moments, session, terminal, words
from app.commands import options
from app.figures import alerts as figures
from app.listing import Column
from storage import alert_rounds, alert_rule_files, alert_rule_versions, exported_series
from storage.alert_rounds import Health
from storage.alert_rule_versions import Kind, Versioned
from storage.alert_rules import Rule
from storage.errors import Invalid
from storage.exported_series import Exported
from storage.past import alert_rules as past_rules
from storage.store import Session

app = options.group()

File = Annotated[Path, typer.Argument(metavar="FILE", help="Rules in Prometheus' format.")]
Name = Annotated[str, typer.Argument(metavar="RULE", help="As `paddock alerts rules list`.")]
Only = Annotated[bool, typer.Option("--only", help="Remove all rules that the file lacks.")]
InForce = tuple[Versioned, Rule, Health | None]

_SHIPPED: Final = "shipped"


COLUMNS: Final[tuple[Column[InForce], ...]] = (
    Column("RULE", lambda row: row[0].name),
    Column("VERSION", lambda row: str(row[0].version) if row[0].version else _SHIPPED),
    Column("SEVERITY", lambda row: row[1].severity.value),
    Column("FOR", lambda row: alert_rule_files.written(row[1].for_s), right=True),
    Column("HEALTH", lambda row: figures.fared(row[2])),
    Column("RUNBOOK", lambda row: words.known(row[1].runbook)),
    Column("EXPRESSION", lambda row: " ".join(row[1].expression.split()), below=True),
    Column("ERROR", lambda row: row[2].sentence if row[2] is not None else "", below=True),
)


@app.command("list")
async def every(at: options.At = None, as_json: options.Json = False) -> None:
    """List the rules in force, with their last evaluation.

    --at leaves out the evaluation, which is not recorded.
    """
    at_us = moments.at(at)
    async with session.reading() as s:
        known = await _in_force(s, at_us)
        health = await alert_rounds.health(s) if at_us is None else {}
    rows = [(each, each.rule, health.get(name)) for name, each in known.items() if each.rule]
    document = [
        {**msgspec.to_builtins(each), "health": msgspec.to_builtins(found)}
        for each, _, found in rows
    ]
    listing.show(COLUMNS, rows, as_json=as_json, document=document)


@app.command()
async def show(name: Name, at: options.At = None, as_json: options.Json = False) -> None:
    """Show a rule as in a file, and its versions."""
    at_us = moments.at(at)
    async with session.reading() as s:
        if at_us is None:
            now = await alert_rule_versions.find(s, name)
            past = await alert_rule_versions.history(s, name)
        else:
            past = await past_rules.history(s, name, at_us)
            now = past[-1]
    lines = alert_rule_files.write([now.rule]).rstrip().split("\n") if now.rule else []
    lines += [
        f"# version {each.version}: {each.kind.value}"
        + (f" by {each.created_by}, {words.clock(each.created_at_us)}" if each.created_by else "")
        for each in past
    ]
    terminal.show(past, lines, as_json=as_json)


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
    at: options.At = None,
) -> None:
    """Print the rules in force as a file for `set`. --at prints those of that time."""
    async with session.reading() as s:
        known = await _in_force(s, moments.at(at))
    rules = [each.rule for each in known.values() if each.rule is not None]
    terminal.say(alert_rule_files.write(rules, prometheus=prometheus).rstrip())


async def _in_force(s: Session, at_us: int | None) -> dict[str, Versioned]:
    if at_us is None:
        return await alert_rule_versions.in_force(s)
    return await past_rules.in_force(s, at_us)


@app.command()
async def diff(file: File, only: Only = False) -> None:
    """Show what setting a file would change. Exits with 1 if anything would."""
    rules = read(file)
    async with session.reading() as s:
        known = await alert_rule_versions.current(s)
    lines = changes(known, rules, only=only)
    if lines:
        terminal.say("\n".join(lines))
        raise typer.Exit(1)
    terminal.say("No change.")


def changes(known: Mapping[str, Versioned], rules: list[Rule], *, only: bool) -> list[str]:
    """What would change, line by line of each rule."""
    after: dict[str, Rule | None] = {rule.name: rule for rule in rules}
    if only:
        after |= {name: None for name in known if name not in after}
    lines = []
    for name, rule in after.items():
        before = known[name].rule if name in known else None
        if before == rule:
            continue
        one, other = (
            alert_rule_files.write([each]).split("\n") if each is not None else []
            for each in (before, rule)
        )
        found = difflib.unified_diff(one, other, lineterm="", n=1)
        verb = "removed" if rule is None else "new" if before is None else "changed"
        lines += [f"{name}  {verb}", *[f"  {line}" for line in list(found)[2:] if line]]
    return lines


@app.command("set")
async def set_(
    file: File,
    only: Only = False,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Put the rules of a file in force. The others stay, unless --only is given."""
    rules = read(file)
    async with session.reading() as s:
        known = await alert_rule_versions.current(s)
    lines = changes(known, rules, only=only)
    effect = "\n".join(lines) if lines else "no change"
    agreed = session.agreed("alerts.set_rules", "rules", effect, reason, yes=yes)
    arguments: dict[str, object] = {"rules": msgspec.to_builtins(rules), "only": only}
    done = await session.ask("alerts.set_rules", "rules", arguments, reason=agreed.reason)
    session.report(done, as_json=as_json)


@app.command()
async def remove(
    name: Name,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Remove a rule and end its alerts. It takes a reason."""
    await _asked("alerts.remove_rule", name, "in force → removed", reason, yes, as_json)


@app.command()
async def reset(
    name: Name,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Put the shipped rule of a name in force again."""
    await _asked("alerts.reset_rule", name, "→ as shipped", reason, yes, as_json)


async def _asked(verb: str, name: str, effect: str, reason: str, yes: bool, as_json: bool) -> None:
    async with session.reading() as s:
        known = await alert_rule_versions.find(s, name)
    if verb == "alerts.remove_rule" and known.kind is Kind.REMOVED:
        raise errors.AppError(f"The alert rule {name} is removed already.")
    agreed = session.agreed(verb, name, f"{name}  {effect}", reason, yes=yes)
    done = await session.ask(verb, name, {}, reason=agreed.reason)
    session.report(done, as_json=as_json)


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
