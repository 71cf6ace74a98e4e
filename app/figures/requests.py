"""Requests as the list and the detail show them."""

from __future__ import annotations

from collections.abc import Iterable

from app import snapshot
from storage import requests, texts


def row(request: requests.Request) -> snapshot.RequestRow:
    """One request in the list."""
    return snapshot.RequestRow(
        id=request.id,
        at_us=request.at_us,
        service=request.service,
        release=request.release,
        outcome=request.outcome.value,
        class_=request.class_.value,
        synthetic=request.synthetic,
        stream=request.stream,
        prompt_tokens=request.prompt_tokens,
        completion_tokens=request.completion_tokens,
        queue_us=request.queue_us,
        ttft_us=request.ttft_us,
        latency_us=request.latency_us,
        code=request.error_code or request.finish_reason or "",
    )


def full(
    request: requests.Request,
    *,
    key: str,
    model: str,
    records_text: bool,
    opinions: Iterable[requests.Feedback],
    text: requests.Text | None,
) -> snapshot.Request:
    """One request in full."""
    return snapshot.Request(
        row=row(request),
        worker=request.worker,
        endpoint=request.endpoint,
        tenant=request.tenant,
        key=key,
        model=model,
        busy_us=request.busy_us,
        seed=request.seed,
        cached_tokens=request.cached_tokens,
        finish_reason=request.finish_reason or "",
        error_code=request.error_code or "",
        opinions=tuple(
            snapshot.Opinion(
                at_us=each.at_us,
                score=each.score,
                correct=each.correct,
                comment=each.comment or "",
            )
            for each in opinions
        ),
        records_text=records_text,
        prompt=None if text is None else text.prompt,
        completion=None if text is None else text.completion,
        reasoning=None if text is None else texts.reasoning(text),
    )
