"""The first step of adding a model: where its file is, or the parts of a split one.

A local file stays where it is; `model_downloads` fetches the others. Imported by `engine.jobs`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import stat
from collections.abc import Iterator, Sequence
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
    server_requests,
    server_responses,
    sources,
    split_names,
)
from engine.registry.downloads import Download
from engine.registry.sources import Filesystem, Hub, Local, Mlflow, Remote, Source
from storage import errors
from storage.control_socket import verbs
from storage.home import secrets


class SourceFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file: a path of this machine, or a URL with what its source announced.

    `shown` is what messages call it.
    """

    file_name: str
    shown: str
    path: str | None = None
    url: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    commit: str | None = None


class Located(msgspec.Struct, frozen=True, kw_only=True):
    """The file of a model, or its parts in their order; `address` is kept, None for local files."""

    address: str | None
    files: tuple[SourceFile, ...]

    @property
    def shown(self) -> str:
        """The name of the model in messages."""
        return self.files[0].shown

    @property
    def local(self) -> bool:
        """Whether the files stay where they are."""
        return self.files[0].path is not None


async def locate(context: Context) -> Located:
    """Find all files at their source, and refuse early what cannot work."""
    asked = asked_of(context)
    try:
        async with context.store.read() as s:
            await registration.check_name(s, asked)
            await registration.base_of(s, asked)
            await registration.lineage_of(s, asked)
        named = [sources.parse(each) for each in split_names.every(asked.path)]
    except (registration.Unfit, sources.BadSource, errors.NotFound) as error:
        raise Refused(str(error)) from error
    with failures():
        found = await _find(context, named)
    context.log(f"{found.shown}: {_told(found.files)}.")
    return found


async def _find(context: Context, named: Sequence[Source]) -> Located:
    first = named[0]
    match first:
        case Local():
            return await asyncio.to_thread(_on_this_machine, named)
        case Hub():
            return await _at_one_commit(named)
        case Remote():
            files = [_remote(each) for each in named if isinstance(each, Remote)]
            if len(files) > 1:
                files = await _announced(context, files)
            return Located(address=first.shown, files=tuple(files))
        case Filesystem():
            places = [each for each in named if isinstance(each, Filesystem)]
            if len(places) > 1:  # a missing part is found before the others are downloaded
                sizes = [(await filesystems.look_up(each)).size_bytes for each in places]
            else:
                sizes = [None]
            files = [
                SourceFile(
                    file_name=each.file_name, shown=each.address, url=each.address, size_bytes=size
                )
                for each, size in zip(places, sizes, strict=True)
            ]
            return Located(address=first.address, files=tuple(files))
        case Mlflow():
            async with server_requests.client() as http:
                remotes, address = await mlflow_registry.look_up(http, first)
            return Located(address=address, files=tuple(map(_remote, remotes)))


async def _at_one_commit(named: Sequence[Source]) -> Located:
    """The files of a Hub as the branch has them now, all of the same commit."""
    files: list[SourceFile] = []
    async with server_requests.client() as http:
        for source in named:
            assert isinstance(source, Hub)  # noqa: S101 the parts are where the first one is
            commit = files[0].commit if files else None
            source = dataclasses.replace(source, revision=commit or source.revision)  # noqa: PLW2901
            known = await downloads.look_up(http, source)
            revision = known.commit or source.revision
            files.append(
                SourceFile(
                    file_name=source.at(revision).file_name,
                    shown=f"hf://{source.repository}/{source.file}@{revision}",
                    url=known.url,
                    size_bytes=known.size_bytes,
                    sha256=known.sha256,
                    commit=known.commit,
                )
            )
    return Located(address=files[0].shown, files=tuple(files))


async def _announced(context: Context, files: Sequence[SourceFile]) -> list[SourceFile]:
    """The parts of a split model with their sizes: a missing one is found before any download."""
    found = []
    async with server_requests.client() as http:
        for each in files:
            source = Remote(with_query(context, each.url or ""), each.file_name)
            size = await downloads.announced_bytes(http, source)
            found.append(msgspec.structs.replace(each, size_bytes=size))
    return found


def with_query(context: Context, url: str) -> str:
    """A URL with the query of the model's address, which is stored as a secret.

    Raises:
        Refused: it is no longer stored.
    """
    reference = asked_of(context).secret
    if reference is None:
        return url
    try:
        return f"{url}?{secrets.read(context.home, reference)}"
    except errors.NotFound as error:
        raise Refused(f"The query of {url} is no longer stored; add the model again.") from error


def _remote(source: Remote) -> SourceFile:
    return SourceFile(file_name=source.file_name, shown=source.shown, url=source.shown)


def _on_this_machine(named: Sequence[Source]) -> Located:
    paths = [Path(each.path) for each in named if isinstance(each, Local)]
    for path in paths:
        _regular(path)
    if len(paths) > 1:
        beside = map(str, paths[0].parent.iterdir())
        if stray := split_names.stray(map(str, paths), beside):
            raise Refused(
                f"{stray[0]} claims to be a further part of {paths[0]}, which has {len(paths)}; "
                "move it away."
            )
    files = [SourceFile(file_name=path.name, shown=str(path), path=str(path)) for path in paths]
    return Located(address=None, files=tuple(files))


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


def located(context: Context) -> Located:
    """The files at their source."""
    found: Located = result(context, "locate", Located)
    return found


def download(context: Context, number: int) -> Download:
    """The working directory of the download of a file, counted from 0."""
    directory = context.scratch if number == 0 else context.scratch / f"part-{number + 1:05d}"
    directory.mkdir(mode=0o700, exist_ok=True)
    return Download(directory)


def paths(context: Context) -> list[Path]:
    """Where the files are now: in place, or in the job's scratch directory."""
    return [
        Path(each.path) if each.path else download(context, number).part
        for number, each in enumerate(located(context).files)
    ]


@contextlib.contextmanager
def failures() -> Iterator[None]:
    """Turn errors of a source into errors of a job."""
    try:
        yield
    except server_responses.Unavailable as error:
        raise Transient(str(error), error.after_s) from error
    except server_responses.Refused as error:
        raise Refused(str(error)) from error


def _told(files: Sequence[SourceFile]) -> str:
    sizes = [each.size_bytes for each in files if each.size_bytes is not None]
    what = "one file" if len(files) == 1 else f"{len(files)} parts"
    return f"{what}, {sum(sizes)} bytes" if len(sizes) == len(files) else what


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
