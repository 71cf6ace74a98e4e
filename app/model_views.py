"""Model versions as people see them: with their aliases, their family tree and where they are used.

Reads the store once and draws nothing. Imported by `app.commands.models` and `app.screens.models`.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from app import words
from storage import model_aliases, model_lineage, models, releases, services, splits
from storage.model_checks import Chat, ModelChecks
from storage.models import ModelVersion
from storage.releases import Release
from storage.services import Service
from storage.store import Session


class Registry(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known of all versions, in one snapshot, by model and from low to high."""

    versions: tuple[ModelVersion, ...]
    aliases: Mapping[int, tuple[str, ...]]
    releases: tuple[Release, ...]
    services: tuple[Service, ...]

    @property
    def names(self) -> dict[int, str]:
        """The names of the versions by id."""
        return {version.id: version.name for version in self.versions}

    def by_id(self, id: int | None) -> ModelVersion | None:
        """One version; None for None."""
        return next((each for each in self.versions if each.id == id), None)

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


async def read(s: Session) -> Registry:
    """The registry as it is."""
    versions = await models.every(s)
    return Registry(
        versions=tuple(versions),
        aliases=models.aliases(versions, await model_aliases.every(s)),
        releases=tuple(await releases.every(s)),
        services=tuple(await services.every(s)),
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


def chats(version: ModelVersion) -> str:
    """Whether a version can answer chats, as far as was tried."""
    if version.checks == ModelChecks():
        return "not checked" if version.kind is models.Kind.WEIGHTS else "as its base"
    return "no" if version.checks.unable_to_chat else "yes"


def system_message(chat: Chat | None) -> str:
    """What a chat template does with a system message."""
    if chat is None or not chat.works:
        return words.UNKNOWN
    return "taken" if chat.takes_system else "put before the first user message"
