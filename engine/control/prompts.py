"""Prompts: new versions, and labels that move, with what follows them.

Templates are tried before they are kept, and before a label points at them. Imported by
`engine.control.handlers`.
"""

from __future__ import annotations

from engine.control import following, prompt_imports, prompt_trials
from engine.control.decisions import Decision, Reason
from engine.control.following import Moved
from engine.control.handlers import checks, handles
from engine.execution import failures
from storage import prompt_content, prompt_labels, prompt_uses, prompts, splits
from storage.control_socket import verbs
from storage.intents import Intent
from storage.keys import Role
from storage.prompt_labels import Label
from storage.prompts import PromptVersion
from storage.store import Session


@checks("prompts.add")
async def try_new(_s: Session, _intent: Intent, arguments: verbs.prompts.Add) -> None:
    """Try the templates before the transaction."""
    await prompt_trials.verdict(arguments.messages, arguments.variables)


@handles("prompts.add")
async def add(s: Session, intent: Intent, arguments: verbs.prompts.Add, at_us: int) -> Decision:
    """The next version of a prompt."""
    try:
        verdict = await prompt_trials.verdict(arguments.messages, arguments.variables)
    except failures.Failure as failure:
        return Decision(Reason.FAULT, f"{arguments.prompt} cannot be compiled now: {failure}.")
    decision = prompt_trials.decide(
        arguments.prompt, arguments.messages, arguments.variables, verdict
    )
    if decision.plan is None:
        return decision
    before = len(await prompts.page(s, prompt=arguments.prompt, limit=1))
    newest = await prompts.find(s, f"{arguments.prompt}:latest") if before else None
    version = await prompts.add(
        s,
        prompt=arguments.prompt,
        messages=arguments.messages,
        variables=arguments.variables,
        response_schema=arguments.response_schema,
        tag=arguments.tag,
        parent=arguments.parent,
        author=intent.actor,
        comment=arguments.comment,
        at_us=at_us,
        intent_id=intent.id,
    )
    if version == newest:
        return Decision(Reason.UNCHANGED, f"{version.name} has this content; no change.", version)
    said = f"Created {version.name}. {prompt_content.unconstrained(arguments.response_schema)}"
    return Decision(Reason.APPLIED, said.rstrip(), version)


@checks("prompts.import")
async def try_imported(s: Session, _intent: Intent, arguments: verbs.prompts.Import) -> None:
    """Try the templates of the versions that are new, before the transaction."""
    wanted = prompt_imports.decide(arguments.versions, await prompt_imports.observe(s, arguments))
    await prompt_imports.tried(wanted)


@handles("prompts.import")
async def import_(
    s: Session, intent: Intent, arguments: verbs.prompts.Import, at_us: int
) -> Decision:
    """Add the versions that are new, all of them or none."""
    return await prompt_imports.carry_out(s, intent, arguments, at_us)


@checks("prompts.label")
async def try_labelled(s: Session, intent: Intent, arguments: verbs.prompts.Label) -> None:
    """Try the templates of the version before the transaction."""
    version = await prompts.find(s, f"{intent.target}@{arguments.number}")
    await prompt_trials.verdict(version.messages, version.variables)


@handles("prompts.label")
async def label(s: Session, intent: Intent, arguments: verbs.prompts.Label, at_us: int) -> Decision:
    """Point a label at a version; `expected_version` is the number it points at, 0 for none."""
    before = await _label(s, intent.target, arguments.label)
    at = None if before is None else before.number
    if intent.expected_version not in {None, at or 0}:
        was = "nothing" if at is None else f"{intent.target}@{at}"
        said = f"{intent.target}:{arguments.label} changed since you looked: it is {was}."
        return Decision(Reason.MOVED, f"{said} Look again.")
    version = await prompts.find(s, f"{intent.target}@{arguments.number}")
    if refusal := _protected(before, intent) or await _hopeless(version):
        return refusal
    await prompts.label(
        s,
        intent.target,
        arguments.label,
        version.number,
        intent.actor,
        at_us,
        intent_id=intent.id,
    )
    now = f"{intent.target}:{arguments.label} is {version.name}"
    if at == version.number:
        return Decision(Reason.UNCHANGED, f"{now}; no change.", version)
    moved = Moved(intent.target, arguments.label, version, at, intent, undoes=None)
    done = [await following.carry(s, moved, at_us)]
    was = ""
    if at is not None:
        was = f" (before: {intent.target}@{at})"
        old = await prompts.find(s, f"{intent.target}@{at}")
        new = prompt_content.newly_required(old.variables, version.variables)
        done += [prompt_content.caution(new)] if new else []
    return Decision(Reason.APPLIED, f"{now}{was}. {' '.join(done)}", version)


