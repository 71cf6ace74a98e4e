"""The messages of rollouts to webhooks, as the jobs that send them keep them, and the answers.

A message is the arguments of its job and does not change when it is sent again. Sends nothing.
Written by `engine.control.rollouts`, read by every package.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from storage import errors, job_steps, jobs
from storage.jobs import Job

JOB: Final = "call_webhook"
"""The kind of the jobs that send messages."""
STEP: Final = "send"
"""The step of the job whose result is the answer."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent, under an id that is unique to the rollout, its attempt and the occasion.

    `secret` refers to the key that signs it (`storage.home.secrets`).
    """

    id: str
    url: str
    secret: str | None
    body: Mapping[str, Any]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a webhook answered, and that in a sentence."""

    proceed: bool
    sentence: str


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The job that asks a webhook; `answer` is None while it has none."""

    job: Job
    answer: Answer | None


async def asked(s: AsyncSession, job_id: int | None) -> Asked | None:
    """The question of a rollout; None if it asks nothing, or the job is gone."""
    if job_id is None:
        return None
    try:
        job = await jobs.find(s, job_id)
    except errors.NotFound:
        return None
    if job.state is not jobs.State.SUCCEEDED:
        return Asked(job=job, answer=None)
    found = {step.name: step.result for step in await job_steps.of(s, job_id)}
    answer = found.get(STEP)
    return Asked(job=job, answer=None if answer is None else msgspec.convert(answer, Answer))
