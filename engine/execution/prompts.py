"""Puts the prompt of a job's release before the caller's input, where that is answered with text.

Never chooses the release. Imported by `engine.gateway` and by everything else that makes jobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from engine.execution import failures
from engine.execution.job import Job, Message, Prompt
from engine.execution.snapshot import Snapshot
from engine.prompting import prompt_template, time_limit
from storage.releases import Release


async def with_prompt(snapshot: Snapshot, job: Job, variables: Mapping[str, Any]) -> Job:
    """The job with its release's prompt before the caller's input; embeddings have none.

    Raises:
        failures.Invalid: the variables are not those that the prompt declares; the release is to
            blame if another arm of the service takes them. Or the input cannot follow a prompt.
        failures.Broken: the prompt's template is faulty.
        failures.Failure: it cannot be rendered now.
    """
    if not isinstance(job.input, Prompt):
        return job
    release = job.release
    if release.prompt_version_id is None and not variables:
        return job
    try:
        async with time_limit.rendered("the prompt", job.queue_us / 1e6):
            own = await _render(snapshot, release, variables)
    except prompt_template.BadVariables as error:
        raise failures.Invalid(
            str(error),
            code="invalid_prompt_variables",
            param="prompt_variables",
            release_fault=await _others_take(snapshot, job, variables),
        ) from error
    except prompt_template.BrokenPrompt as error:
        raise failures.Broken(
            f"release {release.name}: {error}",
            code="prompt_failed" if error.given else "prompt_broken",
            release_fault=True,
        ) from error
    if job.scores_prompts and own:
        field = "echo" if job.echo else "prompt_logprobs"
        raise failures.Invalid(
            f"release {release.name} has a prompt, which {field} would return; score texts with a "
            "release that has none",
            code="unsupported_parameter",
            param=field,
        )
    asked = job.asked and msgspec.structs.replace(job.asked, variables=dict(variables))
    try:
        input = prompt_template.prompted(own, job.input)
    except prompt_template.BadInput as error:
        raise failures.Invalid(
            f"release {release.name}: {error}", code="unsupported_parameter", param="prompt"
        ) from error
    return msgspec.structs.replace(job, input=input, prompt=own, asked=asked)


async def _render(
    snapshot: Snapshot, release: Release, variables: Mapping[str, Any]
) -> tuple[Message, ...]:
    if release.prompt_version_id is not None:
        return await snapshot.prompts[release.prompt_version_id].render(variables)
    if variables:
        raise prompt_template.BadVariables(
            f"release {release.name} has no prompt and takes no prompt_variables"
        )
    return ()


async def _others_take(snapshot: Snapshot, job: Job, variables: Mapping[str, Any]) -> bool:
    """Whether another arm that gets traffic takes the variables."""
    for other in snapshot.arms(job.service):
        if other.number != job.release.number:
            try:
                await _render(snapshot, other, variables)
            except (
                prompt_template.BadVariables,
                prompt_template.BrokenPrompt,
                failures.Failure,
            ):
                continue
            return True
    return False
