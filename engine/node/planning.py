"""Which instances the box needs: splits -> releases -> deployments -> instances. Pure.

A release that is an arm of a split keeps its deployment loaded, whatever its weight, so that going
back to it takes effect on the next request; so does one that an open job holds. Never looks at
processes, files or memory. Imported by `engine.node`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from storage.deployments import Deployment
from storage.deployments import Status as DeploymentStatus
from storage.model_files import ModelFile
from storage.models import ModelVersion, Status
from storage.releases import Engine, Release, Server


@dataclass(frozen=True, slots=True)
class Weights:
    """A model to load, as it was registered: its file, or its parts in their order."""

    model: int
    sha256: str
    files: tuple[ModelFile, ...]

    @property
    def path(self) -> str:
        """Of its first file, by whose name libraries find the other parts."""
        return self.files[0].path

    @property
    def size_bytes(self) -> int:
        """Of all files together."""
        return sum(each.size_bytes for each in self.files)


@dataclass(frozen=True, slots=True)
class Instance:
    """One running copy of a deployment: what it loads and how.

    A supervised server may load files of its own, without `weights`.
    """

    name: str
    deployment: str
    weights: Weights | None
    settings: Engine | Server

    def replaces(self, other: Instance) -> bool:
        """Whether a process that was started as `other` is not what this instance needs."""
        return (self.settings, _content(self.weights)) != (other.settings, _content(other.weights))


@dataclass(frozen=True, slots=True)
class Plan:
    """`wanted` may be started; `kept` are not stopped if they run, whether wanted or not.

    An instance whose weights are unloadable is kept: if it runs, it has them in memory. One of a
    failing deployment is neither.
    """

    wanted: Mapping[str, Instance]
    kept: frozenset[str]


def plan(
    releases: Iterable[Release],
    deployments: Mapping[str, Deployment],
    models: Iterable[ModelVersion],
) -> Plan:
    """The instances that `releases`, those that splits name or jobs hold, need."""
    versions = {version.id: version for version in models}
    named: dict[str, list[ModelVersion]] = {}
    for release in releases:
        named.setdefault(release.deployment, []).extend(_loadable(release, versions))
    wanted: dict[str, Instance] = {}
    kept: set[str] = set()
    for name in sorted(named.keys() & deployments.keys()):
        deployment = deployments[name]
        settings = deployment.engine or deployment.server
        if settings is None or deployment.status is DeploymentStatus.FAILING:
            continue
        kept.update(deployment.instances)
        if deployment.weights is not None and not named[name]:
            continue
        weights = _weights(named[name])
        wanted |= {
            instance: Instance(instance, name, weights, settings)
            for instance in deployment.instances
        }
    return Plan(wanted, frozenset(kept))


def _loadable(release: Release, versions: Mapping[int, ModelVersion]) -> list[ModelVersion]:
    """The version whose file the release needs in memory, if it can be loaded: an adapter's base.

    Several versions may have the same content; the deployment is then loaded from any of them.
    """
    version = versions.get(release.model_version_id or 0)
    if version is not None and version.base_id is not None:
        version = versions.get(version.base_id)
    return [] if version is None or version.status is not Status.REGISTERED else [version]


def _weights(versions: list[ModelVersion]) -> Weights | None:
    if not versions:
        return None
    version = min(versions, key=lambda each: each.id)
    return Weights(version.id, version.sha256, version.files)


def _content(weights: Weights | None) -> tuple[str, str] | None:
    return None if weights is None else (weights.path, weights.sha256)
