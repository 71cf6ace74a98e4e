"""`paddock apply`, `diff` and `export`: services as files under version control."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from app import errors, manifest_effect, manifest_files, session, terminal
from app.commands import options
from storage import manifests, services
from storage.control_socket import verbs
from storage.control_socket.verbs import BadArguments
from storage.manifests import Change

_DIFFERENT = 1

File = Annotated[
    Path, typer.Option("--file", "-f", metavar="FILE", help="The manifest; - reads it from stdin.")
]


def apply(
    file: File,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")
    ] = False,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Make services match a manifest; those that it does not name stay as they are.

    Each service changes as a whole or not at all. Applying the same manifest again changes nothing.
    """
    asked = read(file)
    changes = terminal.run(_changes(asked))
    if dry_run:
        _show(changes, as_json=as_json)
        return
    terminal.run(_apply(asked, changes, reason=reason, yes=yes, as_json=as_json))


def diff(file: File, as_json: options.Json = False) -> None:
    """Show what applying a manifest would change; the exit code is 1 if anything would."""
    changes = terminal.run(_changes(read(file)))
    _show(changes, as_json=as_json)
    if not all(change.nothing for change in changes):
        raise typer.Exit(_DIFFERENT)


def export(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[SERVICE]...", help="All when omitted.")
    ] = None,
) -> None:
    """Print services as a manifest, which `apply` reproduces here or on another box."""
    terminal.say(terminal.run(_export(names or [])).rstrip("\n"))


def read(file: Path) -> dict[str, verbs.manifests.Apply]:
    """The services of a manifest by name.

    Raises:
        errors.AppError: it cannot be read, or is no manifest; the message names the place.
    """
    found: dict[str, verbs.manifests.Apply] = {}
    for name, raw in manifest_files.read(file).items():
        try:
            found[name] = verbs.parse("manifests.apply", raw)
        except BadArguments as error:
            said = str(error).removeprefix("manifests.apply: ")
            raise errors.AppError(f"{file}: services.{name}: {said}") from error
    return found


async def _changes(asked: dict[str, verbs.manifests.Apply]) -> list[Change]:
    async with session.reading() as s:
        return [await manifests.change(s, name, each) for name, each in asked.items()]


async def _apply(
    asked: dict[str, verbs.manifests.Apply],
    changes: list[Change],
    *,
    reason: str,
    yes: bool,
    as_json: bool,
) -> None:
    different = [change for change in changes if not change.nothing]
    if not different:
        _show(changes, as_json=as_json)
        return
    effect = "\n".join(line for change in different for line in manifest_effect.lines(change))
    named = ", ".join(change.name for change in different)
    agreed = session.agreed("manifests.apply", named, effect, reason, yes=yes)
    for number, change in enumerate(different):
        arguments = msgspec.to_builtins(asked[change.name])
        done = await session.ask(
            "manifests.apply",
            change.name,
            arguments,
            reason=agreed.reason,
            expected_version=0 if change.service is None else change.service.version,
        )
        if not done.ok and (left := [each.name for each in different[number + 1 :]]):
            raise errors.AppError(f"{done.sentence} Not tried: {', '.join(left)}.")
        session.report(done, as_json=as_json)


async def _export(names: list[str]) -> str:
    async with session.reading() as s:
        known = [await services.find(s, name) for name in names] or await services.every(s)
        if not known:
            raise errors.AppError("There is no service yet; `paddock services create` makes one.")
        return manifest_files.text(
            [(service, await manifests.contents(s, service)) for service in known]
        )


def _show(changes: list[Change], *, as_json: bool) -> None:
    lines = [line for change in changes for line in manifest_effect.lines(change)]
    terminal.show([_document(change) for change in changes], lines, as_json=as_json)


def _document(change: Change) -> dict[str, object]:
    return {
        "service": change.name,
        "exists": change.service is not None,
        "changes": not change.nothing,
        "split": change.split,
        "record_text": change.record_text,
        "staging_of": change.staging_of,
        "rollout": change.rollout,
        "leads": None if change.before is None else change.before.rollout.id,
        "arms": [
            {
                "weight_bp": arm.weight_bp,
                "release": None if arm.release is None else arm.release.name,
                "differences": msgspec.to_builtins(arm.differences),
            }
            for arm in change.arms
        ],
    }
