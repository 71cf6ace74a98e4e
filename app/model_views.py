"""Model versions as people see them: with their aliases, their family tree and where they are used.

Reads the store once and draws nothing. Imported by `app.commands.models` and `app.screens.models`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from app import words
from storage import (
    deployments,
    loaded,
    model_aliases,
    model_lineage,
    models,
    processes,
    quarantine,
    release_tasks,
    releases,
    services,
    splits,
)
from storage.deployments import Deployment
from storage.loaded import How
from storage.model_checks import Chat, ModelChecks
from storage.models import ModelVersion
from storage.past import models as past_models
from storage.past import services as past_services
from storage.processes import Process
from storage.quarantine import Quarantined
from storage.release_content import KV_CACHE_TYPES
from storage.releases import Release
from storage.services import Service
from storage.store import Session

_DIGITS: Final = 16
_KNOWN: Final = {
    How.HASHED: "hashed by the worker",
    How.BOUND: "the verified file: same size, time and inode",
}


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What one instance has in memory, beside what is registered.

    `known` says how its hash is known: it hashed the file itself, or mapped the one that was
    verified. `differences` are sentences, empty where memory and registry agree.
    """

    instance: str
    deployment: str
    state: str
    weights: str
    known: str
    template: str
    adapters: tuple[str, ...]
    build: str
    differences: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """In a few words."""
        return "; ".join(self.differences) or "as registered"


@dataclass(frozen=True, kw_only=True)
class Registry:
    """Everything that is known of all versions, in one snapshot, by model and from low to high."""

    versions: tuple[ModelVersion, ...]
    aliases: Mapping[int, tuple[str, ...]]
    releases: tuple[Release, ...]
    services: tuple[Service, ...]
    deployments: Mapping[str, Deployment]
    processes: tuple[Process, ...]
    quarantined: tuple[Quarantined, ...] = ()

    def template(self, version: ModelVersion) -> str:
        """Where the chat template of a version comes from, and why it is not run, if so."""
        chat = version.checks.chat
        killing = [each.reason for each in self.quarantined if each.subject == version.name]
        source = words.UNKNOWN if chat is None else chat.template.value
        return "; quarantined: ".join([source, *killing[-1:]])

    @functools.cached_property
    def names(self) -> dict[int, str]:
        """The names of the versions by id."""
        return {version.id: version.name for version in self.versions}

    @functools.cached_property
    def _by_id(self) -> dict[int, ModelVersion]:
        return {version.id: version for version in self.versions}

    def by_id(self, id: int | None) -> ModelVersion | None:
        """One version; None for None."""
        return None if id is None else self._by_id.get(id)

    def using(self, version: ModelVersion) -> list[Release]:
        """The releases that name a version."""
        return [each for each in self.releases if each.model_version_id == version.id]

    def serving(self, version: ModelVersion) -> list[str]:
        """The arms of services that answer with a version, as `support (90 % on r1)`."""
        numbers = {release.number for release in self.using(version)}
        return [
            f"{service.name} ({splits.percent(arm.weight_bp)} on r{arm.release})"
            for service in self.services
            for arm in service.split.arms
            if arm.release in numbers
        ]

    def proofs(self, version: ModelVersion) -> list[Proof]:
        """The instances that have a version in memory, or should have."""
        base = self.by_id(version.base_id) or version
        found = []
        for process in self.processes:
            deployment = self.deployments.get(process.deployment or "")
            if deployment is None or deployment.weights != base.sha256:
                continue
            proof = self.proof(process, base)
            mine = version.sha256 in proof.adapters or version.base_id is None
            if mine or version.name in self._served(deployment.name):
                found.append(proof)
        return found

    def proof(self, process: Process, weights: ModelVersion) -> Proof:
        """What an instance of a deployment with these weights reports."""
        known = process.loaded
        adapters = [each for each in self.versions if each.base_id is not None]
        same = {each.id for each in self.versions if each.sha256 == weights.sha256}
        fitting = [each for each in adapters if each.base_id in same]
        return Proof(
            instance=process.name,
            deployment=process.deployment or "",
            state=process.state.value,
            weights="" if known is None else known.weights,
            known="" if known is None else _KNOWN[known.how],
            template="" if known is None else known.template,
            adapters=() if known is None else tuple(known.adapters.values()),
            build=process.build or "",
            differences=() if known is None else tuple(loaded.differences(known, weights, fitting)),
        )

    def named(self, sha256: str) -> str:
        """A hash as the name of its version, or as the beginning of it."""
        found = [each.name for each in self.versions if each.sha256 == sha256]
        return found[0] if found else f"{sha256[:_DIGITS]}…"

    def _served(self, deployment: str) -> set[str]:
        """The versions that the releases of a deployment name."""
        names = self.names
        return {
            names[release.model_version_id]
            for release in self.releases
            if release.deployment == deployment and release.model_version_id in names
        }


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


async def read_at(s: Session, at_us: int) -> Registry:
    """The registry as it was at a past moment; what was in memory is not recorded."""
    versions = await past_models.every(s, at_us)
    aliases = await past_models.aliases(s, at_us)
    return Registry(
        versions=tuple(versions),
        aliases=models.aliases(versions, aliases),
        releases=tuple(each for each in await releases.every(s) if each.created_at_us <= at_us),
        services=tuple(await past_services.every(s, at_us)),
        deployments={},
        processes=(),
    )


async def read(s: Session) -> Registry:
    """The registry as it is."""
    versions = await models.every(s)
    return Registry(
        versions=tuple(versions),
        aliases=models.aliases(versions, await model_aliases.every(s)),
        releases=tuple(await releases.every(s)),
        services=tuple(await services.every(s)),
        deployments={each.name: each for each in await deployments.every(s)},
        processes=tuple(await processes.every(s)),
        quarantined=tuple(await quarantine.every(s)),
    )


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
        return "told in the system text"
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
