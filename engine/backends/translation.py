"""A job in a worker's terms, and a worker's refusal in the job's.

Chat templates are rendered here, by the processes of `engine.prompting.renderer`. Sends nothing.
Imported by `engine.backends.local` and `local_run`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from engine.backends.parsed_text import Parsing
from engine.execution import failures
from engine.execution.job import Chat, Embed, Input, Job, Prompt, Rerank, Score, Text
from engine.prompting import chat_template, time_limit
from engine.prompting.chat_template import ChatTemplate
from engine.serving import wire
from storage.releases import Release
from storage.requests import Class

_CLASSES: Final = list(Class)
_SCORES: Final = "scores"
"""What is scored may be recorded text of a service that keeps its tenants apart."""
_REFUSALS: Final[Mapping[str, tuple[type[failures.Failure], str]]] = {
    "queue_full": (failures.Overloaded, "queue_full"),
    "deadline": (failures.Unavailable, "deadline"),
    "too_long": (failures.Invalid, "context_length_exceeded"),
    "empty": (failures.Invalid, "empty_prompt"),
    "logit_bias": (failures.Invalid, "invalid_value"),
    "task": (failures.Invalid, "unsupported_task"),
    "dimensions": (failures.Invalid, "invalid_value"),
    "bad_token": (failures.Invalid, "invalid_value"),
    "too_many_figures": (failures.Invalid, "invalid_value"),
    "constraint": (failures.Invalid, "constraint_failed"),
    "no_worker": (failures.Unavailable, "worker_unavailable"),
    "no_adapter": (failures.Unavailable, "adapter_unavailable"),
    "model_fault": (failures.Broken, "model_fault"),
    "unreadable": (failures.Broken, "answer_unreadable"),
    "unavailable": (failures.Unavailable, "release_unavailable"),
    "worker_lost": (failures.Unavailable, "worker_lost"),
    "worker_gone": (failures.Unavailable, "worker_gone"),
}


async def segments(
    template: ChatTemplate, release: Release, input: Prompt, within_s: float
) -> Sequence[tuple[wire.Segment, ...]]:
    """The segments of each prompt, for the worker to tokenise; a chat is rendered within a time."""
    text = 0
    try:
        if isinstance(input, Text):
            for text, prompt in enumerate(input.prompts):  # noqa: B007 it is named in an error
                template.check_prompt(prompt)
            if input.suffix:
                return [_infill(template, release, prompt, input) for prompt in input.prompts]
            return [(_segment(prompt),) for prompt in input.prompts]
        async with time_limit.rendered("the chat template", within_s):
            return [await template.segments(input)]
    except chat_template.LongConversation as error:
        raise failures.Invalid(
            f"release {release.name}: {error}",
            code="context_length_exceeded",
            param=_field(input, text),
        ) from error
    except chat_template.BadConversation as error:
        arguments = isinstance(error, chat_template.BadArguments)
        raise failures.Invalid(
            f"release {release.name}: {error}",
            code="invalid_value",
            param="chat_template_kwargs" if arguments else "messages",
        ) from error
    except chat_template.BrokenTemplate as error:
        raise failures.Broken(
            f"release {release.name}: {error}",
            code="template_broken" if error.plain else "template_failed",
            release_fault=True,
        ) from error


def _infill(
    template: ChatTemplate, release: Release, prompt: str | tuple[int, ...], input: Text
) -> tuple[wire.Segment, ...]:
    """Prefix, suffix, then the middle that is to be written: the order of llama-server's /infill.

    Bavarian et al. 2022, "Efficient Training of Language Models to Fill in the Middle" (PSM).
    """
    if not template.infill:
        raise failures.Invalid(
            f"the model of release {release.name} has no tokens for a suffix; leave it out",
            code="unsupported_parameter",
            param="suffix",
        )
    template.check_prompt(input.suffix)
    assert isinstance(prompt, str)  # noqa: S101 no body has a suffix after tokens
    before, after, middle = template.infill
    return (
        wire.Segment(before, special=True),
        wire.Segment(prompt, special=False),
        wire.Segment(after, special=True),
        wire.Segment(input.suffix, special=False),
        wire.Segment(middle, special=True),
    )


def _segment(prompt: str | tuple[int, ...]) -> wire.Segment:
    if isinstance(prompt, str):
        return wire.Segment(prompt, special=False)
    return wire.Segment("", special=False, tokens=prompt)


def failure(
    refused: wire.Refused,
    input: Input,
    constraint: wire.Constraint | None = None,
    first: int = 0,
    field: str = "",
) -> failures.Failure:
    """A worker's refusal in terms of the job; `first` is the index of its first text or input.

    `field` is that of the request, where it is not what usually holds such an input.
    """
    kind, code = _REFUSALS.get(refused.code, (failures.Broken, "engine_error"))
    param = (field or _field(input, first)) if kind is failures.Invalid else None
    if isinstance(input, Embed | Rerank):
        if refused.place >= 0:
            param = f"{_field(input)}[{first + refused.place}]"
    elif refused.place >= 0:
        param = f"{param}[{refused.place}]"
    if refused.code == "logit_bias":
        param = "logit_bias"
    elif refused.code == "constraint":
        param = None if constraint is None else constraint.field
    elif refused.code == "task":
        param = "model"
    elif refused.code == "dimensions":
        param = "dimensions"
    return kind(refused.message, code=code, param=param, retry_after_us=refused.retry_after_us)


def _field(input: Input, text: int = 0) -> str:
    """The field of a request that holds its input, or this one of several texts."""
    if isinstance(input, Embed | Rerank):
        return input.field
    if isinstance(input, Chat):
        return "messages"
    return f"prompt[{text}]" if len(input.prompts) > 1 else "prompt"


def submit(
    job: Job,
    prompt: tuple[wire.Segment, ...],
    choice: int,
    parsing: Parsing,
    *,
    queue_us: int,
    request: int,
) -> wire.Submit:
    """One choice of a job; `request` is the id of the job's first sequence."""
    sampling, constraint = job.sampling, parsing.constraint
    if parsing.prefix:
        prompt = (*prompt, wire.Segment(parsing.prefix, special=True))
    return wire.Submit(
        id=0,
        adapter=job.release.adapter,
        scope=job.cache_scope,
        prompt=prompt,
        sampling=msgspec.structs.replace(sampling, seed=sampling.seed + choice),
        max_tokens=job.max_tokens,
        stop=job.stop,
        class_=_CLASSES.index(job.class_),
        tenant=job.tenant,
        queue_us=queue_us,
        logprobs=job.logprobs,
        request=request,
        shown=parsing.shown,
        thinking=parsing.thinking,
        constraint=constraint and msgspec.structs.replace(constraint, field=""),
        after=parsing.after,
        opening=parsing.opening,
        begins=parsing.begins,
        end_logprob=job.echo,
    )


