"""Models: a file is read, hashed and registered; what cannot be served never gets a name.

Reading takes as long as the file is large, so it happens outside of any transaction. Imported by
`engine.control.registry`.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.control.decisions import Decision, Reason, Refusal
from engine.control.registry import controls
from engine.registry import gguf_header
from storage import models, standings
from storage.control_socket import verbs
from storage.intents import Intent
from storage.models import Kind, ModelVersion, Standing
from storage.store import Session

_CHUNK: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class File:
    """A file as it was while it was read."""

    path: Path
    header: gguf_header.Header
    sha256: str
    size_bytes: int
    mtime_ns: int


def read(path: Path) -> File:
    """Header and hash of a file; Refusal with the reason when it cannot be served. Blocks."""
    if not path.is_absolute():
        raise Refusal(Reason.UNREADABLE, f"{path} is no absolute path; write it from / on.")
    try:
        before = path.stat()
        if not stat.S_ISREG(before.st_mode):
            raise Refusal(Reason.UNREADABLE, f"{path} is no file.")
        header = gguf_header.read(path)
        sha256 = _hash(path)
        after = path.stat()
    except gguf_header.Broken as error:
        raise Refusal(Reason.BROKEN, f"{path} cannot be served: {error}.") from error
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Refusal(Reason.UNREADABLE, f"{path} cannot be read: {why}.") from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        said = f"{path} changed while it was read; wait until it is complete and add it again."
        raise Refusal(Reason.UNREADABLE, said)
    return File(path, header, sha256, after.st_size, after.st_mtime_ns)


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@controls("models.add", prepare=lambda arguments: read(Path(arguments.path)))
async def add(
    s: Session, intent: Intent, arguments: verbs.ModelsAdd, at_us: int, file: File
) -> Decision:
    """Register a file that was read; one that could not be loaded may be tried again by that."""
    base = None if arguments.base is None else await models.find(s, arguments.base)
    decision = decide(file, arguments.kind, base)
    if decision.plan is None:
        return decision
    if (again := await _again(s, intent, arguments, at_us, file, base)) is not None:
        return again
    header = file.header
    version = await models.add(
        s,
        model=arguments.model,
        version=arguments.version,
        kind=header.kind,
        base_id=None if base is None else base.id,
        path=str(file.path),
        sha256=file.sha256,
        size_bytes=file.size_bytes,
        mtime_ns=file.mtime_ns,
        architecture=header.architecture,
        parameters=header.parameters,
        quantisation=header.quantisation,
        context_tokens=header.context_tokens or (base.context_tokens if base else 0),
        licence=arguments.licence or header.licence,
        actor=intent.actor,
        at_us=at_us,
        intent_id=intent.id,
    )
    said = f"{version.name} is registered: {version.kind}, {version.architecture}"
    return Decision(Reason.APPLIED, f"{said}, SHA-256 {version.sha256[:12]}….", version)


async def _again(
    s: Session,
    intent: Intent,
    arguments: verbs.ModelsAdd,
    at_us: int,
    file: File,
    base: ModelVersion | None,
) -> Decision | None:
    """Put back the version that is this very file and could not be loaded; None: there is none."""
    standing = await standings.unloadable(
        s,
        name=f"{arguments.model}@{arguments.version}",
        sha256=file.sha256,
        base_id=None if base is None else base.id,
    )
    if standing is None:
        return None
    version = await standings.put_back(
        s,
        standing.id,
        path=str(file.path),
        size_bytes=file.size_bytes,
        mtime_ns=file.mtime_ns,
        actor=intent.actor,
        at_us=at_us,
        intent_id=intent.id,
    )
    return Decision(Reason.APPLIED, f"{version.name} is the same file; it is tried again.", version)


def decide(file: File, kind: Kind, base: ModelVersion | None) -> Decision:
    """Whether the file is what was said of it, and fits on its base."""
    if (reason := _unfit(file.header, kind, base)) is not None:
        return Decision(Reason.UNFIT, f"{file.path} {reason}.")
    if base is not None and base.standing is Standing.UNLOADABLE:
        return Decision(Reason.UNLOADABLE, f"{base.name} cannot be loaded.")
    return Decision(Reason.APPLIED, f"{file.path} can be served.", file)


def _unfit(header: gguf_header.Header, kind: Kind, base: ModelVersion | None) -> str | None:
    adapter = header.kind is Kind.ADAPTER
    if adapter and base is None:
        return "is an adapter; say on which weights it stands (base)"
    if not adapter and kind is Kind.ADAPTER:
        return "holds weights, not an adapter"
    if not adapter and base is not None:
        return "holds weights, which stand on no base"
    if base is not None and base.kind is not Kind.WEIGHTS:
        return f"cannot stand on {base.name}, which is an adapter itself"
    if base is not None and base.architecture != header.architecture:
        return f"is for {header.architecture}, {base.name} is {base.architecture}"
    return None
