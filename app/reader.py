"""One look at the box: asks node and gateway, reads the store, builds the snapshot.

What seldom changes (services, releases, intents) is read again only when the ledger has grown or
five seconds have passed; processes are read at each look, and measurements are topped up. It loads
the database's libraries, so `app.poller` imports it late; `paddock status` does, too.
"""

from __future__ import annotations

import getpass
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from app import liveness, snapshot
from app.figures import past, past_reading, places, reading
from app.figures import rollouts as rollout_figures
from app.figures.facts import LEAST_TOP, SECOND_US, Facts
from app.recent_samples import Recent
from app.snapshot import Query
from storage import (
    alert_rounds,
    alerts,
    availability,
    deployments,
    errors,
    incidents,
    intents,
    ledger,
    models,
    notifications,
    prices,
    processes,
    prompts,
    releases,
    rollouts,
    services,
    silences,
    upstream_health,
)
from storage.home import config
from storage.home.paths import Home
from storage.services import Service
from storage.splits import Split
from storage.store import Session, Store

_AGAIN_US: Final = 5 * SECOND_US
_INTENTS: Final = 40
_ENTRIES: Final = 120
_SPLITS: Final = 8
_DRIVER: Final = Path("/proc/driver/nvidia/version")


class Reader:
    """Looks again and again, and remembers what need not be read anew."""

    def __init__(
        self,
        home: Home,
        store: Store,
        *,
        now_us: Callable[[], int],
        answer_s: float = liveness.ANSWER_S,
    ) -> None:
        self._home = home
        self._store = store
        self._now_us = now_us
        self.facts = Facts(
            now_us=now_us(),
            node=snapshot.Node.ASKING,
            person=snapshot.Person(name=_login()),
            host=platform.node() or "host",
            recent=Recent(),
            home=home,
            driver=_DRIVER.exists(),
            top=LEAST_TOP,
        )
        self.liveness = liveness.Liveness(home, self.facts.person.name, answer_s=answer_s)
        self._gateway = config.Gateway()
        self._read_config()
        self._entry = -1
        self._kept: tuple[int, Query, object] | None = None
        self._read_us = -_AGAIN_US
        self._then: snapshot.Snapshot | None = None

    async def close(self) -> None:
        """Release what asks the gateway; the store is the caller's."""
        await self.liveness.close()

    async def ask(self) -> bool:
        """Ask node and gateway whether they live; whether anything changed since the last time."""
        changed = await self.liveness.look(self._gateway)
        self.facts.node = self.liveness.answers.node
        self.facts.person = self.liveness.answers.person
        self.facts.answers = self.liveness.answers
        return changed

    async def read(self, query: Query) -> snapshot.Snapshot:
        """The snapshot for a place, by the last `ask`; what the place does not show is left out."""
        facts = self.facts
        facts.now_us = self._now_us()
        async with self._store.read() as s:
            await facts.recent.top_up(s, facts.now_us // SECOND_US)
            await self._records(s)
            if query.at_us is not None:
                return await self._past(s, query, query.at_us)
            try:
                part = await self._part(s, query)
            except errors.NotFound as error:
                part = {"missing": str(error)}
        return snapshot.Snapshot(
            query=query,
            header=places.header(facts),
            latest=rollout_figures.newest(facts),
            **part,
        )

    async def _past(self, s: Session, query: Query, at_us: int) -> snapshot.Snapshot:
        """The snapshot of a past moment; it is read once, for it does not change."""
        if self._then is not None and self._then.query == query:
            return self._then
        try:
            facts = await past.facts(s, at_us, self.facts, self._settings)
        except errors.NotFound as error:
            return snapshot.Snapshot(query=query, header=_before(self.facts, at_us, str(error)))
        found: dict[str, Any] = {}
        try:
            if (part := past_reading.PARTS.get(query.place)) is not None:
                found = {query.place.replace("-", "_"): await part(s, facts, query)}
        except errors.NotFound as error:
            found = {"missing": str(error)}
        if facts.past is not None and query.place in past_reading.NOT_RECORDED:
            missing = past_reading.NOT_RECORDED[query.place]
            facts.past = replace(facts.past, unknown=(*facts.past.unknown, missing))
        self._then = snapshot.Snapshot(
            query=query,
            header=places.header(facts),
            latest=rollout_figures.newest(facts),
            **found,
        )
        return self._then

    async def _part(self, s: Session, query: Query) -> dict[str, Any]:
        """What the open place shows, by its field of the snapshot, which has its name.

        Raises:
            NotFound: the place is about something that is not there.
        """
        part = reading.PARTS.get(query.place)
        if part is None:
            return {}
        if query.place not in reading.SELDOM:
            found = await part(s, self.facts, query)
        elif self._kept is not None and self._kept[:2] == (self._entry, query):
            found = self._kept[2]
        else:
            found = await part(s, self.facts, query)
            self._kept = self._entry, query, found
        return {query.place.replace("-", "_"): found}

    def _read_config(self) -> None:
        settings, problem = config.readable(self._home)
        self._gateway = settings.gateway
        self.facts.price = settings.price
        self._settings = settings
        self.facts.config_problem = problem

    async def _records(self, s: Session) -> None:
        """Read what people and parts have changed, if anything."""
        facts = self.facts
        facts.processes = await processes.every(s)
        facts.upstreams = await upstream_health.every(s)
        facts.alerts = await alerts.active(s)
        facts.silences = await silences.lasting(s, facts.now_us)
        facts.undelivered = await notifications.backlog(s)
        facts.alert_round = await alert_rounds.last(s)
        facts.alert_faults = await alert_rounds.faults(s)
        newest = await ledger.tail(s, limit=1)
        entry = newest[0].id if newest else 0
        age = facts.now_us - self._read_us
        if entry == self._entry and 0 <= age < _AGAIN_US:
            return
        self._read_config()
        known = await prices.listed(s, facts.price)
        facts.prices, facts.currency = known.at(facts.now_us // SECOND_US), known.currency
        facts.run = await processes.node_now(s)
        facts.intents = await intents.tail(s, limit=_INTENTS)
        if entry != self._entry:
            facts.served = await releases.upstreams(s)
            facts.services = await services.every(s)
            facts.histories = {
                each.name: await _history(s, each, facts.histories.get(each.name, ()))
                for each in facts.services
            }
            asked = [each.intent_id for past in facts.histories.values() for each in past]
            facts.reasons = await intents.reasons(s, [each for each in asked if each is not None])
            facts.models, facts.placed = await _releases(s)
            facts.deployments = await deployments.every(s)
            found = [await rollouts.latest(s, each.name) for each in facts.services]
            facts.rollouts = [each for each in found if each is not None]
            facts.incidents = await incidents.open_ones(s)
            facts.entries = await ledger.tail(s, limit=_ENTRIES)
            facts.deaths = {
                each.name: await processes.last_death(s, each.name)
                for each in facts.processes
                if each.restarts
            }
        facts.unready = await _unready(s, facts.rollouts)
        self._entry, self._read_us = entry, facts.now_us


def _before(live: Facts, at_us: int, why: str) -> snapshot.Header:
    """The first row where nothing had been recorded."""
    return snapshot.Header(
        host=live.host,
        person=live.person,
        node=snapshot.Node.ABSENT,
        now_us=at_us,
        past=(why,),
        error=why,
    )


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid{os.getuid()}"


async def _history(s: Session, service: Service, known: Sequence[Split]) -> Sequence[Split]:
    """The newest splits of a service, read where they are not known from the last look."""
    if known and known[0].id == service.split.id:
        return known
    only = service.version == 1  # it has the split that it was created with
    return [service.split] if only else await services.history(s, service.name, limit=_SPLITS)


async def _releases(s: Session) -> tuple[dict[int, tuple[str, str]], dict[int, str]]:
    """By release: the names of its model and its prompt version; and its deployment.

    A release on a server that loads no registered file is named for the model it asks that for.
    """
    known = {each.id: each.name for each in await models.every(s)}
    every = await releases.every(s)
    worded = await prompts.names_of(s, [each.prompt_version_id or 0 for each in every])
    named, placed = {}, {}
    for each in every:
        asked = each.upstream or each.server
        model = known.get(each.model_version_id or 0) or (asked.model if asked else "")
        named[each.number] = model, worded.get(each.prompt_version_id or 0, "")
        placed[each.number] = each.deployment
    return named, placed


async def _unready(s: Session, led: Sequence[rollouts.Rollout]) -> dict[int, str]:
    """Of the releases that an undo leads back to, those that do not answer now, and why."""
    back = [each.stable for each in led if each.stable and each.state is rollouts.State.COMPLETED]
    found = await availability.every(s, back) if back else {}
    return {
        number: each.reason
        for number, each in found.items()
        if each.can is not availability.Can.ANSWER
    }
