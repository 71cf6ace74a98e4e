"""What the workers have to do now, one by one and together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from app import recent, snapshot
from app.figures.facts import Facts
from app.recent import NOW_S, Recent
from storage.samples import WorkerSample


def loads(facts: Facts) -> dict[str, snapshot.Load]:
    """What each worker that is heard has to do now, by name."""
    if facts.node is snapshot.Node.DOWN:
        return {}
    found = {}
    for name, rows in facts.recent.workers.items():
        last = max(rows)
        if last > facts.end - recent.FRESH_S:
            alone = Recent(workers={name: rows})
            found[name] = _load([rows[last]], alone, facts.end)
    return found


def together(facts: Facts) -> snapshot.Load | None:
    """All workers that are heard as one."""
    heard = loads(facts)
    if not heard:
        return None
    rows = {name: facts.recent.workers[name] for name in heard}
    last = [seconds[max(seconds)] for seconds in rows.values()]
    return _load(last, Recent(workers=rows), facts.end)


def _load(last: Sequence[WorkerSample], rows: Recent, end: int) -> snapshot.Load:
    begin = end - NOW_S + 1
    total = sum(row.kv_total_tokens for row in last)
    return snapshot.Load(
        running=sum(min(max(row.running, row.batch_max), row.max_running) for row in last),
        max_running=sum(row.max_running for row in last),
        kv=sum(row.kv_used_tokens for row in last) / total if total else None,
        waiting=sum(row.waiting for row in last),
        oldest_us=max((row.oldest_waiting_us for row in last), default=0),
        tokens_per_s=mean(rows.tokens(end, begin)),
        busy=mean(rows.busy(end, begin)),
    )


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of what was measured; None when nothing was."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
