"""The facts of a past moment, as `app.reader` gathers those of now: read from the store alone.

Nothing current gets in: what was not recorded, or is deleted, is left out, and `Past.unknown` says
so. Requests of seconds that are deleted come from the roll-ups that are left of them. Imported by
`app.reader`.
"""

from __future__ import annotations

from typing import Final

from app import recent_samples, snapshot, words
from app.figures import alerts as alert_figures
from app.figures.facts import LEAST_TOP, SECOND_US, Facts, Past
from app.recent_samples import Recent
from storage import errors, intents, ledger, prices, rollups
from storage.home import config
from storage.measures import Window
from storage.past import alerts as past_alerts
from storage.past import deployments as past_deployments
from storage.past import incidents as past_incidents
from storage.past import intents as past_intents
from storage.past import processes as past_processes
from storage.past import rollouts as past_rollouts
from storage.past import services as past_services
from storage.past.processes import NodeThen
from storage.rollups import Mark
from storage.samples import Kind
from storage.store import Session

_INTENTS: Final = 40
_ENTRIES: Final = 120
_SPLITS: Final = 8


async def facts(s: Session, at_us: int, live: Facts, settings: config.Config) -> Facts:
    """What was known at a moment; names of models and prompts are those of `live`.

    Raises:
        NotFound: nothing had been recorded by then.
    """
    node = await past_processes.node(s, at_us, (await rollups.mark(s)).seconds_from_s)
    if node.run is None and not await ledger.tail(s, 1, until_us=at_us):
        first = await ledger.between(s, 0, at_us + 2**62, limit=1)
        since = f" It begins at {words.clock(first[0].at_us)}." if first else ""
        raise errors.NotFound(f"Nothing was recorded before {words.clock(at_us)}.{since}")
    recent = Recent()
    await recent.top_up(s, at_us // SECOND_US)
    recent.ahead = None  # what came later is no clock that was set back
    gone = alert_figures.deleted(at_us, live.now_us, settings.retention.requests_days)
    known = await prices.listed(s, settings.price)
    services = await past_services.every(s, at_us)
    histories = {
        each.name: await past_services.history(s, each, at_us, _SPLITS) for each in services
    }
    asked = [each.intent_id for splits in histories.values() for each in splits]
    led = [await past_rollouts.latest(s, each.name, at_us) for each in services]
    processes = await past_processes.every(s, node.run, at_us)
    return Facts(
        now_us=at_us,
        node=snapshot.Node.DOWN if node.alive is False else snapshot.Node.UP,
        person=live.person,
        host=live.host,
        home=live.home,
        recent=recent,
        driver=live.driver,
        run=node.run,
        services=services,
        histories=histories,
        reasons=await intents.reasons(s, [each for each in asked if each is not None]),
        models=live.models,
        placed=live.placed,
        served=live.served,
        alerts=await past_alerts.active(s, at_us),
        silences=await past_alerts.silences_of(s, at_us),
        incidents=await past_incidents.open_ones(s, at_us),
        rollouts=[each for each in led if each is not None],
        deployments=await past_deployments.every(s, at_us),
        processes=processes,
        intents=await past_intents.tail(s, at_us, _INTENTS),
        entries=await ledger.tail(s, limit=_ENTRIES, until_us=at_us),
        prices=known.at(at_us // SECOND_US),
        currency=known.currency,
        price=settings.price,
        top=LEAST_TOP,
        past=await _past(s, at_us, node, gone),
    )


async def _past(s: Session, at_us: int, node: NodeThen, gone: str) -> Past:
    mark = await rollups.mark(s)
    end = at_us // SECOND_US
    wanted = Window.last(recent_samples.WINDOW_US // SECOND_US, end)
    unknown = ["Process ids, heartbeats and the health of upstreams are not recorded."]
    unknown += [gone] if gone else []
    if node.alive is None:
        unknown.append("Whether the node ran is not known: its last signs of life are deleted.")
    if wanted.begin >= mark.seconds_from_s:
        return Past(unknown=tuple(unknown))
    begin, after = rollups.kept(mark, wanted.begin, wanted.end + 1)
    window = Window(begin, after - 1)
    tallies = await rollups.between(s, Kind.ARM, wanted.begin, wanted.end)
    unknown.append(_coarse(mark, window))
    return Past(unknown=tuple(unknown), tallies=tallies, window=window)


def _coarse(mark: Mark, window: Window) -> str:
    """What the figures are of, where the seconds are gone."""
    by = "minute" if window.begin >= mark.minutes_from_s else "hour"
    by = by if window.begin >= mark.hours_from_s else "day"
    begin, end = words.clock(window.begin * SECOND_US), words.clock((window.end + 1) * SECOND_US)
    return (
        f"The seconds of that time are deleted: requests are those from {begin} to {end}, "
        f"by the {by}; the load of host, GPUs and instances is not known."
    )
