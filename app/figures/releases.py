"""Releases as the screen shows them: what each is made of, and where it is live.

Imported by `app.reader`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from app import snapshot, words
from app.figures import arms
from app.figures.facts import Facts
from storage import models, prompts, releases, retired_releases
from storage.models import ModelVersion
from storage.past import releases as past_releases
from storage.prompts import PromptVersion
from storage.releases import Release
from storage.retired_releases import Retired
from storage.rollouts import OPEN
from storage.store import Session

MOST: Final = 200


async def read(s: Session, facts: Facts) -> snapshot.Releases:
    """The newest releases that are not retired, newest first."""
    every, gone = await releases.every(s), await retired_releases.every(s)
    return await _shown(s, facts, every, gone)


async def read_at(s: Session, facts: Facts) -> snapshot.Releases:
    """The same of a past moment; whether each could answer is not recorded."""
    every = await past_releases.every(s, facts.now_us)
    return await _shown(s, facts, every, await past_releases.retired(s, facts.now_us))


async def _shown(
    s: Session, facts: Facts, every: Sequence[Release], gone: Mapping[int, Retired]
) -> snapshot.Releases:
    kept = [each for each in every if each.number not in gone]
    found = kept[-MOST:][::-1]
    versions = {each.id: each for each in await models.every(s)}
    ids = {each.prompt_version_id for each in found if each.prompt_version_id is not None}
    worded = {each.id: each for each in await prompts.every(s, ids)}
    return snapshot.Releases(
        rows=tuple(_row(facts, each, versions, worded) for each in found),
        retired=len(gone),
        services=arms.shown(facts),
        waits=arms.waits(facts.available),
    )


def _row(
    facts: Facts,
    release: Release,
    versions: dict[int, ModelVersion],
    worded: dict[int, PromptVersion],
) -> snapshot.ReleaseRow:
    model = versions.get(release.model_version_id or 0)
    prompt = worded.get(release.prompt_version_id or 0)
    served = release.upstream or release.server
    label = "" if release.follows is None else release.follows.partition(":")[2]
    return snapshot.ReleaseRow(
        number=release.number,
        sha256=release.sha256,
        model=model.name if model else words.UNKNOWN if served is None else served.model,
        prompt=("" if prompt is None else prompt.name) + (f" ({label})" if label else ""),
        deployment=release.deployment,
        at_us=release.created_at_us,
        by=release.created_by,
        comment=release.comment,
        live=tuple(
            (service.name, arm.weight_bp)
            for service in facts.services
            for arm in service.split.arms
            if arm.release == release.number
        ),
        rollouts=tuple(
            f"candidate of rollout {each.id}, {each.state.value}"
            for each in facts.rollouts
            if each.state in OPEN and each.candidate == release.number
        ),
        content=releases.content_of(
            model_version=model,
            base=None if model is None else versions.get(model.base_id or 0),
            prompt_version=prompt,
            sampling=release.sampling,
            limits=release.limits,
            engine=release.engine,
            upstream=release.upstream,
            server=release.server,
            follows=release.follows,
        ),
    )
