"""The job behind `models gc` and `models remove`: delete downloaded files that nothing needs.

Each file is in the ledger before it is touched. Then, in a transaction that checks again, its
directory is renamed, and only renamed directories are deleted. After a crash in between, the next
attempt or the next job of this kind deletes the rest. Imported by `engine.jobs.kinds`, by name.
"""

from __future__ import annotations

import asyncio
import shutil
from typing import Final

import msgspec

from engine.jobs import kinds
from engine.jobs.context import Context
from engine.jobs.errors import Refused
from storage import unused_models
from storage.store import Session
from storage.unused_models import FREED, Unused


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The files to free, by SHA-256; None: all that nothing needs."""

    sha256: tuple[str, ...] | None = None


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Files that nothing needs."""

    files: tuple[Unused, ...]

    @property
    def size_bytes(self) -> int:
        """The sum over all files."""
        return sum(each.size_bytes for each in self.files)


async def record(context: Context) -> kinds.Effect:
    """Find what nothing needs and write it to the ledger."""
    try:
        asked = msgspec.convert(context.job.arguments, Asked)
    except msgspec.ValidationError as error:
        raise Refused(f"The job's arguments cannot be read: {error}.") from error

    async def effect(s: Session) -> Found:
        found = unused_models.find(context.home, await unused_models.needs(s))
        files = [each for each in found if asked.sha256 is None or each.sha256 in asked.sha256]
        await unused_models.record(
            s,
            files,
            actor=context.job.actor,
            at_us=context.now_us(),
            intent_id=context.job.intent_id,
        )
        return Found(files=tuple(files))

    return effect


async def set_aside(context: Context) -> kinds.Effect:
    """Rename the recorded directories that nothing needs by now; no version can be added here."""
    recorded = {each.sha256 for each in _recorded(context).files}
    home = context.home

    async def effect(s: Session) -> Found:
        found = unused_models.find(home, await unused_models.needs(s))
        files = [each for each in found if each.sha256 in recorded]
        for each in files:
            aside = home.models / f"{FREED}{each.sha256}"
            if aside.exists():  # an earlier job was cancelled before it deleted it
                shutil.rmtree(aside)
            (home.models / each.sha256).rename(aside)
        return Found(files=tuple(files))

    return effect


async def delete(context: Context) -> str:
    """Delete what was set aside, by this job and by earlier ones."""
    for directory in sorted(context.home.models.glob(f"{FREED}*")):
        await asyncio.to_thread(shutil.rmtree, directory)
        context.check()
    freed = _recorded(context)
    if not freed.files:
        return "Every downloaded file is needed; nothing was deleted."
    files = "1 file" if len(freed.files) == 1 else f"{len(freed.files)} files"
    return f"Deleted {files}, {freed.size_bytes / 1e9:.2f} GB."


def _recorded(context: Context) -> Found:
    return msgspec.convert(msgspec.to_builtins(context.results["record"]), Found)


KIND: Final = kinds.Kind(
    (
        kinds.Step("record", record),
        kinds.Step("set_aside", set_aside),
        kinds.Step("delete", delete),
    )
)
