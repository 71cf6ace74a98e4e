"""Which workers the box needs: services' splits -> releases -> workers. Pure.

A release that is an arm of a split keeps its worker resident, whatever its weight: going back
to it takes effect on the next request. Two releases on the same weights share one worker. Never
looks at processes, files or memory. Imported by `engine.node`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from storage.models import ModelVersion, Standing
from storage.releases import Engine, Release
from storage.services import Service


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker that should run: what it loads and how."""

    name: str
    model: int
    path: str
    sha256: str
    size_bytes: int
    mtime_ns: int
    engine: Engine


def plan(
    services: Iterable[Service],
    releases: Mapping[int, Release],
    models: Mapping[int, ModelVersion],
) -> dict[str, Worker]:
    """The workers by name that may be started. Arms whose weights are unloadable get none."""
    wanted: dict[str, Worker] = {}
    for service in services:
        for arm in service.split.arms:
            release = releases.get(arm.release)
            weights = _weights(release, models) if release else None
            if release is None or release.engine is None or weights is None:
                continue
            if weights.standing is Standing.UNLOADABLE:
                continue
            wanted[release.deployment] = Worker(
                name=release.deployment,
                model=weights.id,
                path=weights.path,
                sha256=weights.sha256,
                size_bytes=weights.size_bytes,
                mtime_ns=weights.mtime_ns,
                engine=release.engine,
            )
    return wanted


def named(services: Iterable[Service], releases: Mapping[int, Release]) -> frozenset[str]:
    """All workers that splits ask for, whether they may be started or not: none is stopped."""
    return frozenset(
        release.deployment
        for service in services
        for arm in service.split.arms
        if (release := releases.get(arm.release)) is not None
    )


def _weights(release: Release, models: Mapping[int, ModelVersion]) -> ModelVersion | None:
    """The version whose file the worker loads: the base, where the release has an adapter."""
    version = models.get(release.model_version_id or 0)
    if version is not None and version.base_id is not None:
        return models.get(version.base_id)
    return version
