"""The first steps of adding a model: where its file is, and its download into the job's scratch.

A local file stays where it is. Imported by `engine.jobs.add_model`.
"""

from __future__ import annotations

import asyncio
import contextlib
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from engine.jobs.context import Context
from engine.jobs.errors import Refused, Transient
from engine.registry import (
    downloads,
    filesystems,
    mlflow_registry,
    registration,
    server_responses,
    sources,
)
from engine.registry.downloads import Download, Known
from engine.registry.sources import Filesystem, Hub, Local, Mlflow, Remote
from storage import errors
from storage.control_socket import verbs
from storage.home import secrets


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """Where the file is: a path of this machine, or a URL with what the Hub announced."""

    path: str | None = None
    url: str | None = None
    address: str | None = None
    file_name: str = ""
    size_bytes: int | None = None
    sha256: str | None = None
    commit: str | None = None


async def resolve(context: Context) -> Resolved:
    """Resolve the address, and refuse early what cannot work."""
    asked = asked_of(context)
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
    resolved = result(context, "resolve", Resolved)
    if resolved.url is None:
        return {}
    asked = sources.parse(asked_of(context).path)
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


def asked_of(context: Context) -> verbs.models.Add:
    """The arguments of the job.

    Raises:
        Refused: they cannot be read.
    """
    try:
        return msgspec.convert(context.job.arguments, verbs.models.Add)
    except msgspec.ValidationError as error:
        raise Refused(f"The job's arguments cannot be read: {error}.") from error


def result(context: Context, step: str, kind: Any) -> Any:
    """The result of an earlier step, of this attempt or a previous one."""
    return msgspec.convert(msgspec.to_builtins(context.results[step]), kind)


def path(context: Context) -> Path:
    """Where the file is now: in place, or in the job's scratch directory."""
    resolved = result(context, "resolve", Resolved)
    return Path(resolved.path) if resolved.path else Download(context.scratch).part


def _url(context: Context, url: str) -> str:
    """The URL with its query, which is stored as a secret."""
    reference = asked_of(context).secret
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