@handles("prompts.unlabel")
async def unlabel(
    s: Session, intent: Intent, arguments: verbs.prompts.Unlabel, at_us: int
) -> Decision:
    """Remove a label that nothing which gets traffic follows."""
    label = await prompt_labels.find(s, intent.target, arguments.label)
    if refusal := _protected(label, intent):
        return refusal
    uses = await prompt_uses.of(s, intent.target)
    live = [use for use in uses if use.follows == label.name and any(use.serves.values())]
    if live:
        served = ", ".join(f"{name} (r{use.release})" for use in live for name in use.serves)
        return Decision(
            Reason.IN_USE,
            f"{label.name} cannot be removed: {served} follows it. Split to a release that names "
            "a version first.",
        )
    await prompt_labels.remove(
        s,
        prompt=intent.target,
        label=label.label,
        actor=intent.actor,
        at_us=at_us,
        intent_id=intent.id,
    )
    was = f"{intent.target}@{label.number}"
    said = f"Removed {label.name}; `paddock prompts label {was} {label.label}` sets it again."
    return Decision(Reason.APPLIED, said, label)


@handles("prompts.undo")
async def undo(s: Session, intent: Intent, arguments: verbs.prompts.Undo, at_us: int) -> Decision:
    """Go back to where a label was after one of its moves; no change if it is there."""
    before = await prompt_labels.find(s, intent.target, arguments.label)
    newest = (await prompt_labels.history(s, intent.target, arguments.label, limit=1))[0]
    target = await prompt_labels.find_move(s, intent.target, arguments.label, arguments.to)
    if splits.origin(newest) == splits.origin(target):
        said = f"{before.name} is already back at {intent.target}@{before.number}; no change."
        return Decision(Reason.UNCHANGED, said, before)
    if refusal := _protected(before, intent):
        return refusal
    await prompt_labels.go_back(
        s,
        prompt=intent.target,
        label=arguments.label,
        to=target.id,
        actor=intent.actor,
        at_us=at_us,
        intent_id=intent.id,
    )
    version = await prompts.find(s, f"{intent.target}@{target.number}")
    moved = Moved(
        intent.target, arguments.label, version, before.number, intent, undoes=newest.intent_id
    )
    done = await following.carry(s, moved, at_us)
    said = f"{before.name} is {version.name} (before: {intent.target}@{before.number}). {done}"
    return Decision(Reason.APPLIED, said, version)


@handles("prompts.protect")
async def protect(
    s: Session, intent: Intent, arguments: verbs.prompts.Protect, at_us: int
) -> Decision:
    """Let only admins move a label."""
    return await _protect(s, intent, arguments.label, at_us, on=True)


@handles("prompts.unprotect")
async def unprotect(
    s: Session, intent: Intent, arguments: verbs.prompts.Protect, at_us: int
) -> Decision:
    """Let operators move a label again."""
    return await _protect(s, intent, arguments.label, at_us, on=False)


async def _protect(s: Session, intent: Intent, label: str, at_us: int, *, on: bool) -> Decision:
    changed = await prompt_labels.protect(
        s,
        prompt=intent.target,
        label=label,
        on=on,
        actor=intent.actor,
        at_us=at_us,
        intent_id=intent.id,
    )
    name = f"{intent.target}:{label}"
    said = f"{name} is protected: only admins move it" if on else f"{name} is not protected"
    if not changed:
        return Decision(Reason.UNCHANGED, f"{said}; no change.", name)
    return Decision(Reason.APPLIED, f"{said}.", name)


async def _label(s: Session, prompt: str, label: str) -> Label | None:
    return next((each for each in await prompt_labels.of(s, [prompt]) if each.label == label), None)


def _protected(label: Label | None, intent: Intent) -> Decision | None:
    """The refusal of a move of a protected label by someone who is not an admin."""
    if label is None or label.protected_by is None or Role(intent.role).may(Role.ADMIN):
        return None
    return Decision(
        Reason.PROTECTED,
        f"{label.name} was protected by {label.protected_by}: moving it takes the role "
        f"{Role.ADMIN}, yours is {intent.role}.",
    )


async def _hopeless(version: PromptVersion) -> Decision | None:
    """Why a label may not point at a version; None where it may, or where that is not known."""
    try:
        verdict = await prompt_trials.verdict(version.messages, version.variables)
    except failures.Failure:
        return None
    decision = prompt_trials.decide(version.name, version.messages, version.variables, verdict)
    return decision if decision.plan is None else None
