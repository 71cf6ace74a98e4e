"""A request as it is read, and as the columns that it is stored in.

Imported by `storage.requests`, through which every package knows these names.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import msgspec

from storage import request_rows
from storage.request_rows import RequestRow

_SEED_SPACE: Final = 2**64
_SEED_HALF: Final = 2**63


class Outcome(StrEnum):
    """How a request ended.

    Malformed bodies and unknown keys are not recorded; `GatewaySample.rejected` counts them.
    """

    OK = "ok"
    CANCELLED = "cancelled"  # the client went away
    INVALID = "invalid"  # 400, whichever release was asked
    REFUSED = "refused"  # 429 or 503 by the admission of an instance that serves
    FAILED = "failed"  # the release, the worker or the engine; also, that no worker was there


class Class(StrEnum):
    """Who waits for whom; the first is served first."""

    INTERACTIVE = "interactive"
    BATCH = "batch"
    BACKGROUND = "background"


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request. `at_us` is its arrival, `busy_us` the worker's time that went into it.

    `seed` counts modulo 2^64, as the sampler takes it. `ab_test` is the test whose split chose the
    release, and `unit` a keyed hash of the user, session or request that it chose it for.
    `cached_tokens` are those prompt tokens that were in a cache already.
    """

    id: str
    at_us: int
    service: str
    release: int | None
    worker: str
    endpoint: str
    key_id: int
    tenant: str
    class_: Class = msgspec.field(default=Class.INTERACTIVE, name="class")
    synthetic: bool = False
    stream: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    queue_us: int = 0
    ttft_us: int | None = None
    latency_us: int = 0
    busy_us: int = 0
    outcome: Outcome
    finish_reason: str | None = None
    error_code: str | None = None
    seed: int | None = None
    ab_test: int | None = None
    unit: str | None = None
    cached_tokens: int = 0


def facet(request: Request) -> request_rows.Facet:
    """What a request shares with others."""
    return (
        request.service, request.release or 0, request.worker, request.endpoint, request.key_id,
        request.tenant, request.class_.value, request.synthetic, request.stream,
        request.outcome.value, request.finish_reason or "", request.error_code or "",
    )  # fmt: skip


def own(request: Request) -> tuple[Any, ...]:
    """The columns of its own row, as in `request_writes.Row` without the id."""
    seed = request.seed
    if seed is not None:  # SQLite's integers are signed
        seed %= _SEED_SPACE
        seed = seed - _SEED_SPACE if seed >= _SEED_HALF else seed
    return (
        request.at_us, request.prompt_tokens, request.completion_tokens, request.queue_us,
        request.ttft_us, request.latency_us, request.busy_us, seed, request.ab_test, request.unit,
        request.cached_tokens,
    )  # fmt: skip


def read(row: RequestRow) -> Request:
    """The request that a row stores."""
    if row.seed is not None and row.seed < 0:
        return msgspec.structs.replace(
            msgspec.convert(row, Request, from_attributes=True), seed=row.seed + _SEED_SPACE
        )
    return msgspec.convert(row, Request, from_attributes=True)