def echo(job: Job, prompt: tuple[wire.Segment, ...], *, queue_us: int) -> wire.Score:
    """The scoring of a prompt that comes back before its answers."""
    return wire.Score(
        id=0,
        adapter=job.release.adapter,
        prompt=prompt,
        continuation="",
        class_=_CLASSES.index(job.class_),
        tenant=job.tenant,
        queue_us=queue_us,
        scope=job.cache_scope,
        whole=True,
        alternatives=max(0, job.logprobs if job.echo else 0, job.prompt_logprobs),
        room=min(job.max_tokens, 1),
    )


def embed(
    job: Job,
    input: Embed | Rerank,
    inputs: tuple[tuple[str | int, ...], ...],
    query: str | None,
    *,
    queue_us: int,
    request: int,
) -> wire.Embed:
    """Some inputs of a job; `request` is the id of its first part."""
    return wire.Embed(
        id=0,
        adapter=job.release.adapter,
        inputs=inputs,
        class_=_CLASSES.index(job.class_),
        tenant=job.tenant,
        queue_us=queue_us,
        query=query,
        dimensions=input.dimensions if isinstance(input, Embed) else 0,
        norm=input.norm if isinstance(input, Embed) else 2,
        request=request,
    )


def score(score: Score, prompt: tuple[wire.Segment, ...]) -> wire.Score:
    """The scoring of a continuation."""
    return wire.Score(
        id=0,
        adapter=score.release.adapter,
        prompt=prompt,
        continuation=score.continuation,
        class_=_CLASSES.index(score.class_),
        tenant=score.tenant,
        queue_us=score.queue_us,
        scope=_SCORES,
    )
