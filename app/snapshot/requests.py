"""Requests: the list, and one in full."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRow:
    """One request in the list."""

    id: str
    at_us: int
    service: str
    release: int | None
    outcome: str
    class_: str
    synthetic: bool
    stream: bool
    prompt_tokens: int
    completion_tokens: int
    queue_us: int
    ttft_us: int | None
    latency_us: int
    code: str  # error code or finish reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """The last requests, newest first."""

    rows: tuple[RequestRow, ...]
    filter: str
    more: bool  # there are older ones


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What a client said of an answer."""

    at_us: int
    score: int
    correct: bool | None
    comment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request in full; text only where its service keeps it."""

    row: RequestRow
    worker: str
    endpoint: str
    tenant: str
    key: str
    model: str
    busy_us: int
    seed: int | None
    cached_tokens: int
    finish_reason: str
    error_code: str
    opinions: tuple[Opinion, ...]
    records_text: bool
    prompt: str | None
    completion: str | None
    reasoning: str | None = None
