"""Services and their arms over the window: the split that is set beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from app import snapshot
from app.figures import facts as facts_
from app.figures.facts import Facts
from storage import costs, measures, services, splits
from storage.availability import Availability, Can
from storage.measures import Traffic


def shown(facts: Facts) -> tuple[snapshot.Service, ...]:
    """All services with their arms measured."""
    measured: dict[str, dict[int, Traffic]] = {}
    for name, traffic in facts_.traffic(facts).items():
        service, _, release = name.rpartition("/r")
        measured.setdefault(service, {})[int(release)] = traffic
    return tuple(_service(facts, each, measured.get(each.name, {})) for each in facts.services)


def waits(available: Mapping[int, Availability]) -> dict[int, snapshot.Readiness]:
    """The releases that would not answer a request at once."""
    return {
        number: snapshot.Readiness(
            refused=each.can is Can.NOT, reason=each.reason, starts_in_us=each.starts_in_us
        )
        for number, each in sorted(available.items())
        if each.can is not Can.ANSWER
    }


def _service(
    facts: Facts, service: services.Service, measured: Mapping[int, Traffic]
) -> snapshot.Service:
    """One service; `measured` is by release."""
    nothing = facts_.whole(facts, ())
    whole = facts_.whole(facts, measured.values())
    return snapshot.Service(
        name=service.name,
        version=service.version,
        record_text=service.record_text,
        requests=whole.tally.requests,
        synthetic=measures.synthetic_share(whole),
        arms=tuple(
            _arm(facts, service.name, arm, measured.get(arm.release, nothing), whole)
            for arm in service.split.arms
        )
        + tuple(
            replace(
                _arm(facts, service.name, arm, measured[arm.release], whole),
                departed=True,
            )
            for arm in _departed(service, measured)
        ),
        history=tuple(
            snapshot.Split(
                id=split.id,
                arms=splits.pairs(split.arms),
                set_at_us=split.set_at_us,
                set_by=split.set_by,
                restores=split.restores,
                reason=facts.reasons.get(split.intent_id or 0, ""),
            )
            for split in facts.histories.get(service.name, ())
        ),
        owner="" if service.owner is None else service.owner.name,
        frozen="" if service.frozen is None else service.frozen.words,
        staging_of=service.staging_of or "",
        rollout_policy=service.rollout_policy,
    )


def _departed(service: services.Service, measured: Mapping[int, Traffic]) -> list[services.Arm]:
    """The releases outside the split whose requests are still in the window."""
    split = {arm.release for arm in service.split.arms}
    asked = [release for release, traffic in measured.items() if traffic.tally.requests]
    return [services.Arm(release=each, weight_bp=0) for each in sorted(asked) if each not in split]


def _arm(
    facts: Facts, service: str, arm: services.Arm, traffic: Traffic, whole: Traffic
) -> snapshot.Arm:
    model, prompt = facts.models.get(arm.release, ("", ""))
    up, down = measures.thumbs(traffic)
    return snapshot.Arm(
        service=service,
        release=arm.release,
        model=model,
        prompt=prompt,
        weight_bp=arm.weight_bp,
        actual=measures.share(traffic, whole),
        between=measures.share_interval(traffic, whole),
        requests=traffic.tally.requests,
        synthetic=measures.synthetic_share(traffic),
        per_s=measures.requests_per_s(traffic),
        p50_us=measures.latency(traffic, 0.5),
        p95_us=measures.latency(traffic, 0.95),
        ttft_p95_us=measures.ttft(traffic, 0.95),
        queue_p95_us=measures.queue_time(traffic, 0.95),
        errors=measures.error_rate(traffic),
        failed=traffic.tally.failed,
        refused=traffic.tally.refused,
        cancelled=traffic.tally.cancelled,
        tokens_per_s=measures.tokens_per_s(traffic),
        kilo_micro=costs.kilo_micro(traffic.tally, facts.prices, facts.served.get(arm.release)),
        up=up,
        down=down,
        liked=measures.satisfaction(traffic),
        cached=measures.cached_share(traffic),
    )
