"""Services and their arms, as the status document has them.

Imported by `app.status_document`.
"""

from __future__ import annotations

import msgspec

from app import snapshot
from storage import services


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """One release of a service; figures are those of the window, as `storage.measures` has them.

    `share_between` is the 95 % interval of `share`. `departed`: it has left the split, and its
    requests are still in the window.
    """

    release: str
    model: str
    prompt: str
    weight: float
    share: float | None
    requests: int
    failed: int
    refused: int
    cancelled: int
    synthetic_share: float | None
    requests_per_s: float | None
    error_rate: float | None
    latency_p50_us: float | None
    latency_p95_us: float | None
    ttft_p95_us: float | None
    queue_time_p95_us: float | None
    tokens_per_s: float | None
    thumbs_up: int
    thumbs_down: int
    satisfaction: float | None
    cost_per_kilo_token_micro: int | None
    share_between: tuple[float, float] | None
    departed: bool


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """A service with the arms of its current split, and those that have left it since.

    `version` grows with each change. `owner` names the rollout or test that owns the split,
    `frozen` says who froze it and why; both are empty otherwise.
    """

    name: str
    version: int
    record_text: bool
    owner: str
    frozen: str
    requests: int
    synthetic_share: float | None
    arms: tuple[Arm, ...]


def service(seen: snapshot.Service) -> Service:
    """One service with its arms."""
    return Service(
        name=seen.name,
        version=seen.version,
        record_text=seen.record_text,
        owner=seen.owner,
        frozen=seen.frozen,
        requests=seen.requests,
        synthetic_share=seen.synthetic,
        arms=tuple(
            Arm(
                release=f"r{arm.release}",
                model=arm.model,
                prompt=arm.prompt,
                weight=arm.weight_bp / services.WHOLE_BP,
                share=arm.actual,
                requests=arm.requests,
                failed=arm.failed,
                refused=arm.refused,
                cancelled=arm.cancelled,
                synthetic_share=arm.synthetic,
                requests_per_s=arm.per_s,
                error_rate=arm.errors,
                latency_p50_us=arm.p50_us,
                latency_p95_us=arm.p95_us,
                ttft_p95_us=arm.ttft_p95_us,
                queue_time_p95_us=arm.queue_p95_us,
                tokens_per_s=arm.tokens_per_s,
                thumbs_up=arm.up,
                thumbs_down=arm.down,
                satisfaction=arm.liked,
                cost_per_kilo_token_micro=arm.kilo_micro,
                share_between=arm.between,
                departed=arm.departed,
            )
            for arm in seen.arms
        ),
    )
