"""Imports of prompt versions from files: which are new, which exist, and which conflict.

All or nothing; importing the same files again changes nothing. Imported by
`engine.control.prompts`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from engine.control import prompt_trials
from engine.control.decisions import Decision, Reason, Refusal
from engine.execution import failures
from storage import prompts
from storage import store as stores
from storage.control_socket import verbs
from storage.intents import Intent
from storage.prompts import Summary
from storage.store import Session

_NAMED: Final = 8


class _Rehearsed(Exception):
    """Raised to roll back a dry run."""


@dataclass(frozen=True, slots=True)
class Observed:
    """The versions that the store has of each prompt that is imported, by number."""

    prompts: dict[str, dict[int, Summary]] = field(default_factory=dict)


async def observe(s: Session, arguments: verbs.prompts.Import) -> Observed:
    """What the store has."""
    found: dict[str, dict[int, Summary]] = {}
    for name in {each.prompt for each in arguments.versions}:
        versions = await prompts.page(s, prompt=name, limit=None)
        found[name] = {version.number: version for version in versions}
    return Observed(found)


def decide(
    versions: Sequence[verbs.prompts.VersionImport], observed: Observed
) -> tuple[verbs.prompts.VersionImport, ...]:
    """The versions that are new, by prompt and number.

    Raises:
        Refusal: one is here with other content or another tag, or a number is left out or given
            twice.
    """
    fresh: list[verbs.prompts.VersionImport] = []
    for version in sorted(versions, key=lambda each: (each.prompt, each.number)):
        name = f"{version.prompt}@{version.number}"
        known = observed.prompts.get(version.prompt, {})
        if (here := known.get(version.number)) is not None:
            _compare(name, version, here, last=max(known))
            continue
        before = fresh[-1].number if fresh and fresh[-1].prompt == version.prompt else len(known)
        if version.number == before:
            raise Refusal(Reason.INVALID, f"{name} is given twice.")
        if version.number != before + 1:
            raise Refusal(
                Reason.INVALID,
                f"{name} cannot be imported: {version.prompt}@{before + 1} comes before it and is "
                "not there.",
            )
        fresh.append(version)
    return tuple(fresh)


def _compare(name: str, version: verbs.prompts.VersionImport, here: Summary, *, last: int) -> None:
    content = prompts.content(version.messages, version.variables, version.response_schema)
    if content != here.sha256:
        raise Refusal(
            Reason.TAKEN,
            f"{name} has other content here; a version never changes. Number the new one "
            f"{last + 1}.",
        )
    if version.tag != here.tag:
        was, now = (tag or "no tag" for tag in (here.tag, version.tag))
        raise Refusal(Reason.TAKEN, f"{name} has {was} here, not {now}; a version never changes.")


async def tried(versions: Iterable[verbs.prompts.VersionImport]) -> None:
    """Try the templates of versions.

    Raises:
        Refusal: those of one cannot be compiled, never end, or use a variable that is not declared.
        failures.Failure: no process can be started to try them.
    """
    asked = list(versions)
    verdicts = await prompt_trials.verdicts([(each.messages, each.variables) for each in asked])
    for each, verdict in zip(asked, verdicts, strict=True):
        name = f"{each.prompt}@{each.number}"
        decision = prompt_trials.decide(name, each.messages, each.variables, verdict)
        if decision.plan is None:
            raise Refusal(decision.reason, decision.sentence)


async def carry_out(
    s: Session, intent: Intent, arguments: verbs.prompts.Import, at_us: int
) -> Decision:
    """Add the new versions; with `dry_run` add them and roll back.

    Raises:
        Refusal: it cannot be imported as a whole. StorageError: a version may not be so.
    """
    fresh = decide(arguments.versions, await observe(s, arguments))
    try:
        await tried(fresh)
    except failures.Failure as failure:
        return Decision(Reason.FAULT, f"The templates cannot be compiled now: {failure}.")
    here = len(arguments.versions) - len(fresh)
    kept = f" {here} of {len(arguments.versions)} are here already." if here else ""
    if not fresh:
        return Decision(Reason.UNCHANGED, f"All {here} versions are here; no change.", fresh)
    if arguments.dry_run:
        with contextlib.suppress(_Rehearsed):
            async with stores.savepoint(s):
                await _add(s, intent, fresh, at_us)
                raise _Rehearsed
        said = f"Would create {_names(fresh)}; nothing was changed.{kept}"
        return Decision(Reason.UNCHANGED, said, fresh)
    await _add(s, intent, fresh, at_us)
    with_schema = [each for each in fresh if each.response_schema is not None]
    note = " Answers are not constrained by response schemas yet." if with_schema else ""
    return Decision(Reason.APPLIED, f"Created {_names(fresh)}.{kept}{note}", fresh)


async def _add(
    s: Session, intent: Intent, versions: Sequence[verbs.prompts.VersionImport], at_us: int
) -> None:
    for each in versions:
        await prompts.put(
            s,
            prompt=each.prompt,
            number=each.number,
            messages=each.messages,
            variables=each.variables,
            response_schema=each.response_schema,
            tag=each.tag,
            parent=each.parent,
            author=each.author or intent.actor,
            comment=each.comment,
            created_at_us=at_us if each.created_at_us is None else each.created_at_us,
            actor=intent.actor,
            at_us=at_us,
            intent_id=intent.id,
        )


def _names(versions: Sequence[verbs.prompts.VersionImport]) -> str:
    named = [f"{each.prompt}@{each.number}" for each in versions]
    more = len(named) - _NAMED
    return ", ".join(named[:_NAMED]) + (f" and {more} more" if more > 0 else "")
