"""The job behind `models add`: download a file if needed, inspect, measure, hash, register it.

A local file is registered at its own path; a downloaded one is moved to `models/<SHA-256>/` in the
transaction that registers the version. Imported by `engine.jobs.kinds`, by name.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.execution import failures
from engine.jobs import kinds, model_files
from engine.jobs.context import Context
from engine.jobs.errors import Refused, Transient
from engine.registry import (
    chat_template,
    downloads,
    dry_load,
    filesystems,
    gguf_header,
    mlflow_registry,
    registration,
    server_responses,
    sources,
)
from engine.registry.downloads import Download, Known
from engine.registry.registration import Facts, File
from engine.registry.sources import Filesystem, Hub, Local, Mlflow, Remote
from storage import errors, models
from storage.control_socket import verbs
from storage.home import secrets
from storage.model_checks import Chat, ModelChecks
from storage.model_memory import Memory
from storage.models import Kind, ModelVersion
from storage.store import Session

_CHUNK: Final = 4 * 1024 * 1024


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """Where the file is: a path of this machine, or a URL with what the Hub announced."""

    path: str | None = None
    url: str | None = None
    address: str | None = None
    file_name: str = ""
    size_bytes: int | None = None
    sha256: str | None = None
    commit: str | None = None


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


async def resolve(context: Context) -> Resolved:
    """Resolve the address, and refuse early what cannot work."""
    asked = _asked(context)
    try:
        async with context.store.read() as s:
            await registration.check_name(s, asked)
            await registration.base_of(s, asked)
            await registration.lineage_of(s, asked)
        source = sources.parse(asked.path)
    except (registration.Unfit, sources.BadSource, errors.NotFound) as error:
        raise Refused(str(error)) from error
    match source:
        case Local(path):
            await asyncio.to_thread(_regular, Path(path))
            return Resolved(path=path)
        case Hub():
            return await _look_up(context, source)
        case Remote():
            return Resolved(url=source.shown, address=source.shown, file_name=source.file_name)
        case Filesystem():
            return Resolved(url=source.address, address=source.address, file_name=source.file_name)
        case Mlflow():
            with _failures():
                async with downloads.client() as http:
                    file, address = await mlflow_registry.look_up(http, source)
            context.log(f"{address} is {file.url}.")
            return Resolved(url=file.url, address=address, file_name=file.file_name)


async def _look_up(context: Context, source: Hub) -> Resolved:
    with _failures():
        async with downloads.client() as http:
            known = await downloads.look_up(http, source)
    revision = known.commit or source.revision
    context.log(f"{source.repository} at {revision}: {known.size_bytes} bytes.")
    return Resolved(
        url=known.url,
        address=f"hf://{source.repository}/{source.file}@{revision}",
        file_name=source.at(revision).file_name,
        size_bytes=known.size_bytes,
        sha256=known.sha256,
        commit=known.commit,
    )


async def fetch(context: Context) -> dict[str, object]:
    """Download the file into the scratch directory; a local file stays where it is."""
    resolved = _result(context, "resolve", Resolved)
    if resolved.url is None:
        return {}
    asked = sources.parse(_asked(context).path)
    if isinstance(asked, Filesystem):
        with _failures():
            known = await filesystems.fetch(
                asked,
                Download(context.scratch),
                progress=lambda done, total: context.progress(done, total, "B"),
                log=context.log,
            )
        return {"validator": known.validator}
    authorization = asked.authorization if isinstance(asked, Hub | Mlflow) else None
    source = Remote(_url(context, resolved.url), resolved.file_name, authorization)
    expected = None
    if isinstance(asked, Hub):
        expected = Known(
            url=resolved.url,
            size_bytes=resolved.size_bytes,
            sha256=resolved.sha256,
            commit=resolved.commit,
        )
    with _failures():
        async with downloads.client() as http:
            known = await downloads.fetch(
                http,
                source,
                Download(context.scratch),
                expected=expected,
                progress=lambda done, total: context.progress(done, total, "B"),
                log=context.log,
            )
    context.log(f"Downloaded {Download(context.scratch).size_bytes()} bytes.")
    return {"validator": known.validator}


async def inspect(context: Context) -> Inspected:
    """Read the header, check it against the arguments, and try the chat template."""
    asked, path = _asked(context), _path(context)
    name = _result(context, "resolve", Resolved).address or asked.path
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
        weights = gguf_header.shapes(Path(base.path))
    except (OSError, gguf_header.Broken):
        return
    if why := gguf_header.misfit(gguf_header.shapes(adapter), weights):
        raise Refused(f"{name} is not an adapter for {base.name}: {why}.")


async def _try(source: chat_template.Source) -> Chat:
    try:
        return await chat_template.check(source)
    except failures.Failure as failure:
        raise Transient(f"The chat template cannot be tried now: {failure}.") from failure


async def measure(context: Context) -> Memory | None:
    """What loading the weights would take; None for an adapter, and where it cannot be found."""
    if _result(context, "inspect", Inspected).facts.kind is not Kind.WEIGHTS:
        return None
    try:
        return await dry_load.measure(_path(context))
    except dry_load.Unmeasured as error:
        context.log(f"What a load takes could not be measured: {error}.")
        return None


async def hash(context: Context) -> Hashed:
    """Hash the file, with progress, and compare it with the SHA-256 asked for or announced."""
    asked, path = _asked(context), _path(context)
    resolved = _result(context, "resolve", Resolved)
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
    asked = _asked(context)
    resolved = _result(context, "resolve", Resolved)
    inspected = _result(context, "inspect", Inspected)
    hashed = _result(context, "hash", Hashed)
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
                _result(context, "measure", Memory | None),
                actor=context.job.actor,
                at_us=context.now_us(),
                intent_id=context.job.intent_id,
            )
        except (
            registration.Unfit, errors.NotFound, errors.AlreadyExists, errors.Invalid,
        ) as error:  # fmt: skip
            raise Refused(str(error)) from error
        if resolved.url is not None and kept is None:
            model_files.keep(_path(context), path)
        return outcome

    return effect


KIND: Final = kinds.Kind(
    (
        kinds.Step("resolve", resolve),
        kinds.Step("fetch", fetch),
        kinds.Step("inspect", inspect),
        kinds.Step("measure", measure),
        kinds.Step("hash", hash),
        kinds.Step("register", register),
    )
)


def _asked(context: Context) -> verbs.models.Add:
    try:
        return msgspec.convert(context.job.arguments, verbs.models.Add)
    except msgspec.ValidationError as error:
        raise Refused(f"The job's arguments cannot be read: {error}.") from error


def _result(context: Context, step: str, kind: Any) -> Any:
    """The result of an earlier step, of this attempt or a previous one."""
    return msgspec.convert(msgspec.to_builtins(context.results[step]), kind)


def _path(context: Context) -> Path:
    resolved = _result(context, "resolve", Resolved)
    return Path(resolved.path) if resolved.path else Download(context.scratch).part


def _url(context: Context, url: str) -> str:
    """The URL with its query, which is stored as a secret."""
    reference = _asked(context).secret
    if reference is None:
        return url
    try:
        return f"{url}?{secrets.read(context.home, reference)}"
    except errors.NotFound as error:
        raise Refused(f"The query of {url} is no longer stored; add the model again.") from error


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Errors of a download as those of a job."""
    try:
        yield
    except server_responses.Unavailable as error:
        raise Transient(str(error), error.after_s) from error
    except server_responses.Refused as error:
        raise Refused(str(error)) from error


def _regular(path: Path) -> None:
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            path.open("rb").close()
            return
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Refused(f"{path} cannot be read: {why}.") from error
    raise Refused(f"{path} is not a regular file.")


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
