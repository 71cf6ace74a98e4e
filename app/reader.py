"""One look at the box: reads the store, asks the control socket when in doubt, builds the snapshot.

What seldom changes (services, releases, parts, intents) is read again only when the ledger has
grown or five seconds have passed; measurements are topped up. It loads the database's libraries,
so it is imported late, by `app.poller` alone.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Final

from app import node_client, snapshot
from app.figures import charts, places
from app.figures import jobs as job_figures
from app.figures import requests as request_figures
from app.figures.facts import LEAST_TOP, SECOND_US, Facts
from app.recent_samples import Recent
from app.snapshot import Query
from storage import (
    deployments,
    errors,
    intents,
    keys,
    ledger,
    models,
    processes,
    prompts,
    releases,
    requests,
    services,
    upstreams,
)
from storage.control_socket import client
from storage.home import config
from storage.home.paths import Home
from storage.store import Session, Store

_AGAIN_US: Final = 5 * SECOND_US
_SILENT_US: Final = 3 * SECOND_US  # without measurements for so long, the control socket is asked
_ASK_AGAIN_US: Final = 2 * SECOND_US
_NODE_ANSWER_S: Final = 2.0
_INTENTS: Final = 40
_ENTRIES: Final = 120
_JOBS: Final = 200
_DRIVER: Final = Path("/proc/driver/nvidia/version")


class Reader:
    """Looks again and again, and remembers what need not be read anew."""

    def __init__(self, home: Home, store: Store, *, now_us: Callable[[], int]) -> None:
        self._home = home
        self._store = store
        self._now_us = now_us
        self.facts = Facts(
            now_us=now_us(),
            node=snapshot.Node.ASKING,
            person=snapshot.Person(name=_login()),
            host=platform.node() or "host",
            recent=Recent(),
            driver=_DRIVER.exists(),
            top=LEAST_TOP,
        )
        self._read_config()
        self._entry = -1
        self._read_us = -_AGAIN_US
        self._asked_us = -_ASK_AGAIN_US

    async def read(self, query: Query) -> snapshot.Snapshot:
        """The snapshot for a place; the parts that it does not show are left out."""
        facts = self.facts
        facts.now_us = self._now_us()
        request, missing, rows = None, "", None
        queue, job = None, None
        async with self._store.read() as s:
            await facts.recent.top_up(s, facts.now_us // SECOND_US)
            await self._records(s)
            if query.place == "requests":
                rows = await _requests(s, query)
            elif query.place == "request":
                try:
                    request = await _request(s, query.request, facts)
                except errors.NotFound as error:
                    missing = str(error)
            elif query.place == "jobs":
                queue = await job_figures.rows(s, limit=_JOBS)
            elif query.place == "job":
                try:
                    job = await job_figures.full(s, query.job)
                except errors.NotFound as error:
                    missing = str(error)
        await self._ask()
        pulse = places.pulse(facts) if query.place == "pulse" else None
        if pulse is not None:
            facts.top = next(each.top for each in pulse.charts if each.title == charts.TOKENS)
        return snapshot.Snapshot(
            header=places.header(facts),
            pulse=pulse,
            traffic=places.traffic(facts) if query.place == "traffic" else None,
            requests=rows,
            request=request,
            jobs=queue,
            job=job,
            missing=missing,
        )

    def _read_config(self) -> None:
        settings, problem = config.readable(self._home)
        self.facts.gateway = node_client.url(self._home, settings.gateway)
        self.facts.gpu_hour_micro = settings.price.gpu_hour_micro
        self.facts.currency = settings.price.currency
        self.facts.config_problem = problem

    async def _records(self, s: Session) -> None:
        """Read what people and parts have changed, if anything."""
        facts = self.facts
        newest = await ledger.tail(s, limit=1)
        entry = newest[0].id if newest else 0
        age = facts.now_us - self._read_us
        if entry == self._entry and 0 <= age < _AGAIN_US:
            return
        self._read_config()
        facts.run = await processes.node_now(s)
        facts.processes = await processes.every(s)
        facts.upstreams = await upstreams.health(s)
        facts.intents = await intents.tail(s, limit=_INTENTS)
        if entry != self._entry:
            facts.services = await services.every(s)
            facts.histories = {
                each.name: await services.history(s, each.name, limit=8) for each in facts.services
            }
            facts.models, facts.placed = await _releases(s)
            facts.deployments = await deployments.every(s)
            facts.entries = await ledger.tail(s, limit=_ENTRIES)
        self._entry, self._read_us = entry, facts.now_us

    async def _ask(self) -> None:
        """Find out whether the node lives: fresh measurements say so, else its control socket does.

        After the clock went back, measurements of the time before look fresh once more.
        """
        facts = self.facts
        newest = None if facts.recent.ahead is not None else facts.recent.newest
        fresh = newest is not None and facts.now_us - newest * SECOND_US < _SILENT_US
        known = facts.node is not snapshot.Node.ASKING and bool(facts.person.role)
        if fresh and known:
            facts.node = snapshot.Node.UP
            facts.unwritten = False
            return
        if 0 <= facts.now_us - self._asked_us < _ASK_AGAIN_US:
            return
        self._asked_us = facts.now_us
        try:
            async with asyncio.timeout(_NODE_ANSWER_S):
                person = await client.who(self._home)
        except (errors.NodeIsDown, TimeoutError):
            facts.node = snapshot.Node.DOWN
            facts.person = snapshot.Person(name=facts.person.name)
        except errors.StorageError:  # it lives and does not know us
            facts.node = snapshot.Node.UP
            facts.person = snapshot.Person(name=facts.person.name, role="nobody")
        else:
            facts.node = snapshot.Node.UP
            facts.person = snapshot.Person(name=person.name, role=person.role)
        up = facts.node is snapshot.Node.UP
        facts.unwritten = up and await node_client.trouble(self._home) is not None


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid{os.getuid()}"


async def _releases(s: Session) -> tuple[dict[int, tuple[str, str]], dict[int, str]]:
    """By release: the names of its model and its prompt version; and its deployment.

    A release on a server that loads no registered file is named for the model it asks that for.
    """
    known = {each.id: each.name for each in await models.every(s)}
    worded = {each.id: each.name for each in await prompts.every(s)}
    named, placed = {}, {}
    for each in await releases.every(s):
        asked = each.upstream or each.server
        model = known.get(each.model_version_id or 0) or (asked.model if asked else "")
        named[each.number] = model, worded.get(each.prompt_version_id or 0, "")
        placed[each.number] = each.deployment
    return named, placed


async def _requests(s: Session, query: Query) -> snapshot.Requests:
    found = await requests.tail(s, limit=query.limit + 1, text_filter=query.filter or None)
    return snapshot.Requests(
        rows=tuple(request_figures.row(each) for each in found[: query.limit]),
        filter=query.filter,
        more=len(found) > query.limit,
    )


async def _request(s: Session, id: str, facts: Facts) -> snapshot.Request:
    found = await requests.find(s, id)
    named = {each.id: each.name for each in await keys.every(s)}
    service = next((each for each in facts.services if each.name == found.service), None)
    return request_figures.full(
        found,
        key=named.get(found.key_id, ""),
        model=facts.models.get(found.release or 0, ("", ""))[0],
        records_text=service is not None and service.record_text,
        opinions=await requests.feedback_of(s, found.id),
        text=await requests.text_of(s, found.id),
    )
