"""The store at one moment, as the gateway answers requests by it.

Frozen: a change makes the next snapshot, see `engine.execution.snapshot_reads`. Imported by
`engine.execution`, the backends and the gateway.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from engine.prompting.prompt_template import Prompt
from storage.deployments import Deployment
from storage.keys import Key
from storage.models import ModelVersion
from storage.quarantine import Quarantined
from storage.releases import Release
from storage.services import Service
from storage.upstreams import Upstream


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """A share of a service's requests that is copied, by a rollout, from stable to a candidate."""

    rollout: int
    attempt: int
    share_bp: int
    stable: int
    candidate: int


@dataclass(frozen=True)
class Snapshot:
    """The store at one moment. `keys` by their HMAC, without revoked ones; `shadows` by service.

    `held` are the releases that open jobs need loaded, `retired` those that may not be asked.
    """

    services: Mapping[str, Service] = field(default_factory=dict)
    releases: Mapping[int, Release] = field(default_factory=dict)
    models: Mapping[int, ModelVersion] = field(default_factory=dict)
    prompts: Mapping[int, Prompt] = field(default_factory=dict)
    keys: Mapping[str, Key] = field(default_factory=dict)
    knobs: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    upstreams: Mapping[str, Upstream] = field(default_factory=dict)
    deployments: Mapping[str, Deployment] = field(default_factory=dict)
    shadows: Mapping[str, Shadow] = field(default_factory=dict)
    quarantined: tuple[Quarantined, ...] = ()
    held: frozenset[int] = frozenset()
    retired: frozenset[int] = frozenset()

    def arms(self, service: str) -> list[Release]:
        """The releases of a service that receive traffic."""
        found = self.services.get(service)
        return [
            self.releases[arm.release]
            for arm in (found.split.arms if found else ())
            if arm.weight_bp > 0 and arm.release in self.releases
        ]

    @cached_property
    def live(self) -> frozenset[tuple[str, int]]:
        """The arms that get traffic, as (service, release)."""
        return frozenset(
            (service.name, arm.release)
            for service in self.services.values()
            for arm in service.split.arms
            if arm.weight_bp > 0
        )

    @cached_property
    def resident(self) -> Mapping[int, Release]:
        """The releases of all arms, whatever their weight, and those that jobs hold.

        Their deployments stay loaded.
        """
        services = self.services.values()
        arms = {arm.release for service in services for arm in service.split.arms}
        return {
            number: self.releases[number]
            for number in sorted(arms | self.held)
            if number in self.releases
        }
