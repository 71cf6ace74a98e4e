"""What is read for each place, by the field of the snapshot that has its name.

A place without a row here shows nothing of the store but row 1. Each part is one read of the store,
and raises NotFound where the place is about something that is not there. Imported by `app.reader`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from app import snapshot
from app.figures import (
    ab_tests,
    alert_rows,
    charts,
    cost,
    gpus,
    incidents,
    jobs,
    ledger,
    models,
    places,
    prompt_versions,
    releases,
    replays,
    rollouts,
    runbooks,
)
from app.figures import requests as request_figures
from app.figures.facts import Facts
from app.snapshot import Query
from storage import availability, keys, requests
from storage.requests import Feedback, Request
from storage.store import Session

Part = Callable[[Session, Facts, Query], Awaitable[object]]

JOBS: Final = 200
ROLLOUTS: Final = 100
AB_TESTS: Final = 50
REPLAYS: Final = 100
INCIDENTS: Final = 100

SELDOM: Final = frozenset({"prompts", "prompt", "runbooks", "ledger"})
"""Places that show only what people change: read again once the ledger has grown."""


async def _pulse(s: Session, facts: Facts, query: Query) -> snapshot.Pulse:
    del s, query
    found = places.pulse(facts)
    facts.top = next(each.top for each in found.charts if each.title == charts.TOKENS)
    return found


async def _traffic(s: Session, facts: Facts, query: Query) -> snapshot.Traffic:
    del query
    facts.available = await availability.every(s)
    return places.traffic(facts)


async def _rollouts(s: Session, facts: Facts, query: Query) -> tuple[snapshot.RolloutRow, ...]:
    del query
    return await rollouts.rows(s, facts, limit=ROLLOUTS)


async def _rollout(s: Session, facts: Facts, query: Query) -> snapshot.Rollout:
    return await rollouts.full(s, query.rollout, facts)


async def _releases(s: Session, facts: Facts, query: Query) -> snapshot.Releases:
    del query
    facts.available = await availability.every(s)
    return await releases.read(s, facts)


async def _requests(s: Session, facts: Facts, query: Query) -> snapshot.Requests:
    del facts
    return await request_rows(s, query)


async def request_rows(s: Session, query: Query, until_us: int | None = None) -> snapshot.Requests:
    """The last requests, of all or of those that had ended at a moment."""
    found = await requests.tail(
        s, limit=query.limit + 1, text_filter=query.filter or None, until_us=until_us
    )
    return snapshot.Requests(
        rows=tuple(request_figures.row(each) for each in found[: query.limit]),
        filter=query.filter,
        more=len(found) > query.limit,
    )


async def _request(s: Session, facts: Facts, query: Query) -> snapshot.Request:
    found = await requests.find(s, query.request)
    return await whole_request(s, facts, found, await requests.feedback_of(s, found.id))


async def whole_request(
    s: Session, facts: Facts, found: Request, opinions: Sequence[Feedback]
) -> snapshot.Request:
    """One request with what clients said of it, and its text."""
    named = {each.id: each.name for each in await keys.every(s)}
    service = next((each for each in facts.services if each.name == found.service), None)
    return request_figures.full(
        found,
        key=named.get(found.key_id, ""),
        model=facts.models.get(found.release or 0, ("", ""))[0],
        records_text=service is not None and service.record_text,
        opinions=opinions,
        text=await requests.text_of(s, found.id),
    )


async def _prompts(s: Session, facts: Facts, query: Query) -> snapshot.Prompts:
    del facts
    return await prompt_versions.rows(
        s, limit=query.limit, text_filter=query.filter, chosen=query.prompt, against=query.against
    )


async def _prompt(s: Session, facts: Facts, query: Query) -> snapshot.Prompt:
    del facts
    return await prompt_versions.full(s, query.prompt, query.against)


async def _models(s: Session, facts: Facts, query: Query) -> tuple[snapshot.ModelRow, ...]:
    del facts, query
    return await models.rows(s)


async def _ab_tests(s: Session, facts: Facts, query: Query) -> snapshot.AbTests:
    del facts
    return await ab_tests.read(s, query.ab_test, limit=AB_TESTS)


async def _replays(s: Session, facts: Facts, query: Query) -> tuple[snapshot.ReplayRow, ...]:
    del facts, query
    return await replays.rows(s, limit=REPLAYS)


async def _replay(s: Session, facts: Facts, query: Query) -> snapshot.Replay:
    del facts
    return await replays.full(s, query.replay)


async def _jobs(s: Session, facts: Facts, query: Query) -> tuple[snapshot.JobRow, ...]:
    del facts, query
    return await jobs.rows(s, limit=JOBS)


async def _job(s: Session, facts: Facts, query: Query) -> snapshot.Job:
    del facts
    return await jobs.full(s, query.job)


async def _alerts(s: Session, facts: Facts, query: Query) -> snapshot.Alerts:
    return await alert_rows.read(s, query.alert, facts)


async def _cost(s: Session, facts: Facts, query: Query) -> snapshot.Cost:
    return await cost.read(s, query.cost_by, facts)


async def _gpu(s: Session, facts: Facts, query: Query) -> snapshot.Gpus:
    del s, query
    return gpus.gpus(facts)


async def _ledger(s: Session, facts: Facts, query: Query) -> snapshot.Ledger:
    del facts
    return await ledger.rows(s, limit=query.limit, text_filter=query.filter)


async def _incidents(s: Session, facts: Facts, query: Query) -> snapshot.Incidents:
    return await incidents.rows(s, query.incident, facts.now_us, limit=INCIDENTS)


async def _incident(s: Session, facts: Facts, query: Query) -> snapshot.Incident:
    return await incidents.full(s, query.incident, facts.now_us)


async def _runbooks(s: Session, facts: Facts, query: Query) -> snapshot.Runbooks:
    del query
    return await runbooks.read(s, facts.home)


async def _run(s: Session, facts: Facts, query: Query) -> snapshot.BookRun:
    return await runbooks.full(s, facts.home, query.run, facts.now_us)


PARTS: Final[Mapping[str, Part]] = {
    "pulse": _pulse,
    "traffic": _traffic,
    "rollouts": _rollouts,
    "rollout": _rollout,
    "releases": _releases,
    "requests": _requests,
    "request": _request,
    "prompts": _prompts,
    "prompt": _prompt,
    "models": _models,
    "ab-tests": _ab_tests,
    "replays": _replays,
    "replay": _replay,
    "alerts": _alerts,
    "cost": _cost,
    "gpu": _gpu,
    "ledger": _ledger,
    "incidents": _incidents,
    "incident": _incident,
    "jobs": _jobs,
    "job": _job,
    "runbooks": _runbooks,
    "run": _run,
}
