"""The job behind `models export`: a version as a Hub repository, or in an MLflow registry.

Files are hashed while they are copied, so that only the registered content is exported; the parts
of a split model keep their names. A repository appears at once or not at all. Imported by
`engine.jobs.kinds`, by name.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from engine.jobs import kinds
from engine.jobs.context import Context
from engine.jobs.errors import Refused, Transient
from engine.registry import (
    mlflow_registry,
    model_card,
    server_requests,
    server_responses,
    sources,
)
from engine.registry.sources import BadSource
from storage import errors, model_lineage, models
from storage.control_socket import verbs
from storage.models import ModelVersion

_CHUNK: Final = 4 * 1024 * 1024


class Copied(msgspec.Struct, frozen=True, kw_only=True):
    """The verified copies in the job's scratch directory."""

    file_names: tuple[str, ...]
    size_bytes: int


async def copy(context: Context) -> Copied:
    """Copy the files and their card into the scratch directory, and verify them on the way."""
    version, base, ancestors = await _version(context)
    names = _names(version)
    folder = context.scratch / "repository"
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    folder.mkdir()
    done = 0

    def progress(count: int) -> None:
        nonlocal done
        done += count
        context.progress(done, version.size_bytes, "B")

    for file, name in zip(version.files, names, strict=True):
        try:
            found = await asyncio.to_thread(_copy, Path(file.path), folder / name, progress)
        except OSError as error:
            raise Refused(f"{file.path} cannot be copied: {error.strerror or error}.") from error
        if found != file.sha256:
            raise Refused(
                f"{file.path} is no longer the file of {version.name}: its SHA-256 is {found}, "
                f"not {file.sha256}. Nothing was exported."
            )
    written = model_card.card(version, names, base=base, ancestors=ancestors)
    (folder / "README.md").write_text(written)
    (folder / "SHA256SUMS").write_text(model_card.checksums(version, names))
    (folder / ".gitattributes").write_text(model_card.ATTRIBUTES)
    return Copied(file_names=names, size_bytes=version.size_bytes)


def _names(version: ModelVersion) -> tuple[str, ...]:
    """What the files are called in a repository; libraries find the parts by their names."""
    if version.parts:
        return tuple(sources.file_name(Path(each.path).name) for each in version.parts)
    return (sources.file_name(f"{version.model}-{version.version}.gguf"),)


async def deliver(context: Context) -> str:
    """Put the repository where it was asked for."""
    asked, folder = _asked(context), context.scratch / "repository"
    version, _, _ = await _version(context)
    if asked.to.startswith("mlflow:"):
        return await _publish(context, version, folder)
    target = Path(asked.to)
    try:
        await asyncio.to_thread(_move, folder, target)
    except OSError as error:
        raise Refused(f"{target} cannot be written: {error.strerror or error}.") from error
    return f"Exported {version.name} to {target}."


async def _publish(context: Context, version: ModelVersion, folder: Path) -> str:
    try:
        target = sources.mlflow(_asked(context).to, os.environ, numbered=False)
    except BadSource as error:
        raise Refused(str(error)) from error
    tags = {
        "paddock.version": version.name,
        "paddock.sha256": version.sha256,
        "paddock.quantisation": version.quantisation,
        "paddock.dataset": version.dataset or "",
        "paddock.run": version.run or "",
    }
    names = await asyncio.to_thread(os.listdir, folder)
    files = [folder / name for name in sorted(names) if not name.startswith(".")]
    sent = 0

    def progress(count: int) -> None:
        nonlocal sent
        sent += count
        context.progress(sent, version.size_bytes, "B")

    try:
        async with server_requests.client() as http:
            number = await mlflow_registry.publish(http, target, files, tags, progress=progress)
    except server_responses.Unavailable as error:
        raise Transient(str(error), error.after_s) from error
    except server_responses.Refused as error:
        raise Refused(str(error)) from error
    return f"Exported {version.name} as {target.address}/{number}."


def _asked(context: Context) -> verbs.models.Export:
    try:
        return msgspec.convert(context.job.arguments, verbs.models.Export)
    except msgspec.ValidationError as error:
        raise Refused(f"The job's arguments cannot be read: {error}.") from error


async def _version(
    context: Context,
) -> tuple[ModelVersion, ModelVersion | None, list[ModelVersion]]:
    """The version, its base, and all that it was made from."""
    try:
        async with context.store.read() as s:
            version = await models.find(s, context.job.target)
            known = {each.id: each for each in await models.every(s)}
    except errors.NotFound as error:
        raise Refused(str(error)) from error
    ancestors = [known[id] for id in model_lineage.ancestors(known, version.id)]
    return version, known.get(version.base_id or 0), ancestors


def _copy(source: Path, target: Path, progress: Callable[[int], None]) -> str:
    """The SHA-256 of what was copied."""
    digest = hashlib.sha256()
    with source.open("rb", buffering=0) as read, target.open("wb") as write:
        while chunk := read.read(_CHUNK):
            digest.update(chunk)
            write.write(chunk)
            progress(len(chunk))
        write.flush()
        os.fsync(write.fileno())
    return digest.hexdigest()


def _move(folder: Path, target: Path) -> None:
    """Put a directory in its place in one step, across file systems as well."""
    if target.is_dir() and not any(target.iterdir()):
        target.rmdir()
    if target.exists():
        raise FileExistsError(17, "it exists and is not an empty directory")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.rename(target)
    except OSError:
        beside = target.with_name(f".{target.name}.partial")
        shutil.rmtree(beside, ignore_errors=True)
        shutil.copytree(folder, beside)
        beside.rename(target)


KIND: Final = kinds.Kind((kinds.Step("copy", copy), kinds.Step("deliver", deliver)))
