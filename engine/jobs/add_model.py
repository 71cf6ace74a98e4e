"""The job behind `models add`: download a file if needed, inspect, measure, hash, register it.

A local file is registered at its own path; a downloaded one is moved to `models/<SHA-256>/` in the
transaction that registers the version. Imported by `engine.jobs.kinds`, by name.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Final

import msgspec

from engine.execution import failures
from engine.jobs import kinds, model_files, model_sources
from engine.jobs.context import Context
from engine.jobs.errors import Refused, Transient
from engine.jobs.model_sources import Resolved
from engine.registry import (
    adapter_fit,
    chat_template,
    dry_load,
    gguf_header,
    registration,
)
from engine.registry.registration import Facts, File
from storage import errors, models
from storage.model_checks import Chat, ModelChecks
from storage.model_memory import Memory
from storage.models import Kind, ModelVersion
from storage.store import Session

_CHUNK: Final = 4 * 1024 * 1024


class Inspected(msgspec.Struct, frozen=True, kw_only=True):
    """The facts from the header, and the result of the checks."""

    facts: Facts
    checks: ModelChecks


class Hashed(msgspec.Struct, frozen=True, kw_only=True):
    """The hash of the file, with its size, modification time and inode at that moment."""

    sha256: str
    size_bytes: int
    mtime_ns: int
    inode: int | None = None


async def inspect(context: Context) -> Inspected:
    """Read the header, check it against the arguments, and try the chat template."""
    asked, path = model_sources.asked_of(context), model_sources.path(context)
    name = model_sources.result(context, "resolve", Resolved).address or asked.path
    try:
        header = await asyncio.to_thread(gguf_header.read, path)
        async with context.store.read() as s:
            base = await registration.base_of(s, asked)
        found = registration.facts(header)
        registration.check_fit(name, found, asked, base)
        if base is not None:
            await asyncio.to_thread(_check_shapes, name, path, base)
    except gguf_header.Broken as error:
        raise Refused(f"{name} cannot be served: {error}.") from error
    except OSError as error:
        raise Refused(f"{name} cannot be read: {error.strerror or error}.") from error
    except (registration.Unfit, errors.NotFound) as error:
        raise Refused(str(error)) from error
    checks = ModelChecks()
    if header.kind is Kind.WEIGHTS:
        chat = None if header.no_text else await _try(header.chat)
        checks = ModelChecks(no_text=header.no_text, chat=chat)
    elif header.chat.template is not None:
        checks = ModelChecks(chat=await _try(header.chat))
    return Inspected(facts=found, checks=checks)


def _check_shapes(name: str, adapter: Path, base: ModelVersion) -> None:
    """Refuse an adapter whose tensors are not those of its base; a base that is away cannot say."""
    try:
        weights = adapter_fit.shapes(Path(base.path))
    except (OSError, gguf_header.Broken):
        return
    if why := adapter_fit.misfit(adapter_fit.shapes(adapter), weights):
        raise Refused(f"{name} is not an adapter for {base.name}: {why}.")


async def _try(source: chat_template.Source) -> Chat:
    try:
        return await chat_template.check(source)
    except failures.Failure as failure:
        raise Transient(f"The chat template cannot be tried now: {failure}.") from failure


async def measure(context: Context) -> Memory | None:
    """What loading the weights would take; None for an adapter, and where it cannot be found."""
    if model_sources.result(context, "inspect", Inspected).facts.kind is not Kind.WEIGHTS:
        return None
    try:
        return await dry_load.measure(model_sources.path(context))
    except dry_load.Unmeasured as error:
        context.log(f"What a load takes could not be measured: {error}.")
        return None


async def hash(context: Context) -> Hashed:
    """Hash the file, with progress, and compare it with the SHA-256 asked for or announced."""
    asked, path = model_sources.asked_of(context), model_sources.path(context)
    resolved = model_sources.result(context, "resolve", Resolved)
    name = resolved.address or asked.path
    try:
        before = await asyncio.to_thread(path.stat)
        sha256 = await asyncio.to_thread(_sha256, path, before.st_size, context)
        after = await asyncio.to_thread(path.stat)
    except OSError as error:
        raise Refused(f"{name} cannot be read: {error.strerror or error}.") from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise Refused(f"{name} changed while it was hashed; add it again once it is complete.")
    for expected, source in ((asked.sha256, "asked for"), (resolved.sha256, "announced")):
        if expected is not None and expected != sha256:
            raise Refused(
                f"{name} is not the file that was {source}: its SHA-256 is {sha256}, "
                f"not {expected}. Nothing was kept."
            )
    return Hashed(
        sha256=sha256,
        size_bytes=after.st_size,
        mtime_ns=after.st_mtime_ns,
        inode=after.st_ino,
    )


async def register(context: Context) -> kinds.Effect:
    """Put a downloaded file in its place and register the version."""
    asked = model_sources.asked_of(context)
    resolved = model_sources.result(context, "resolve", Resolved)
    inspected = model_sources.result(context, "inspect", Inspected)
    hashed = model_sources.result(context, "hash", Hashed)
    path = Path(resolved.path or model_files.path(context.home, hashed.sha256, resolved.file_name))

    async def effect(s: Session) -> str:
        kept = None if resolved.url is None else await _kept(s, path)
        file = File(
            path=str(path),
            sha256=hashed.sha256,
            size_bytes=hashed.size_bytes,
            mtime_ns=hashed.mtime_ns if kept is None else kept.mtime_ns,
            inode=hashed.inode if kept is None else kept.inode,
            source=resolved.address,
        )
        try:
            outcome = await registration.register(
                s,
                asked,
                file,
                inspected.facts,
                inspected.checks,
                model_sources.result(context, "measure", Memory | None),
                actor=context.job.actor,
                at_us=context.now_us(),
                intent_id=context.job.intent_id,
            )
        except (
            registration.Unfit, errors.NotFound, errors.AlreadyExists, errors.Invalid,
        ) as error:  # fmt: skip
            raise Refused(str(error)) from error
        if resolved.url is not None and kept is None:
            model_files.keep(model_sources.path(context), path)
        return outcome

    return effect


KIND: Final = kinds.Kind(
    (
        kinds.Step("resolve", model_sources.resolve),
        kinds.Step("fetch", model_sources.fetch),
        kinds.Step("inspect", inspect),
        kinds.Step("measure", measure),
        kinds.Step("hash", hash),
        kinds.Step("register", register),
    )
)


def _sha256(path: Path, size: int, context: Context) -> str:
    """The hash in hex; raises Cancelled between two chunks."""
    digest, done = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        context.progress(0, size, "B")
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            context.progress(done, size, "B")
    return digest.hexdigest()


async def _kept(s: Session, path: Path) -> ModelVersion | None:
    """A version whose file is kept there and has not changed since it was registered."""
    for version in await models.every(s):
        if version.path == str(path) and model_files.unchanged(
            path, version.size_bytes, version.mtime_ns
        ):
            return version
    return None
