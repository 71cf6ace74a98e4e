"""The registry of model versions as it is or was: aliases, releases, and what is in memory.

Read from the store once, and frozen. Imported by `app`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from app import words
from storage import (
    deployments,
    loaded,
    model_aliases,
    models,
    processes,
    quarantine,
    releases,
    services,
    splits,
)
from storage.deployments import Deployment
from storage.loaded import How
from storage.models import ModelVersion
from storage.past import models as past_models
from storage.past import services as past_services
from storage.processes import Process
from storage.quarantine import Quarantined
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


async def read(s: Session, at_us: int | None = None) -> Registry:
    """The registry as it is; with `at_us` as it was, without memory, which is not recorded."""
    if at_us is None:
        versions, pointing = await models.every(s), await model_aliases.every(s)
        return Registry(
            versions=tuple(versions),
            aliases=models.aliases(versions, pointing),
            releases=tuple(await releases.every(s)),
            services=tuple(await services.every(s)),
            deployments={each.name: each for each in await deployments.every(s)},
            processes=tuple(await processes.every(s)),
            quarantined=tuple(await quarantine.every(s)),
        )
    versions, pointing = await past_models.every(s, at_us), await past_models.aliases(s, at_us)
    return Registry(
        versions=tuple(versions),
        aliases=models.aliases(versions, pointing),
        releases=tuple(each for each in await releases.every(s) if each.created_at_us <= at_us),
        services=tuple(await past_services.every(s, at_us)),
        deployments={},
        processes=(),
    )


async def version(s: Session, name: str, at_us: int | None = None) -> ModelVersion:
    """A version by its name or an alias; with `at_us` as it was.

    Raises:
        NotFound: there is no such version, or there was none.
    """
    return await (models.find(s, name) if at_us is None else past_models.find(s, name, at_us))
