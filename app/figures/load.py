"""What instances do now, one by one, by deployment and together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from app import recent_samples, snapshot
from app.figures.facts import Facts
from app.recent_samples import NOW_S
from storage import instance_work, processes, samples
from storage.instance_work import Work
from storage.processes import State
from storage.samples import InstanceSample


def loads(facts: Facts) -> dict[str, snapshot.Load]:
    """What each instance with current samples does now, by name."""
    return {name: _load([work]) for name, work in _works(facts).items()}


def by_deployment(facts: Facts) -> dict[str, snapshot.Load]:
    """What each deployment does now: its instances together."""
    grouped: dict[str, list[Work]] = {}
    for name, work in _works(facts).items():
        grouped.setdefault(samples.deployment(name), []).append(work)
    return {name: _load(works) for name, works in grouped.items()}


def together(facts: Facts) -> snapshot.Load | None:
    """All instances with current samples as one, with what the gateway holds."""
    works, held = _works(facts), held_now(facts)
    if not works and not held:
        return None
    load = _load(list(works.values()))
    return replace(load, waiting=load.waiting + held, held=held)


def held_now(facts: Facts) -> int:
    """The requests in the gateway that no instance counts yet."""
    since = held_since(facts)
    return 0 if since is None else facts.recent.gateway[max(facts.recent.gateway)].held


def held_since(facts: Facts) -> int | None:
    """The second from which on the gateway has held requests without a break; None: it has none."""
    rows = facts.recent.gateway
    if facts.node is snapshot.Node.DOWN or not rows:
        return None
    if max(rows) <= facts.end - recent_samples.FRESH_S:
        return None
    since = None
    for second in sorted(rows, reverse=True):
        if not rows[second].held:
            break
        since = second
    return since


def _works(facts: Facts) -> dict[str, Work]:
    """The work of the instances that do any: a dead or silent one has no current samples."""
    if facts.node is snapshot.Node.DOWN:
        return {}
    gone = {each.name for each in facts.processes if not _works_now(each)}
    found = {
        name: _work(rows, facts.end)
        for name, rows in facts.recent.instances.items()
        if name not in gone
    }
    return {name: work for name, work in found.items() if work is not None}


def _works_now(process: processes.Process) -> bool:
    return process.state in {State.READY, State.DRAINING} and process.silent_since_us is None


def _work(rows: Mapping[int, InstanceSample], end: int) -> Work | None:
    """The last ten seconds of an instance; None once it has no current sample.

    A quiet instance has a row every four seconds, which covers the seconds before it.
    """
    if max(rows) <= end - recent_samples.FRESH_S:
        return None
    return instance_work.of([row for at, row in sorted(rows.items()) if at > end - NOW_S])


def _load(works: Sequence[Work]) -> snapshot.Load:
    last = [work.last for work in works]
    limits = [row.max_running for row in last if row.max_running is not None]
    waits = [row.oldest_waiting_us for row in last if row.oldest_waiting_us is not None]
    return snapshot.Load(
        running=sum(map(_running, last)),
        max_running=sum(limits) if last and len(limits) == len(last) else None,
        kv=instance_work.kv_use(last),
        waiting=sum(row.waiting for row in last),
        oldest_us=max(waits, default=None),
        tokens_per_s=instance_work.generation_rate(works),
        busy=instance_work.busy_share(works),
    )


def _running(row: InstanceSample) -> int:
    """The largest batch of the second, which ends with fewer sequences than it computed."""
    most = max(row.running, row.batch_max or 0)
    return most if row.max_running is None else min(most, row.max_running)


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of what was measured; None when nothing was."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
