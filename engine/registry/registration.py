"""Registers a model file whose header was read and whose hash is known, or says why not.

Decides whether the file is what was asked for and fits on its base. Never opens a file. Imported
by `engine.jobs`.
"""

from __future__ import annotations

import msgspec

from engine.registry.gguf_header import Header
from storage import deployments, models
from storage.control_socket.verbs import ModelsAdd
from storage.model_checks import ModelChecks
from storage.models import Kind, ModelVersion, Status
from storage.store import Session


class Unfit(Exception):
    """The file cannot be registered as asked; the message is a sentence."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a file's header says, as far as it is kept."""

    kind: Kind
    architecture: str
    parameters: int
    quantisation: str
    context_tokens: int
    licence: str | None
    kv_bytes_per_token: int | None = None


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was read to its end; `source` is the address that it was downloaded from."""

    path: str
    sha256: str
    size_bytes: int
    mtime_ns: int
    source: str | None = None


def facts(header: Header) -> Facts:
    """What is kept of a header."""
    return Facts(
        kind=header.kind,
        architecture=header.architecture,
        parameters=header.parameters,
        quantisation=header.quantisation,
        context_tokens=header.context_tokens,
        licence=header.licence,
        kv_bytes_per_token=header.kv_bytes_per_token,
    )


async def base_of(s: Session, asked: ModelsAdd) -> ModelVersion | None:
    """The version that an adapter belongs on; StorageError if there is no such version."""
    return None if asked.base is None else await models.find(s, asked.base)


async def check_name(s: Session, asked: ModelsAdd) -> None:
    """Refuse a name that is taken before anything is downloaded or hashed.

    A version may be added again with the same content: from another path, to try again what could
    not be loaded or made its deployment fail, or to check again what was never checked or failed.

    Raises:
        Unfit: the version is registered.
    """
    name = f"{asked.model}@{asked.version}"
    known = next((each for each in await models.every(s) if each.name == name), None)
    if known is None or known.status is Status.UNLOADABLE or await _failing(s, known):
        return
    if known.kind is Kind.WEIGHTS and (known.checks == ModelChecks() or known.checks.wanting):
        return
    if known.path == asked.path or not asked.path.startswith("/"):
        raise Unfit(f"{name} is registered; versions never change, so take the next number.")


def check_fit(name: str, found: Facts, asked: ModelsAdd, base: ModelVersion | None) -> None:
    """Hold what the file is against what was asked; `name` is what people call the file.

    Raises:
        Unfit: the file does not fit.
    """
    if (reason := _unfit(found, asked.kind, base)) is not None:
        raise Unfit(f"{name} {reason}.")
    if base is not None and base.status is Status.UNLOADABLE:
        raise Unfit(f"{base.name} cannot be loaded.")


async def register(
    s: Session,
    asked: ModelsAdd,
    file: File,
    found: Facts,
    checks: ModelChecks,
    *,
    actor: str,
    at_us: int,
    intent_id: int | None,
) -> str:
    """Add the version, or take the same one from where its file is now; what was done.

    Raises:
        Unfit: it does not fit any more. StorageError: the name is taken, or the base is gone.
    """
    base = await base_of(s, asked)
    check_fit(file.path, found, asked, base)
    before = await models.same_file(
        s,
        model=asked.model,
        version=asked.version,
        sha256=file.sha256,
        base_id=None if base is None else base.id,
    )
    if before is not None:
        return await _add_again(
            s, before, file, found, checks, actor=actor, at_us=at_us, intent_id=intent_id
        )
    version = await models.add(
        s,
        model=asked.model,
        version=asked.version,
        kind=found.kind,
        base_id=None if base is None else base.id,
        path=file.path,
        sha256=file.sha256,
        size_bytes=file.size_bytes,
        mtime_ns=file.mtime_ns,
        architecture=found.architecture,
        parameters=found.parameters,
        quantisation=found.quantisation,
        context_tokens=found.context_tokens or (base.context_tokens if base else 0),
        licence=asked.licence or found.licence,
        actor=actor,
        at_us=at_us,
        intent_id=intent_id,
        checks=checks,
        source=file.source,
        kv_bytes_per_token=found.kv_bytes_per_token,
    )
    said = f"{version.name} is registered: {version.kind}, {version.architecture}"
    return f"{said}, SHA-256 {version.sha256[:12]}….{_remark(checks)}"


async def _add_again(
    s: Session,
    before: ModelVersion,
    file: File,
    found: Facts,
    checks: ModelChecks,
    *,
    actor: str,
    at_us: int,
    intent_id: int | None,
) -> str:
    """Load a version from where its file is now, with today's verdict; try again what failed."""
    failing = await _failing(s, before)
    version = await models.add_again(
        s,
        before.id,
        path=file.path,
        size_bytes=file.size_bytes,
        mtime_ns=file.mtime_ns,
        actor=actor,
        at_us=at_us,
        intent_id=intent_id,
        checks=checks,
        kv_bytes_per_token=found.kv_bytes_per_token,
    )
    for name in failing:
        await deployments.restart(s, name, actor=actor, at_us=at_us, intent_id=intent_id)
    if failing or before.status is Status.UNLOADABLE:
        return f"{version.name} is the same file; it is tried again."
    if version.path == before.path:
        return f"{version.name} is the same file; it was checked again.{_remark(checks)}"
    return f"{version.name} is the same file; it is loaded from {version.path} now."


async def _failing(s: Session, version: ModelVersion) -> list[str]:
    """The deployments that were stopped because they died with these weights."""
    weights = version if version.base_id is None else await models.get(s, version.base_id)
    return [
        each.name
        for each in await deployments.every(s)
        if each.weights == weights.sha256 and each.status is deployments.Status.FAILING
    ]


def _unfit(found: Facts, kind: Kind, base: ModelVersion | None) -> str | None:
    adapter = found.kind is Kind.ADAPTER
    if adapter and base is None:
        return "is an adapter; say on which weights it belongs (base)"
    if not adapter and kind is Kind.ADAPTER:
        return "holds weights, not an adapter"
    if not adapter and base is not None:
        return "holds weights, which need no base"
    if base is not None and base.kind is not Kind.WEIGHTS:
        return f"cannot be put on {base.name}, which is an adapter itself"
    if base is not None and base.architecture != found.architecture:
        return f"is for {found.architecture}, {base.name} is {base.architecture}"
    return None


def _remark(checks: ModelChecks) -> str:
    """What the person should know at once of what was tried."""
    if (reason := checks.unable_to_chat) is not None:
        return f" It cannot answer chats: {reason}."
    if checks.chat is not None and not checks.chat.takes_system:
        return " Its chat template takes no system message."
    return ""
