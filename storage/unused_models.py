"""Which downloaded model files nothing needs: what `models gc` would delete.

Only files below the data directory's `models/` are looked at, one directory for each SHA-256. A
file is needed by every version that is not removed, and by a job that has not ended and has hashed
it. Never deletes. Imported by `engine.jobs`, `engine.control` and `app`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

import msgspec

from storage import job_steps, jobs, ledger, model_aliases, models, releases
from storage.home.paths import Home
from storage.models import ModelVersion, Status
from storage.store import Session

FREED: Final = ".freed-"
"""The prefix of a directory that is to be deleted: it was recorded, so nothing refers to it."""

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class Unused(msgspec.Struct, frozen=True, kw_only=True):
    """A file that nothing needs; `versions` are those that it had, which are removed."""

    sha256: str
    size_bytes: int
    versions: tuple[str, ...]


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """What the store says: all versions, and the hashes that unfinished jobs may be keeping."""

    versions: tuple[ModelVersion, ...]
    writing: frozenset[str]


async def needs(s: Session) -> Needs:
    """What the store says now."""
    writing = set()
    for job in await jobs.unfinished(s):
        for step in await job_steps.of(s, job.id):
            if step.name == "hash" and isinstance(step.result, dict):
                writing.add(str(step.result.get("sha256", "")))
    return Needs(versions=tuple(await models.every(s)), writing=frozenset(writing))


def find(home: Home, needs: Needs, also: Collection[int] = ()) -> list[Unused]:
    """The files that could be deleted, by hash; those of the versions in `also` count as unneeded.

    Blocks on the file system.

    Raises:
        OSError: the directory cannot be read.
    """
    needed = {
        each.sha256
        for each in needs.versions
        if each.status is not Status.REMOVED and each.id not in also
    } | needs.writing
    found = []
    for directory in sorted(home.models.iterdir()) if home.models.is_dir() else []:
        if not _SHA256.fullmatch(directory.name) or directory.name in needed:
            continue
        names = [each.name for each in needs.versions if each.sha256 == directory.name]
        found.append(
            Unused(
                sha256=directory.name, size_bytes=_size(directory), versions=tuple(sorted(names))
            )
        )
    return found


async def record(
    s: Session, files: Iterable[Unused], *, actor: str, at_us: int, intent_id: int | None
) -> None:
    """Write to the ledger that files are deleted, before they are."""
    for each in files:
        await ledger.write(
            s, actor=actor, verb="models.gc", noun="model_file", key=each.sha256, before=each,
            after=None, at_us=at_us, intent_id=intent_id,
        )  # fmt: skip


async def spare(s: Session) -> list[ModelVersion]:
    """Downloaded versions that no release, alias or adapter needs, so that they can be removed."""
    known = await models.every(s)
    pinned = await pinned_ids(s, known)
    return [
        each
        for each in known
        if each.source is not None and each.status is not Status.REMOVED and each.id not in pinned
    ]


async def pinned_ids(s: Session, known: Iterable[ModelVersion]) -> set[int]:
    """The versions that a release names, an alias points at, or an adapter needs."""
    pinned = {each.model_version_id for each in await releases.every(s)}
    pinned |= {each.version_id for each in await model_aliases.every(s)}
    by_id = {each.id: each for each in known}
    pinned |= {each.base_id for each in by_id.values() if each.status is not Status.REMOVED}
    return {each for each in pinned if each is not None}


def _size(directory: Path) -> int:
    return sum(each.stat().st_size for each in directory.rglob("*") if each.is_file())
