"""Records to begin with: a model and its adapter, a prompt, two releases, a service."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from storage import models, prompts, releases, requests, services
from storage.models import Kind, ModelVersion
from storage.prompts import Message, PromptVersion
from storage.releases import Engine, Limits, Release, Sampling
from storage.requests import Outcome, Request
from storage.services import Service
from storage.store import Store


@dataclass(frozen=True, slots=True)
class Furniture:
    """What `furnish` put there."""

    weights: ModelVersion
    adapter: ModelVersion
    prompt: PromptVersion
    stable: Release
    candidate: Release
    service: Service


async def model(
    s: AsyncSession,
    version: str = "1.0.0",
    *,
    model: str = "ops",
    kind: Kind = Kind.WEIGHTS,
    base_id: int | None = None,
) -> ModelVersion:
    """A version whose hash follows from its name."""
    return await models.add(
        s,
        model=model,
        version=version,
        kind=kind,
        base_id=base_id,
        path=__file__,  # there is such a file; nothing loads it
        sha256=hashlib.sha256(f"{model}@{version}".encode()).hexdigest(),
        size_bytes=4_000_000,
        mtime_ns=1,
        architecture="llama",
        parameters=3_000_000,
        quantisation="Q8_0",
        context_tokens=1024,
        licence="Apache-2.0",
        actor="sara",
        at_us=1,
    )


async def prompt(
    s: AsyncSession, text: str = "Answer briefly.", name: str = "terse"
) -> PromptVersion:
    """The next version of a prompt with one system message."""
    return await prompts.add(
        s,
        prompt=name,
        messages=[Message(role="system", template=text)],
        variables=[],
        author="sara",
        comment="",
        at_us=2,
    )


async def release(
    s: AsyncSession,
    model_version: ModelVersion,
    base: ModelVersion | None = None,
    prompt_version: PromptVersion | None = None,
    engine: Engine | None = None,
    sampling: Sampling | None = None,
) -> Release:
    """A release with defaults for what is not given."""
    return await releases.create(
        s,
        model_version=model_version,
        base=base,
        prompt_version=prompt_version,
        sampling=sampling or Sampling(),
        limits=Limits(),
        engine=engine or Engine(),
        comment="",
        actor="sara",
        at_us=3,
    )


async def furnish(store: Store) -> Furniture:
    """Put all of it there, in one write."""

    async def work(s: AsyncSession) -> Furniture:
        weights = await model(s)
        adapter = await model(s, "1.1.0", kind=Kind.ADAPTER, base_id=weights.id)
        terse = await prompt(s)
        stable = await release(s, weights, None, terse)
        candidate = await release(s, adapter, weights, terse)
        service = await services.create(
            s, name="support", release=stable.number, record_text=True, actor="sara", at_us=4
        )
        return Furniture(weights, adapter, terse, stable, candidate, service)

    return await store.write(work)


def request(number: int, *, outcome: Outcome = Outcome.OK, service: str = "support") -> Request:
    """A request that arrived `number` microseconds after the beginning of time."""
    return requests.Request(
        id=f"req_{number}",
        at_us=number,
        service=service,
        release=1,
        worker="ops-1.0.0",
        endpoint="chat",
        key_id=1,
        tenant="acme",
        prompt_tokens=10,
        completion_tokens=5,
        latency_us=1000,
        outcome=outcome,
    )
