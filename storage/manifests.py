"""Manifests: what a service should be, as people write it down and keep it under version control.

A manifest names versions and settings, not releases, since a release has its number on one box
only. It never changes a service; `engine.control` does, asked by `manifests.apply`. Imported by
`app` and `engine.control`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from storage import (
    errors,
    models,
    prompt_labels,
    prompts,
    release_differences,
    release_tasks,
    releases,
    rollouts,
    services,
    splits,
)
from storage.control_socket import verbs
from storage.release_content import Content
from storage.release_differences import Difference
from storage.releases import Engine, Release
from storage.rollout_policies import Policy
from storage.rollout_steps import OnLabel
from storage.rollouts import OPEN, Rollout, State
from storage.services import Service

_PAST: Final = 50
"""How many rollouts of a service are looked through."""


@dataclass(frozen=True, slots=True)
class ArmChange:
    """One arm as it will be; `release` is None where the content makes a new one.

    `differences` are those from the arm of the service that has the most traffic now.
    """

    weight_bp: int
    release: Release | None
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """What a manifest says of a service beside its arms."""

    record_text: bool
    staging_of: str | None
    rollout: Policy | None
    on_label: OnLabel

    @classmethod
    def of(cls, service: Service) -> Settings:
        """Those of a service."""
        return cls(
            service.record_text, service.staging_of, service.rollout_policy, service.on_label
        )

    @classmethod
    def asked(cls, manifest: verbs.manifests.Apply, before: Service | None) -> Settings:
        """Those that a service has once a manifest is applied."""
        had = OnLabel.AT_ONCE if before is None else before.on_label
        return cls(
            manifest.record_text, manifest.staging_of, manifest.rollout, manifest.on_label or had
        )


@dataclass(frozen=True, slots=True)
class Before:
    """The newest rollout of a service to a release that does not have all of its traffic.

    `leads`: it is under way; otherwise it was taken back. `last`: no other one followed it.
    """

    rollout: Rollout
    leads: bool
    last: bool

    @property
    def words(self) -> str:
        """What became of it, and what to do."""
        rollout = self.rollout
        name = f"Rollout {rollout.id} of {rollout.service} to r{rollout.candidate}"
        said = f"{name} is {rollout.state.value}: {rollout.sentence.rstrip('.')}"
        if self.leads:
            return f"{said}."
        again = f"`paddock rollouts start {rollout.service} --to r{rollout.candidate}`"
        if self.last and rollout.state is State.ABORTED:
            again = f"`paddock rollouts retry {rollout.service}`"
        return f"{said}. A manifest does not start it again; {again} does."


async def before(s: AsyncSession, service: Service, release: int) -> Before | None:
    """What a rollout that leads to a release, or was taken back from it, means for the next one."""
    past = await rollouts.tail(s, _PAST, service=service.name)
    found = next((each for each in past if each.candidate == release), None)
    if found is None or any(
        arm.release == release and arm.weight_bp == splits.WHOLE_BP for arm in service.split.arms
    ):
        return None
    if found.state in OPEN and service.owner == found.owner:
        return Before(found, leads=True, last=True)
    if found.state in {State.ABORTED, State.UNDONE}:
        return Before(found, leads=False, last=found.id == past[0].id)
    return None


@dataclass(frozen=True, slots=True)
class Change:
    """What applying a manifest does to a service; `service` is None where it is created.

    `before` is the rollout that leads to the release already, or was taken back.
    """

    name: str
    service: Service | None
    arms: tuple[ArmChange, ...]
    record_text: bool
    staging_of: str | None
    rollout: Policy | None = None
    before: Before | None = None
    on_label: OnLabel | None = None

    @property
    def split(self) -> bool:
        """Whether the split changes, at once or by a rollout that is started."""
        if self.service is None:
            return True
        if self.before is not None and self.before.leads:
            return False
        now = {arm.release: arm.weight_bp for arm in self.service.split.arms if arm.weight_bp}
        return now != {arm.release and arm.release.number: arm.weight_bp for arm in self.arms}

    @property
    def texts(self) -> bool:
        """Whether texts are recorded from now on, or no longer."""
        return self.service is None or self.service.record_text != self.record_text

    @property
    def staging(self) -> bool:
        """Whether it becomes the staging of another service, or no longer is one."""
        before = None if self.service is None else self.service.staging_of
        return before != self.staging_of

    @property
    def policy(self) -> bool:
        """Whether later releases get to the traffic in another way."""
        had = None if self.service is None else self.service.rollout_policy
        return had != self.rollout

    @property
    def labels(self) -> bool:
        """Whether labels that move are followed in another way from now on."""
        had = OnLabel.AT_ONCE if self.service is None else self.service.on_label
        return self.on_label not in {None, had}

    @property
    def nothing(self) -> bool:
        """Whether the service is as the manifest says."""
        return not (self.split or self.texts or self.staging or self.policy or self.labels)


async def change(s: AsyncSession, name: str, manifest: verbs.manifests.Apply) -> Change:
    """What applying a manifest to the service of this name would do now.

    Raises:
        NotFound: it names a version or an upstream that is not registered.
        Invalid: a release of it cannot be, or the arms make no split.
    """
    service = await services.look_up(s, name)
    live = None
    if service is not None:
        most = max(service.split.arms, key=lambda arm: arm.weight_bp)
        live = await releases.content(s, await releases.get(s, most.release))
    arms = []
    for arm in manifest.arms:
        content = await resolved(s, arm.release)
        differences = () if live is None else release_differences.between(live, content)
        known = await releases.with_content(s, content)
        arms.append(ArmChange(arm.weight_bp, known, differences))
    numbers = [arm.release.number for arm in arms if arm.release is not None]
    if len(set(numbers)) < len(numbers):
        raise errors.Invalid(f"Two arms of {name} have the same content; give it once.")
    led = None
    if service is not None and manifest.rollout is not None and numbers:
        led = await before(s, service, numbers[0])
    return Change(
        name=name,
        service=service,
        arms=tuple(arms),
        record_text=manifest.record_text,
        staging_of=manifest.staging_of,
        rollout=manifest.rollout,
        before=led,
        on_label=manifest.on_label,
    )


async def resolved(s: AsyncSession, asked: verbs.releases.Create) -> Content:
    """The content of the release that is asked for.

    Raises:
        NotFound: it names a version that is not registered. Invalid: as for `releases.create`.
    """
    model = None if asked.model is None else await models.find(s, asked.model)
    base = None if model is None or model.base_id is None else await models.get(s, model.base_id)
    prompt = None if asked.prompt is None else await prompts.find(s, asked.prompt)
    local = asked.upstream is None and asked.server is None
    engine = Engine() if local and asked.engine is None else asked.engine
    if engine is not None and model is not None:
        engine = release_tasks.resolved(model, base, engine)
    return releases.content_of(
        model_version=model,
        base=base,
        prompt_version=prompt,
        sampling=asked.sampling,
        limits=asked.limits,
        engine=engine,
        upstream=asked.upstream,
        server=asked.server,
        follows=prompt_labels.followed(asked.prompt) if asked.follow else None,
    )


async def contents(s: AsyncSession, service: Service) -> list[tuple[int, Content]]:
    """The arms of a service that get traffic, as (basis points, content)."""
    return [
        (points, await releases.content(s, await releases.get(s, release)))
        for release, points in splits.pairs(service.split.arms)
        if points
    ]
