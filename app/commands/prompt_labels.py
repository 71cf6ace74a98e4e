"""`paddock prompts`: move labels forward and back, and protect them.

Imported by `app.commands.prompts`, which holds the commands.
"""

from __future__ import annotations

from typing import Annotated

import typer

from app import errors, session
from app.commands import options
from app.figures import prompts as figures
from storage import prompt_content, prompt_labels, prompt_uses, prompts, splits

app = options.group()

LabelName = Annotated[str, typer.Argument(metavar="NAME:LABEL", help="terse:production")]


@app.command()
async def label(
    name: Annotated[str, typer.Argument(metavar="NAME@NUMBER", help="terse@3")],
    label: Annotated[str, typer.Argument(metavar="LABEL", help="production")],
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Point a label at a version.

    Each release that follows the label gets a successor, which the services that it serves switch
    to; other releases keep the version that they were created with.
    """
    async with session.reading() as s:
        version = await prompts.find(s, name)
        before = (await prompts.labels(s, version.prompt)).get(label)
        uses = await prompt_uses.of(s, version.prompt)
        old = None if before is None else await prompts.find(s, f"{version.prompt}@{before}")
    effect = figures.effect(f"{version.prompt}:{label}", before, version.number, uses)
    if old is not None:
        needed = prompt_content.newly_required(old.variables, version.variables)
        effect += f"\n{prompt_content.caution(needed)}" if needed else ""
    agreed = session.agreed("prompts.label", version.prompt, effect, reason, yes=yes)
    done = await session.ask(
        "prompts.label",
        version.prompt,
        {"label": label, "number": version.number},
        reason=agreed.reason,
        expected_version=before or 0,
    )
    session.report(done, as_json=as_json)


@app.command()
async def unlabel(
    name: LabelName,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Remove a label; the version that it points at stays.

    It can be set again. A label that a release with traffic follows is not removed.
    """
    prompt, label = _label(name)
    async with session.reading() as s:
        at = await prompt_labels.find(s, prompt, label)
    effect = f"{at.name}  {prompt}@{at.number} → nothing"
    agreed = session.agreed("prompts.unlabel", prompt, effect, reason, yes=yes)
    done = await session.ask("prompts.unlabel", prompt, {"label": label}, reason=agreed.reason)
    session.report(done, as_json=as_json)


@app.command()
async def undo(
    name: LabelName,
    to: Annotated[
        int | None,
        typer.Option("--to", metavar="MOVE", min=1, help="As `prompts show NAME:LABEL` has them."),
    ] = None,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Move a label back to the version before its last move.

    --to names an earlier move instead. Undoing twice changes nothing the second time.
    """
    prompt, label = _label(name)
    async with session.reading() as s:
        at = await prompt_labels.find(s, prompt, label)
        target = to or splits.roll_back_target(await prompt_labels.history(s, prompt, label, 2))
        if target is None:
            raise errors.AppError(f"{at.name} was set only once; there is nothing to undo.")
        move = await prompt_labels.find_move(s, prompt, label, target)
        uses = await prompt_uses.of(s, prompt)
    effect = figures.effect(at.name, at.number, move.number, uses)
    agreed = session.agreed("prompts.undo", prompt, effect, reason, yes=yes)
    arguments: dict[str, object] = {"label": label, "to": target}
    done = await session.ask("prompts.undo", prompt, arguments, reason=agreed.reason)
    session.report(done, as_json=as_json)


@app.command()
async def protect(
    name: LabelName,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Let only admins move a label from now on."""
    effect = "only admins move it from now on"
    await _protect("prompts.protect", name, effect, reason, yes=yes, as_json=as_json)


@app.command()
async def unprotect(
    name: LabelName,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Let operators move a label again."""
    effect = "operators may move it again"
    await _protect("prompts.unprotect", name, effect, reason, yes=yes, as_json=as_json)


async def _protect(
    verb: str, name: str, effect: str, reason: str, *, yes: bool, as_json: bool
) -> None:
    prompt, label = _label(name)
    agreed = session.agreed(verb, prompt, f"{name}  {effect}", reason, yes=yes)
    done = await session.ask(verb, prompt, {"label": label}, reason=agreed.reason)
    session.report(done, as_json=as_json)


def _label(name: str) -> tuple[str, str]:
    """The prompt and the label of `terse:production`; a bare name means that label, too."""
    prompt, _, label = name.partition(":")
    if "@" in name:
        raise errors.BadWord(f"{name} is a version; name a label, as in terse:production.")
    return prompt, label or prompts.PRODUCTION
