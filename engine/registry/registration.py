"""Registers a model file, given its header and hash, or says why it cannot.

Decides whether the file is what was asked for and fits its base. Never opens a file. Imported by
`engine.jobs`.
"""

from __future__ import annotations

import msgspec

from engine.registry.gguf_header import Header
from storage import deployments, models
from storage.control_socket import verbs
from storage.model_checks import ModelChecks
from storage.model_files import ModelFile
from storage.model_memory import Memory
from storage.models import Kind, Lineage, ModelVersion, Status
from storage.store import Session


class Unfit(Exception):
    """The file cannot be registered as asked; the message is a sentence."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a file's header that is stored."""

    kind: Kind
    architecture: str
    parameters: int
    quantisation: str
    context_tokens: int
    licence: str | None
    kv_bytes_per_token: int | None = None
    template_sha256: str | None = None


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A hashed model: its file, or its parts; `source` is the address it was downloaded from."""

    sha256: str
    files: tuple[ModelFile, ...]
    source: str | None = None

    @property
    def path(self) -> str:
        """Of the first file."""
        return self.files[0].path

    @property
    def size_bytes(self) -> int:
        """Of all files together."""
        return sum(each.size_bytes for each in self.files)

    @property
    def parts(self) -> tuple[ModelFile, ...]:
        """Of a split model; empty for one file."""
        return self.files if len(self.files) > 1 else ()


def facts(header: Header) -> Facts:
    """The part of a header that is stored."""
    return Facts(
        kind=header.kind,
        architecture=header.architecture,
        parameters=header.parameters,
        quantisation=header.quantisation,
        context_tokens=header.context_tokens,
        licence=header.licence,
        kv_bytes_per_token=header.kv_bytes_per_token,
        template_sha256=header.chat.sha256,
    )


async def base_of(s: Session, asked: verbs.models.Add) -> ModelVersion | None:
    """The base version of an adapter; StorageError if there is no such version."""
    return None if asked.base is None else await models.find(s, asked.base)


async def lineage_of(s: Session, asked: verbs.models.Add) -> Lineage:
    """The lineage of a version; StorageError if there is no such parent."""
    parent = None if asked.parent is None else await models.find(s, asked.parent)
    return Lineage(
        parent_id=None if parent is None else parent.id, dataset=asked.dataset, run=asked.run
    )


async def check_name(s: Session, asked: verbs.models.Add) -> None:
    """Refuse a name that is taken before anything is downloaded or hashed.

    A version may be added again with the same content: from another path, to retry one that could
    not be loaded or made its deployment fail, or to repeat checks that are missing or failed.

    Raises:
        Unfit: the version is registered.
    """
    name = f"{asked.model}@{asked.version}"
    known = next((each for each in await models.every(s) if each.name == name), None)
    if known is None or known.status is not Status.REGISTERED or await _failing(s, known):
        return
    if known.kind is Kind.WEIGHTS and (known.checks == ModelChecks() or known.checks.wanting):
        return
    if known.path == asked.path or not asked.path.startswith("/"):
        raise Unfit(f"{name} is registered; versions never change, so take the next number.")


def check_fit(name: str, found: Facts, asked: verbs.models.Add, base: ModelVersion | None) -> None:
    """Check the file against the arguments; `name` is the file's name in messages.

    Raises:
        Unfit: the file does not fit.
    """
    if (reason := _unfit(found, asked.kind, base)) is not None:
        raise Unfit(f"{name} {reason}.")
    if base is not None and base.status is not Status.REGISTERED:
        why = "was removed" if base.status is Status.REMOVED else "cannot be loaded"
        raise Unfit(f"{base.name} {why}.")


async def register(
    s: Session,
    asked: verbs.models.Add,
    file: File,
    found: Facts,
    checks: ModelChecks,
    memory: Memory | None = None,
    *,
    actor: str,
    at_us: int,
    intent_id: int | None,
) -> str:
    """Add the version, or update the path of the same one; the outcome as a sentence.

    Raises:
        Unfit: it no longer fits. StorageError: the name is taken, or the base is gone.
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
            s, before, file, found, checks, memory, actor=actor, at_us=at_us, intent_id=intent_id
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
        mtime_ns=file.files[0].mtime_ns,
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
        inode=file.files[0].inode,
        template_sha256=found.template_sha256,
        memory=memory,
        parts=file.parts,
        lineage=await lineage_of(s, asked),
    )
    many = f"{len(file.parts)} parts, " if file.parts else ""
    what = f"{version.kind}, {many}{version.architecture}, SHA-256 {version.sha256[:12]}…"
    return f"{version.name} is registered: {what}.{_remark(checks)}"


async def _add_again(
    s: Session,
    before: ModelVersion,
    file: File,
    found: Facts,
    checks: ModelChecks,
    memory: Memory | None,
    *,
    actor: str,
    at_us: int,
    intent_id: int | None,
) -> str:
    """Update the path and checks of a version; retry its deployments that failed."""
    failing = await _failing(s, before)
    version = await models.add_again(
        s,
        before.id,
        path=file.path,
        size_bytes=file.size_bytes,
        mtime_ns=file.files[0].mtime_ns,
        actor=actor,
        at_us=at_us,
        intent_id=intent_id,
        checks=checks,
        kv_bytes_per_token=found.kv_bytes_per_token,
        inode=file.files[0].inode,
        template_sha256=found.template_sha256,
        memory=memory,
        parts=file.parts,
    )
    for name in failing:
        await deployments.restart(s, name, actor=actor, at_us=at_us, intent_id=intent_id)
    if before.status is Status.REMOVED:
        return f"{version.name} is registered again from {version.path}."
    if failing or before.status is Status.UNLOADABLE:
        return f"{version.name} is the same file; loading it is tried again."
    if version.path == before.path:
        return f"{version.name} is the same file; it was checked again.{_remark(checks)}"
    return f"{version.name} is the same file; it is now loaded from {version.path}."


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
        return "is an adapter; name the weights that it belongs to (base)"
    if not adapter and kind is Kind.ADAPTER:
        return "contains weights, not an adapter"
    if not adapter and base is not None:
        return "contains weights, which take no base"
    if base is not None and base.kind is not Kind.WEIGHTS:
        return f"cannot be added to {base.name}, which is an adapter itself"
    if base is not None and base.architecture != found.architecture:
        return f"is for {found.architecture}, {base.name} is {base.architecture}"
    return None


def _remark(checks: ModelChecks) -> str:
    """Results of the checks that the person should know."""
    if checks.task == "embedding":
        return " It makes embeddings: a release of it answers /v1/embeddings."
    if checks.task == "reranking":
        return " It reranks documents: a release of it answers /v1/rerank."
    if (reason := checks.unable_to_chat) is not None:
        return f" It cannot answer chats: {reason}."
    if checks.chat is not None and not checks.chat.takes_system:
        return " Its chat template does not take a system message."
    return ""
