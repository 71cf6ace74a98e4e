"""Services and their arms lately: what was set beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from app import recent, snapshot
from app.figures import facts as facts_
from app.figures.facts import SECOND_US, Facts
from storage import services

_HOUR_US: Final = 3_600 * SECOND_US


def kilo_micro(busy_us: int, tokens: int, gpu_hour_micro: int | None) -> int | None:
    """The price of a thousand tokens, from the worker's time that went into them."""
    if gpu_hour_micro is None or not tokens:
        return None
    return round(busy_us * gpu_hour_micro * 1000 / (_HOUR_US * tokens))


def shown(facts: Facts) -> tuple[snapshot.Service, ...]:
    """All services with their arms measured."""
    by_arm: dict[str, list[recent.Second]] = {}
    for name, second in facts_.window(facts):
        by_arm.setdefault(name, []).append(second)
    return tuple(_service(facts, each, by_arm) for each in facts.services)


def _service(
    facts: Facts, service: services.Service, by_arm: Mapping[str, list[recent.Second]]
) -> snapshot.Service:
    found = [(arm, by_arm.get(f"{service.name}/r{arm.release}", [])) for arm in service.split.arms]
    prefix = f"{service.name}/r"
    asked = sum(
        second.sample.requests
        for name, seconds in by_arm.items()
        if name.startswith(prefix)
        for second in seconds
    )
    return snapshot.Service(
        name=service.name,
        version=service.version,
        record_text=service.record_text,
        arms=tuple(_arm(facts, service.name, arm, seconds, asked) for arm, seconds in found),
        history=tuple(
            snapshot.Split(
                id=split.id,
                arms=tuple((arm.release, arm.weight_bp) for arm in split.arms),
                set_at_us=split.set_at_us,
                set_by=split.set_by,
            )
            for split in facts.histories.get(service.name, ())
        ),
    )


def _arm(
    facts: Facts, service: str, arm: services.Arm, seconds: list[recent.Second], asked: int
) -> snapshot.Arm:
    def total(name: str) -> int:
        return sum(getattr(second.sample, name) for second in seconds)

    latency = recent.merged(second.latency for second in seconds)
    ttft = recent.merged(second.ttft for second in seconds)
    span_s = facts.window_us / SECOND_US
    requests, generated = total("requests"), total("completion_tokens")
    model, prompt = facts.models.get(arm.release, ("", ""))
    return snapshot.Arm(
        service=service,
        release=arm.release,
        model=model,
        prompt=prompt,
        weight_bp=arm.weight_bp,
        actual=requests / asked if asked else None,
        requests=requests,
        synthetic=total("synthetic"),
        per_s=requests / span_s if seconds else None,
        p50_us=latency.quantile(0.5),
        p95_us=latency.quantile(0.95),
        ttft_p95_us=ttft.quantile(0.95),
        failed=total("failed"),
        refused=total("refused"),
        cancelled=total("cancelled"),
        tokens_per_s=generated / span_s if seconds else None,
        kilo_micro=kilo_micro(
            total("busy_us"), total("prompt_tokens") + generated, facts.gpu_hour_micro
        ),
        up=max(total("thumbs_up"), 0),  # a window may hold a change of mind without the first
        down=max(total("thumbs_down"), 0),
    )
