"""The job behind `models add`: download files if needed, inspect, measure, hash, register them.

A version is one file, or the parts of a split model. Local files are registered at their own path;
downloaded ones are moved to `models/<SHA-256>/` in the transaction that registers the version.
Imported by `engine.jobs.kinds`, by name.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from engine.execution import failures
from engine.jobs import kept_models, kinds, model_downloads, model_sources
from engine.jobs.context import Context
from engine.jobs.errors import Refused, Transient
from engine.registry import (
    adapter_fit,
    chat_template,
    dry_load,
    gguf_header,
    gguf_split,
    registration,
)
from engine.registry.gguf_header import Header
from engine.registry.registration import Facts, File
from storage import errors, models
from storage.model_checks import Chat, ModelChecks
from storage.model_files import ModelFile
from storage.model_memory import Memory
from storage.models import Kind, ModelVersion
from storage.runtime import file_identity
from storage.runtime.file_identity import Identity
from storage.store import Session

_CHUNK: Final = 4 * 1024 * 1024


class Inspected(msgspec.Struct, frozen=True, kw_only=True):
    """The facts from the header, and the result of the checks."""

    facts: Facts
    checks: ModelChecks


class HashedFile(msgspec.Struct, frozen=True):
    """One file: its hash, and by what it is recognised."""

    sha256: str
    identity: Identity


class Hashed(msgspec.Struct, frozen=True, kw_only=True):
    """The hash of the whole, and of each part of a split model; how they looked at that moment.

    `size_bytes` is of all together, the modification time and inode are the first file's.
    """

    sha256: str
    size_bytes: int
    mtime_ns: int
    inode: int | None = None
    parts: tuple[HashedFile, ...] = ()

    @property
    def files(self) -> tuple[HashedFile, ...]:
        """The file, or the parts in their order."""
        whole = HashedFile(self.sha256, Identity(self.size_bytes, self.mtime_ns, self.inode))
        return self.parts or (whole,)


async def inspect(context: Context) -> Inspected:
    """Read the header, check it against the arguments, and try the chat template."""
    asked, name = model_sources.asked_of(context), model_sources.located(context).shown
    try:
        header = await asyncio.to_thread(_header, context)
        async with context.store.read() as s:
            base = await registration.base_of(s, asked)
        found = registration.facts(header)
        registration.check_fit(name, found, asked, base)
        if base is not None:
            await asyncio.to_thread(_check_shapes, name, model_sources.paths(context), base)
    except gguf_header.Broken as error:
        raise Refused(f"{name} cannot be served: {error}.") from error
    except OSError as error:
        raise Refused(f"{name} cannot be read: {error.strerror or error}.") from error
    except (registration.Unfit, errors.NotFound) as error:
        raise Refused(str(error)) from error
    checks = ModelChecks()
    if header.kind is Kind.WEIGHTS:
        chat = None if header.no_text else await _try(header.chat)
        checks = ModelChecks(
            no_text=header.no_text,
            chat=chat,
            task=header.task,
            pooling=header.pooling,
            dimensions=header.width,
        )
    elif header.chat.template is not None:
        checks = ModelChecks(chat=await _try(header.chat))
    return Inspected(facts=found, checks=checks)


def _header(context: Context) -> Header:
    """That of the file, or of the split model that the parts are."""
    paths = model_sources.paths(context)
    if len(paths) == 1:
        return gguf_header.read(paths[0])
    names = (each.file_name for each in model_sources.located(context).files)
    return gguf_split.read([*zip(names, paths, strict=True)])


def _check_shapes(name: str, adapter: Sequence[Path], base: ModelVersion) -> None:
    """Refuse an adapter whose tensors are not those of its base; a base that is away cannot say."""
    try:
        weights = adapter_fit.shapes([Path(each.path) for each in base.files])
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
        return await dry_load.measure(*model_sources.paths(context))
    except dry_load.Unmeasured as error:
        context.log(f"What a load takes could not be measured: {error}.")
        return None


async def hash(context: Context) -> Hashed:
    """Hash the files, with progress, and compare with the SHA-256 asked for or announced."""
    asked, found = model_sources.asked_of(context), model_sources.located(context)
    paths = model_sources.paths(context)
    try:
        total = sum([(await asyncio.to_thread(path.stat)).st_size for path in paths])
        hashed: list[HashedFile] = []
        for path, file in zip(paths, found.files, strict=True):
            done = sum(each.identity.size_bytes for each in hashed)
            each = await asyncio.to_thread(_hashed, path, file.shown, _upon(context, done, total))
            _compare(file.shown, each.sha256, file.sha256, "announced")
            hashed.append(each)
    except OSError as error:
        raise Refused(f"{found.shown} cannot be read: {error.strerror or error}.") from error
    whole = file_identity.whole([each.sha256 for each in hashed])
    _compare(found.shown, whole, asked.sha256, "asked for")
    first = hashed[0].identity
    return Hashed(
        sha256=whole,
        size_bytes=total,
        mtime_ns=first.mtime_ns,
        inode=first.inode,
        parts=tuple(hashed) if len(hashed) > 1 else (),
    )


def _compare(name: str, sha256: str, expected: str | None, source: str) -> None:
    if expected is not None and expected != sha256:
        raise Refused(
            f"{name} is not the file that was {source}: its SHA-256 is {sha256}, "
            f"not {expected}. Nothing was kept."
        )


async def register(context: Context) -> kinds.Effect:
    """Put downloaded files in their place and register the version."""
    asked, found = model_sources.asked_of(context), model_sources.located(context)
    inspected = model_sources.result(context, "inspect", Inspected)
    hashed: Hashed = model_sources.result(context, "hash", Hashed)
    here = model_sources.paths(context)
    there = here
    if not found.local:
        names = [each.file_name for each in found.files]
        there = [kept_models.path(context.home, hashed.sha256, name) for name in names]
    pairs = zip(there, hashed.files, strict=True)
    files = tuple(
        ModelFile(path=str(path), sha256=each.sha256, **each.identity._asdict())
        for path, each in pairs
    )

    async def effect(s: Session) -> str:
        kept = None if found.local else await _kept(s, [str(path) for path in there])
        file = File(
            sha256=hashed.sha256,
            files=files if kept is None else kept.files,
            source=found.address,
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
        if not found.local and kept is None:
            for part, path in zip(here, there, strict=True):
                kept_models.keep(part, path)
        return outcome

    return effect


KIND: Final = kinds.Kind(
    (
        kinds.Step("locate", model_sources.locate),
        kinds.Step("fetch", model_downloads.fetch),
        kinds.Step("inspect", inspect),
        kinds.Step("measure", measure),
        kinds.Step("hash", hash),
        kinds.Step("register", register),
    )
)


def _upon(context: Context, before: int, total: int) -> Callable[[int], None]:
    """Reports progress in all files, given what the earlier ones have; may raise Cancelled."""

    def report(done: int) -> None:
        context.progress(before + done, total, "B")

    return report


def _hashed(path: Path, name: str, progress: Callable[[int], None]) -> HashedFile:
    """The hash of a file; raises Cancelled between two chunks, Refused if it changes meanwhile."""
    before, digest, done = file_identity.of(path), hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        progress(0)
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            progress(done)
    if file_identity.of(path) != before:
        raise Refused(f"{name} changed while it was hashed; add it again once it is complete.")
    return HashedFile(digest.hexdigest(), before)


async def _kept(s: Session, paths: Sequence[str]) -> ModelVersion | None:
    """A version whose files are kept there and have not changed since it was registered."""
    for version in await models.every(s):
        if [each.path for each in version.files] == [*paths] and all(
            kept_models.unchanged(Path(each.path), each.size_bytes, each.mtime_ns)
            for each in version.files
        ):
            return version
    return None
