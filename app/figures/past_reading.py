"""What is read for each place at a past moment, and what was not recorded of it.

As `app.figures.reading`, by facts of that moment (`app.figures.past`). Imported by `app.reader`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from app import snapshot
from app.figures import (
    ab_tests,
    alert_rows,
    incidents,
    jobs,
    ledger,
    models,
    places,
    prompt_versions,
    reading,
    releases,
    replays,
    rollouts,
    runbooks,
)
from app.figures.facts import Facts
from app.figures.reading import AB_TESTS, INCIDENTS, JOBS, REPLAYS, ROLLOUTS, Part
from app.snapshot import Query
from storage.past import requests as past_requests
from storage.past import rollouts as past_rollouts
from storage.store import Session


async def _traffic(s: Session, facts: Facts, query: Query) -> snapshot.Traffic:
    del s, query
    return places.traffic(facts)


async def _rollouts(s: Session, facts: Facts, query: Query) -> tuple[snapshot.RolloutRow, ...]:
    del query
    found = await past_rollouts.tail(s, facts.now_us, ROLLOUTS)
    return tuple(rollouts.row(facts, each) for each in found)


async def _rollout(s: Session, facts: Facts, query: Query) -> snapshot.Rollout:
    return await rollouts.full_at(s, query.rollout, facts)


async def _requests(s: Session, facts: Facts, query: Query) -> snapshot.Requests:
    return await reading.request_rows(s, query, facts.now_us)


async def _incidents(s: Session, facts: Facts, query: Query) -> snapshot.Incidents:
    return await incidents.rows_at(s, query.incident, facts.now_us, limit=INCIDENTS)


async def _incident(s: Session, facts: Facts, query: Query) -> snapshot.Incident:
    return await incidents.full_at(s, query.incident, facts.now_us)


async def _releases(s: Session, facts: Facts, query: Query) -> snapshot.Releases:
    del query
    return await releases.read_at(s, facts)


async def _replays(s: Session, facts: Facts, query: Query) -> tuple[snapshot.ReplayRow, ...]:
    del query
    return await replays.rows(s, limit=REPLAYS, at_us=facts.now_us)


async def _replay(s: Session, facts: Facts, query: Query) -> snapshot.Replay:
    return await replays.full(s, query.replay, facts.now_us)


async def _runbooks(s: Session, facts: Facts, query: Query) -> snapshot.Runbooks:
    del query
    return await runbooks.read_at(s, facts.home, facts.now_us)


async def _run(s: Session, facts: Facts, query: Query) -> snapshot.BookRun:
    return await runbooks.full_at(s, facts.home, query.run, facts.now_us)


async def _job(s: Session, facts: Facts, query: Query) -> snapshot.Job:
    return await jobs.full(s, query.job, facts.now_us)


async def _prompt(s: Session, facts: Facts, query: Query) -> snapshot.Prompt:
    return await prompt_versions.full_at(s, query.prompt, query.against, facts.now_us)


async def _ab_tests(s: Session, facts: Facts, query: Query) -> snapshot.AbTests:
    return await ab_tests.read(s, query.ab_test, limit=AB_TESTS, at_us=facts.now_us)


async def _jobs(s: Session, facts: Facts, query: Query) -> tuple[snapshot.JobRow, ...]:
    del query
    return await jobs.rows(s, limit=JOBS, at_us=facts.now_us)


async def _models(s: Session, facts: Facts, query: Query) -> tuple[snapshot.ModelRow, ...]:
    del query
    return await models.rows(s, facts.now_us)


async def _prompts(s: Session, facts: Facts, query: Query) -> snapshot.Prompts:
    return await prompt_versions.rows_at(
        s, facts.now_us, limit=query.limit, text_filter=query.filter, chosen=query.prompt,
        against=query.against,
    )  # fmt: skip


async def _ledger(s: Session, facts: Facts, query: Query) -> snapshot.Ledger:
    return await ledger.rows(s, limit=query.limit, text_filter=query.filter, until_us=facts.now_us)


async def _alerts(s: Session, facts: Facts, query: Query) -> snapshot.Alerts:
    return await alert_rows.read_at(s, query.alert, facts.now_us)


async def _request(s: Session, facts: Facts, query: Query) -> snapshot.Request:
    found = await past_requests.find(s, query.request, facts.now_us)
    opinions = await past_requests.feedback_of(s, found.id, facts.now_us)
    return await reading.whole_request(s, facts, found, opinions)


PARTS: Final[Mapping[str, Part]] = {
    "pulse": reading.PARTS["pulse"],
    "traffic": _traffic,
    "rollouts": _rollouts,
    "rollout": _rollout,
    "requests": _requests,
    "request": _request,
    "releases": _releases,
    "incidents": _incidents,
    "incident": _incident,
    "prompts": _prompts,
    "prompt": _prompt,
    "replays": _replays,
    "replay": _replay,
    "runbooks": _runbooks,
    "run": _run,
    "job": _job,
    "models": _models,
    "ab-tests": _ab_tests,
    "jobs": _jobs,
    "alerts": _alerts,
    "cost": reading.PARTS["cost"],
    "gpu": reading.PARTS["gpu"],
    "ledger": _ledger,
}
"""The places that can be shown as of a past moment."""

NOT_RECORDED: Final[Mapping[str, str]] = {
    "prompts": "Whether a label was protected is not shown of a past moment.",
    "prompt": "Whether a label was protected is not shown of a past moment.",
    "releases": "Whether a release could answer then is not recorded.",
    "replay": "Which release a replay had loaded is not recorded.",
    "runbooks": "Runbooks are shown as their files are now.",
    "run": "Values that a step looked at while it was under way are not recorded.",
    "job": "How far a job was is not recorded.",
    "models": "Lineage, files and checks are the current ones; what was in memory is not recorded.",
    "ab-tests": "What a running A/B test had counted by then is not recorded.",
    "jobs": "How far a job was is not recorded.",
    "alerts": "The health of alert rules and the backlog of receivers are not recorded.",
}
"""What is missing of a past moment, by the place that would show it."""
