"""How long the rows of each table are kept: one policy for every table of the schema.

A table is pruned by age, goes with the rows that it belongs to, has a number of rows that something
else bounds, or is kept for good, which needs a reason: only people add to it, or it is the record
that everything else is checked against. A test compares this with the schema, so a table that is
new has a policy before it lands. It deletes nothing itself. Imported by `engine.control.retention`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from storage import (
    ab_test_units,
    alerts,
    box_usage,
    jobs,
    notifications,
    online_scores,
    replay_items,
    replays,
    requests,
    rollout_looks,
    rollups,
    samples,
    shadow_comparisons,
    silences,
    texts,
    usage,
)
from storage.home.config import Retention
from storage.rollups import Span
from storage.store import Session

_SECOND_US: Final = 1_000_000
DAY_US: Final = 24 * 3600 * _SECOND_US

Prune = Callable[[Session, int, Retention], Awaitable[int]]
"""Deletes some rows that are too old at a time (UTC microseconds); how many, 0 once done."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """Rows are deleted by their age, or once there are too many."""

    by: tuple[Prune, ...]


@dataclass(frozen=True, slots=True)
class With:
    """Rows are deleted together with those of another table."""

    table: str


@dataclass(frozen=True, slots=True)
class Bounded:
    """The number of rows is bounded by something else."""

    by: str


@dataclass(frozen=True, slots=True)
class Kept:
    """Rows are kept for good."""

    why: str


Policy = Pruned | With | Bounded | Kept


def _older(
    prune: Callable[[Session, int], Awaitable[int]],
    days: Callable[[Retention], int],
    unit_us: int = 1,
) -> Pruned:
    """Rows older than so many days; `unit_us` is the unit of the times that `prune` takes."""

    async def work(s: Session, now_us: int, keep: Retention) -> int:
        return await prune(s, (now_us - days(keep) * DAY_US) // unit_us)

    return Pruned((work,))


async def _seconds(s: Session, now_us: int, keep: Retention) -> int:
    before_s = (now_us - keep.samples_days * DAY_US) // _SECOND_US
    return await samples.prune(s, await rollups.seconds_gone(s, before_s))


def _rolled(span: Span, days: Callable[[Retention], int]) -> Prune:
    async def work(s: Session, now_us: int, keep: Retention) -> int:
        return await rollups.prune(s, span, (now_us - days(keep) * DAY_US) // _SECOND_US)

    return work


async def _alerts(s: Session, now_us: int, keep: Retention) -> int:
    """What never fired goes after a day: a value that swings around a bound would fill a disk."""
    return await alerts.prune(s, now_us - keep.requests_days * DAY_US, now_us - DAY_US)


_SERVICE: Final = "a row for each service"
_CHANGES: Final = "a change that a person or a controller makes, that is shown as of a past moment"
_PEOPLE: Final = "written by people, one by one"
_RECORD: Final = "incidents are few, and post-mortems are read years later"

POLICIES: Final[Mapping[str, Policy]] = {
    # Measurements
    "samples": Pruned((_seconds,)),
    "sample_minutes": With("samples"),
    "rollups": Pruned(
        (
            _rolled(Span.MINUTE, lambda keep: keep.minutes_days),
            _rolled(Span.HOUR, lambda keep: keep.hours_days),
            _rolled(Span.DAY, lambda keep: keep.hours_days),
        )
    ),
    "rollup_marks": Bounded("one row"),
    "usage": _older(usage.prune, lambda keep: keep.costs_days, _SECOND_US),
    "box_usage": _older(box_usage.prune, lambda keep: keep.costs_days, _SECOND_US),
    # Requests, and what is derived from them
    "request_texts": _older(texts.prune, lambda keep: keep.texts_days),
    "replay_items": _older(replay_items.prune, lambda keep: keep.texts_days),
    "online_scores": _older(online_scores.prune, lambda keep: keep.requests_days),
    "request_rows": _older(requests.prune, lambda keep: keep.requests_days),
    "request_blocks": With("request_rows"),
    "request_block_facets": With("request_rows"),
    "request_facets": With("request_rows"),
    "feedback": With("request_rows"),
    "ab_test_units": _older(ab_test_units.prune, lambda keep: keep.requests_days),
    "shadow_comparisons": _older(shadow_comparisons.prune, lambda keep: keep.requests_days),
    "rollout_looks": _older(rollout_looks.prune, lambda keep: keep.requests_days),
    # Work, alerts and messages
    "jobs": _older(jobs.prune, lambda keep: keep.jobs_days),
    "job_steps": With("jobs"),
    "job_lines": With("jobs"),
    "replays": _older(replays.prune, lambda keep: keep.jobs_days),
    "alerts": Pruned((_alerts,)),
    "alert_events": With("alerts"),
    "alert_rounds": Bounded("one row"),
    "alert_points": Bounded("changes within what alert rules look back over"),
    "alert_rule_health": Bounded("a row for each alert rule"),
    "alert_groups": Bounded("a row for each group that fires and each receiver"),
    "silences": _older(silences.prune, lambda keep: keep.requests_days),
    "notifications": _older(notifications.prune, lambda keep: keep.jobs_days),
    # As it is now
    "services": Bounded(_SERVICE),
    "online_scoring": Bounded(_SERVICE),
    "box_freeze": Bounded("one row"),
    "processes": Bounded("a row for each process that the node has run under a name"),
    "upstreams": Bounded("a row for each upstream"),
    "upstream_health": Bounded("a row for each upstream"),
    "quarantine": Bounded("a row for each model that cannot be loaded, until it can"),
    "knobs": Bounded("a row for each knob that was set"),
    "budgets": Bounded("a row for each scope of a budget"),
    "prompt_labels": Bounded("a row for each label"),
    "model_aliases": Bounded("a row for each alias"),
    "pepper": Bounded("one row"),
    "store": Bounded("one row"),
    "migrations": Bounded("a row for each step of the schema"),
    "sqlite_sequence": Bounded("a row for each table that numbers its rows"),
    # Versions, which records refer to by number
    "models": Kept(_PEOPLE),
    "prompts": Kept(_PEOPLE),
    "releases": Kept(_PEOPLE),
    "retired_releases": Kept(_PEOPLE),
    "deployments": Kept("a row for each model file with its settings, made with a release"),
    "keys": Kept("revoked keys stay, so that requests name the key that they came with"),
    "prices": Kept("past costs use the prices of their time"),
    "alert_rule_versions": Kept(_PEOPLE),
    "alert_receivers": Kept(_PEOPLE),
    # What was done, and why
    "ledger": Kept("each entry is chained to the one before it"),
    "intents": Kept("the ledger refers to them"),
    "nodes": Kept("a row for each start of the node"),
    "splits": Kept(_CHANGES),
    "prompt_label_moves": Kept(_CHANGES),
    "rollouts": Kept(_CHANGES),
    "rollout_events": Kept("a few rows for each rollout"),
    "ab_tests": Kept(_CHANGES),
    "ab_test_events": Kept("a few rows for each A/B test"),
    "ab_test_looks": Bounded("the newest look at each arm and measure of an A/B test"),
    "runs": Kept(_PEOPLE),
    "run_steps": Kept("a row for each step of a run"),
    "run_events": Kept("a few rows for each step of a run"),
    "automations": Bounded("a row for each runbook that may start by itself"),
    "drills": Kept(_PEOPLE),
    "incidents": Kept(_RECORD),
    "incident_alerts": Kept(_RECORD),
    "incident_events": Kept(_RECORD),
    "post_mortem_sections": Kept(_RECORD),
    "action_items": Kept(_RECORD),
}


def prunes() -> Iterator[Prune]:
    """What deletes, in its order."""
    for policy in POLICIES.values():
        if isinstance(policy, Pruned):
            yield from policy.by
