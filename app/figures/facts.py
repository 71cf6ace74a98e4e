"""What one read of the store gave, and the window of the traffic figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from app import liveness, recent_samples, snapshot
from app.recent_samples import Recent
from storage import (
    alert_rounds,
    alerts,
    availability,
    deployments,
    incidents,
    intents,
    ledger,
    measures,
    notifications,
    processes,
    rollouts,
    services,
    silences,
    splits,
    tallies,
    upstream_health,
)
from storage.budgets import Memory
from storage.home import config
from storage.home import paths as homes
from storage.home.paths import Home
from storage.prices import Prices

SECOND_US: Final = 1_000_000
LEAST_TOP: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What is particular to facts of a past moment.

    `unknown` says in sentences what is not known of it. Where its seconds are deleted, `tallies`
    has the requests by arm of `window`, which is as wide as the roll-ups that are left.
    """

    unknown: tuple[str, ...] = ()
    tallies: Mapping[str, tallies.Tally] = field(default_factory=dict)
    window: measures.Window | None = None


@dataclass(slots=True, kw_only=True)
class Facts:
    """What is known after a look."""

    now_us: int
    node: snapshot.Node
    person: snapshot.Person
    host: str
    recent: Recent
    home: Home = field(default_factory=homes.find)
    driver: bool = False
    answers: liveness.Answers | None = None  # of node and gateway, once they were asked
    config_problem: str = ""  # why config.toml cannot be used; the defaults are shown then
    run: processes.NodeRun | None = None
    services: Sequence[services.Service] = ()
    histories: Mapping[str, Sequence[splits.Split]] = field(default_factory=dict)
    reasons: Mapping[int, str] = field(default_factory=dict)
    """That people gave for splits, by the intent."""
    models: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    """By release: the names of its model version and of its prompt version."""
    placed: Mapping[int, str] = field(default_factory=dict)
    """By release: the deployment that answers for it."""
    alerts: Sequence[alerts.Alert] = ()
    """The pending and firing ones, the worst first."""
    alert_round: alert_rounds.Round | None = None
    """The last evaluation of alert rules."""
    alert_faults: Mapping[str, str] = field(default_factory=dict)
    """By alert rule that could not be evaluated: why."""
    silences: Sequence[silences.Silence] = ()
    undelivered: Mapping[str, notifications.Backlog] = field(default_factory=dict)
    """By receiver: the notifications that it has not accepted."""
    incidents: Sequence[incidents.Incident] = ()
    """The open ones, oldest first."""
    rollouts: Sequence[rollouts.Rollout] = ()
    """The newest of each service."""
    unready: Mapping[int, str] = field(default_factory=dict)
    """By release that an undo of a rollout leads back to: why it does not answer now."""
    available: Mapping[int, availability.Availability] = field(default_factory=dict)
    """By release: what it would do with a request; read for the traffic place."""
    deployments: Sequence[deployments.Deployment] = ()
    upstreams: Mapping[str, upstream_health.Health] = field(default_factory=dict)
    processes: Sequence[processes.Process] = ()
    deaths: Mapping[str, str] = field(default_factory=dict)
    """By process that was restarted: how it ended the last time."""
    intents: Sequence[intents.Intent] = ()
    entries: Sequence[ledger.Entry] = ()
    prices: Prices = field(default_factory=Prices)
    served: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    """By release that an upstream answers for: the upstream's name and its model."""
    currency: str = "USD"
    price: config.Price = field(default_factory=config.Price)
    """What config.toml says of prices."""
    cost: tuple[int, snapshot.Cost] | None = None
    """The bill that was made last, and when (UTC microseconds)."""
    budgets: tuple[int, int, tuple[snapshot.BudgetRow, ...]] | None = None
    """The budgets that were read last, when, and the newest entry of the ledger then."""
    spent_before: Memory = field(default_factory=Memory)
    """What the days before today cost, for budgets by the month."""
    past: Past | None = None
    """Given where `now_us` is a past moment, and nothing here is current."""
    top: float = LEAST_TOP  # of the chart of tokens at the last look

    @property
    def rolled(self) -> measures.Window | None:
        """The window of roll-ups, where the seconds of a past moment are deleted."""
        return None if self.past is None else self.past.window

    @property
    def end(self) -> int:
        """The last second that is looked at: now, or the last that was measured before a stop."""
        newest = None if self.past is not None else self.recent.newest
        if newest is not None and not self.node.runs:
            return newest
        return self.now_us // SECOND_US

    @property
    def begin_us(self) -> int:
        """Where the window of the traffic figures begins."""
        if self.rolled is not None:
            return self.rolled.begin * SECOND_US
        begin = (self.end + 1) * SECOND_US - recent_samples.WINDOW_US
        if self.run is None or not self.node.runs:
            return begin
        if self.run.started_at_us > self.now_us:  # the clock was set back: the start is unknown
            return begin
        return max(begin, self.run.started_at_us)

    @property
    def window_us(self) -> int:
        """How long that window is."""
        if self.rolled is not None:
            return self.rolled.seconds * SECOND_US
        return max((self.end + 1) * SECOND_US - self.begin_us, SECOND_US)


def traffic_window(facts: Facts) -> snapshot.TrafficWindow:
    """The window and the price of the traffic figures."""
    return snapshot.TrafficWindow(
        window_us=facts.window_us,
        currency=facts.currency,
        priced=facts.prices != Prices(),
        until_us=_until_us(facts),
        synthetic=measures.synthetic_share(whole(facts, traffic(facts).values())),
    )


def _until_us(facts: Facts) -> int | None:
    if facts.rolled is not None:
        return (facts.rolled.end + 1) * SECOND_US
    return None if facts.node.runs else (facts.end + 1) * SECOND_US


def window(facts: Facts) -> measures.Window:
    """That window in whole seconds."""
    if facts.rolled is not None:
        return facts.rolled
    return measures.Window(facts.begin_us // SECOND_US, facts.end)


def traffic(facts: Facts) -> dict[str, measures.Traffic]:
    """What was measured in that window, by arm (support/r14)."""
    span, found = window(facts), {}
    if facts.past is not None and facts.past.window is not None:
        return {
            arm: measures.Traffic(tally=tally, seconds=span.seconds, measured=True)
            for arm, tally in facts.past.tallies.items()
        }
    for arm, seconds in facts.recent.arms.items():
        inside = [tally for at, tally in seconds.items() if span.begin <= at <= span.end]
        if inside:
            found[arm] = measures.Traffic(
                tally=tallies.total(inside), seconds=facts.window_us / SECOND_US, measured=True
            )
    return found


def whole(facts: Facts, parts: Iterable[measures.Traffic]) -> measures.Traffic:
    """Several arms as one."""
    return measures.total(parts, window(facts))
