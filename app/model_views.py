"""Model versions in words: their files, parts, family tree, memory, and what they can do.

Pure. Imported by `app.commands` and `app.figures.models`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from app import words
from app.model_registry import Proof, Registry
from storage import model_aliases, model_lineage, models, release_tasks, releases
from storage.model_checks import Chat, ModelChecks
from storage.models import ModelVersion
from storage.release_content import KV_CACHE_TYPES

_DIGITS: Final = 16


def file(version: ModelVersion) -> str:
    """Where the file is; of a split model the first, with how many there are."""
    if not version.parts:
        return version.path
    return f"{version.path} and {words.counted(len(version.parts) - 1, 'further part')}"


def part_lines(version: ModelVersion) -> list[str]:
    """The parts of a split model, one a line: name, size, SHA-256."""
    rows = [
        [Path(each.path).name, words.size(each.size_bytes), each.sha256] for each in version.parts
    ]
    return words.table(rows)


def aliases(registry: Registry, version: ModelVersion) -> str:
    """The aliases of a version, without `latest`, which the list shows by its order."""
    known = registry.aliases.get(version.id, ())
    return words.known(" ".join(each for each in known if each != model_aliases.LATEST))


def tree(registry: Registry, root: ModelVersion | None = None) -> list[str]:
    """The family tree as lines: of all versions, or of the line that one belongs to."""
    nodes = model_lineage.tree(registry.versions, None if root is None else root.id)
    lines = []
    for node in nodes:
        stems = ["   " if last else "│  " for last in node.last[1:-1]]
        branch = "" if not node.depth else ("└─ " if node.last[-1] else "├─ ")
        lines.append("".join(stems) + branch + _leaf(registry, node, root))
    return lines


def _leaf(registry: Registry, node: model_lineage.Node, root: ModelVersion | None) -> str:
    version = registry.by_id(node.id)
    assert version is not None  # noqa: S101 the tree is made from the registry
    told = [node.name]
    if (named := registry.aliases.get(node.id)) is not None:
        told.append(f"({', '.join(named)})")
    if node.relation:
        told.append(node.relation)
    if version.dataset:
        told.append(f"data {version.dataset}")
    if version.run:
        told.append(f"run {version.run}")
    if version.status is not models.Status.REGISTERED:
        told.append(version.status.value)
    if root is not None and node.id == root.id and len(registry.versions) > 1:
        told.append("◂")
    return words.safe("  ".join(told))


def proof_lines(registry: Registry, proofs: list[Proof]) -> list[str]:
    """What instances have in memory, below each other."""
    lines = []
    for proof in proofs:
        if not proof.weights:
            lines.append(f"{proof.instance}  {proof.state}, has reported nothing yet")
            continue
        adapters = ", ".join(registry.named(each) for each in proof.adapters)
        rows = [
            (proof.instance, proof.verdict),
            ("  weights", f"{proof.weights[:_DIGITS]}…  {proof.known}"),
            ("  template", f"{proof.template[:_DIGITS]}…" if proof.template else "none"),
            ("  adapters", words.known(adapters)),
            ("  engine", words.known(proof.build.partition("; CPU")[0])),
        ]
        lines += words.table(rows)
    return lines


def memory(version: ModelVersion) -> str:
    """What one instance with the default engine settings takes, as a dry load found."""
    if version.memory is None:
        return "not measured" if version.kind is models.Kind.WEIGHTS else words.UNKNOWN
    engine = releases.Engine()
    cache, compute = version.memory.context_bytes(engine.context_tokens, engine.max_sequences)
    copies = 2 if version.memory.repacked else 1
    total = version.memory.weights_bytes * copies + version.memory.process_bytes + cache + compute
    return (
        f"{words.size(total)} on a CPU with {engine.max_sequences} sequences of "
        f"{words.count(engine.context_tokens)} tokens (KV cache {words.size(cache)})"
    )


def kv_cache(version: ModelVersion) -> str:
    """What the KV cache takes in each of its types, with the default engine settings."""
    if (memory := version.memory) is None:
        return words.UNKNOWN
    engine = releases.Engine()
    parts = [
        f"{words.size(memory.context_bytes(engine.context_tokens, engine.max_sequences, kind)[0])} "
        f"as {kind}"
        for kind in KV_CACHE_TYPES
        if kind in memory.kv_cache_types
    ]
    parts += [f"{kind} is not possible" for kind in KV_CACHE_TYPES if kind in memory.impossible]
    return ", ".join(parts)


def task(version: ModelVersion) -> str:
    """What a version is made for."""
    if version.kind is models.Kind.ADAPTER:
        return "as its base"
    return release_tasks.words(version)


def fault(version: ModelVersion) -> str | None:
    """What its checks found; that embeddings are not text is no fault."""
    checks = version.checks
    if checks.task in {"embedding", "reranking"}:
        return None
    return checks.unable_to_chat or (None if checks.chat is None else checks.chat.reason)


def chats(version: ModelVersion) -> str:
    """Whether a version can answer chats, as far as was tried."""
    if version.checks == ModelChecks():
        return "not checked" if version.kind is models.Kind.WEIGHTS else "as its base"
    return "no" if version.checks.unable_to_chat else "yes"


def tools(chat: Chat | None) -> str:
    """Who tells the model its tools, and in which form it calls them."""
    if chat is None or chat.shows_tools is None:
        return words.UNKNOWN
    if not chat.shows_tools:
        return "listed in the system text"
    return f"shown by the template, called in the form of {chat.calls}"


def reasoning(chat: Chat | None) -> str:
    """Whether what the model thinks comes apart from what it says."""
    if chat is None or chat.reasons is None:
        return words.UNKNOWN
    return "apart from the answer" if chat.reasons else "not marked by the template"


def system_message(chat: Chat | None) -> str:
    """What a chat template does with a system message."""
    if chat is None or not chat.works:
        return words.UNKNOWN
    return "taken" if chat.takes_system else "put before the first user message"
