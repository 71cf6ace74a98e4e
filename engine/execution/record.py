"""The record of a job: one row, and its texts where the service records them.

Pure: a job, its answer and its failure in, rows out. Imported by
`engine.execution.execute`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from engine.execution import failures
from engine.execution import job as jobs
from engine.execution.answers import Answer
from engine.execution.job import Asked, Chat, Embed, Job, Message, Rerank
from storage.requests import Outcome, Request
from storage.texts import Text

REFUSED_CHARACTERS: Final = 2000

_NEXT_LINE: Final = re.compile(r"\n(?=[^\n])")


def begun(job: Job) -> Request:
    """A job that begins, as it is recorded if its end is never known."""
    return _request(job, worker=job.release.deployment, outcome=Outcome.FAILED)


def refused(job: Job, failure: failures.Failure, now_us: int) -> Request:
    """A job that was not sent to a backend; `now_us` is monotonic."""
    return _request(
        job,
        worker=job.release.deployment,
        latency_us=now_us - job.arrived_us,
        outcome=outcome(failure),
        error_code=failure.code,
    )


def ended(
    job: Job,
    answer: Answer,
    failure: failures.Failure | None,
    *,
    cancelled: bool,
    ended_us: int,
) -> Request:
    """A job that was sent to a backend; `cancelled` by the caller; `ended_us` is monotonic."""
    finishes = answer.finishes
    result = Outcome.OK
    if cancelled or (failure is not None and failure.code == "slow_reader"):
        result = Outcome.CANCELLED
    elif failure is not None:
        result = outcome(failure)
    return _request(
        job,
        prompt_tokens=answer.prompt_tokens,
        cached_tokens=answer.cached_tokens,
        completion_tokens=answer.completion_tokens,
        queue_us=max((finish.queue_us for finish in finishes), default=0),
        ttft_us=None if answer.first_us is None else answer.first_us - job.arrived_us,
        latency_us=ended_us - job.arrived_us,
        busy_us=sum(finish.busy_us for finish in finishes),
        worker=next((f.instance for f in finishes if f.instance), job.release.deployment),
        outcome=result,
        finish_reason=finishes[0].reason if finishes and result is Outcome.OK else None,
        error_code=None if failure is None else failure.code,
    )


def text(
    job: Job, completion: str, failure: failures.Failure | None, turn: Message | None = None
) -> Text | None:
    """Prompt and completion, where the service records texts.

    `turn` is the answer where it is more than its text. Of a refused prompt only the beginning is
    kept: it may be as long as a body, and refused requests cost their sender nothing, so they could
    fill the disk.
    """
    if not job.record_text:
        return None
    prompt = _prompt(job)
    if (
        isinstance(failure, failures.Invalid | failures.Overloaded)
        and len(prompt) > REFUSED_CHARACTERS
    ):
        prompt = f"{prompt[:REFUSED_CHARACTERS]}… ({len(prompt)} characters)"
        return Text(request_id=job.id, prompt=prompt, completion=completion, at_us=job.at_us)
    return Text(
        request_id=job.id,
        prompt=prompt,
        completion=completion,
        at_us=job.at_us,
        asked=_json(job.asked),
        turn=_json(turn),
    )


def _json(value: Asked | Message | None) -> str | None:
    """As JSON; None where it has characters that UTF-8 cannot encode."""
    try:
        return None if value is None else msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        return None


def outcome(failure: failures.Failure) -> Outcome:
    """The outcome of a failure; one that the release caused counts against the release."""
    if failure.release_fault:
        return Outcome.FAILED
    if isinstance(failure, failures.Invalid):
        return Outcome.INVALID
    if isinstance(failure, failures.Overloaded) or failure.code == "deadline":
        return Outcome.REFUSED
    return Outcome.FAILED


def _prompt(job: Job) -> str:
    """The input as one text; only the role of a message begins a line at the margin.

    Otherwise a message could imitate one of another role. Tokens are shown by their ids.
    """
    match job.input:
        case Chat(messages=messages):
            return "\n\n".join(f"{m.role}: {_inset(_said(m))}" for m in messages)
        case Embed(inputs=inputs):
            return "\n\n".join(map(_written, inputs))
        case Rerank(query=query, documents=documents):
            return "\n\n".join((f"query: {_inset(query)}", *documents))
        case jobs.Text(prompts=prompts, suffix=suffix):
            texts = [_written((each,)) for each in prompts]
            return "\n\n".join([*texts, *([f"suffix: {suffix}"] if suffix else [])])


def _written(parts: Sequence[str | int | Sequence[int]]) -> str:
    return "".join(
        part if isinstance(part, str) else msgspec.json.encode(part).decode() for part in parts
    )


def _said(message: Message) -> str:
    """The content of a message, and the calls that it makes."""
    calls = [f"{call.name}({call.arguments})" for call in message.calls]
    return "\n".join([*([message.content] if message.content else []), *calls])


def _inset(text: str) -> str:
    return _NEXT_LINE.sub("\n  ", text)


def _request(job: Job, **fields: Any) -> Request:
    return Request(
        id=job.id,
        at_us=job.at_us,
        service=job.service,
        release=job.release.number,
        endpoint=job.endpoint,
        key_id=job.key_id,
        tenant=job.tenant,
        class_=job.class_,
        synthetic=job.synthetic,
        stream=job.stream,
        seed=job.sampling.seed,
        ab_test=job.ab_test,
        unit=job.unit,
        **fields,
    )
