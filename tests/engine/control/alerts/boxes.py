"""A store in which a test plays gateway and clock, and control evaluates alert rules.

Control's rounds are real; `restart` makes them anew, as after a crash.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from engine.control.alerts.rounds import LAG_S, Rounds
from storage import alert_events, alert_rule_versions, alerts, samples, services
from storage import store as stores
from storage.alert_rules import Rule, Severity
from storage.alerts import Alert, State
from storage.exported_series import STEP_S
from storage.home import paths as homes
from storage.home.paths import Home
from storage.samples import Kind
from storage.store import Session, Store
from storage.tallies import Tally
from tests.storage import fixtures

SECOND_US: Final = 1_000_000
BEGINNING_S: Final = 1_800_000_000 - 1_800_000_000 % STEP_S

ERRORS: Final = Rule(
    name="errors",
    expression=(
        'sum by (service) (rate(paddock_requests_total{outcome="failed"}[1m])) '
        '/ sum by (service) (rate(paddock_requests_total{outcome=~"ok|failed"}[1m])) > 0.1'
    ),
    for_s=60,
    samples='sum by (service) (increase(paddock_requests_total{outcome=~"ok|failed"}[1m]))',
    min_samples=10,
    severity=Severity.CRITICAL,
    summary="{{ $labels.service }} fails {{ $value | humanizePercentage }}",
    runbook="high-error-rate",
)


class Box:
    """The box: a service `support` on r1, and the rule `errors` alone."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.second = BEGINNING_S
        self.monotonic_us = 0
        self.restart()

    def restart(self) -> None:
        """Control dies and is started again."""
        self.rounds = Rounds(
            self.store,
            now_us=lambda: (self.second + LAG_S) * SECOND_US,
            monotonic_us=lambda: self.monotonic_us,
        )

    async def furnish(self, *rules: Rule) -> None:
        """The service and the rules."""

        async def work(s: Session) -> None:
            weights = await fixtures.model(s)
            stable = await fixtures.release(s, weights)
            await services.create(
                s, name="support", release=stable.number, record_text=False, actor="sara", at_us=4
            )
            for name in await alert_rule_versions.in_force(s):
                await alert_rule_versions.remove(s, name, actor="sara", at_us=5, intent_id=None)
            await self.set(s, *rules)

        await self.store.write(work)

    async def set(self, s: Session, *rules: Rule) -> None:
        """Put rules in force."""
        for rule in rules:
            await alert_rule_versions.set(s, rule, actor="sara", at_us=6, intent_id=None)

    async def serve(self, steps: int = 1, *, ok: int = 0, failed: int = 0) -> None:
        """So many requests end in each of so many steps of 15 s, each followed by a round."""
        for _ in range(steps):
            self.pass_step()
            if ok or failed:
                tally = Tally(requests=ok + failed, ok=ok, failed=failed)
                await self.record(Kind.ARM, "support/r1", tally.sample())
            await self.rounds.once()

    def pass_step(self) -> None:
        """15 seconds pass."""
        self.second += STEP_S
        self.monotonic_us += STEP_S * SECOND_US

    async def record(self, kind: Kind, subject: str, sample: samples.Sample) -> None:
        """The gateway writes a sample of this second."""
        second = self.second

        async def work(s: Session) -> None:
            await samples.record(s, second, [(kind, subject, sample)])

        await self.store.write(work)

    async def active(self) -> list[Alert]:
        """What is pending or firing."""
        async with self.store.read() as s:
            return await alerts.active(s)

    async def states(self) -> list[State]:
        """Their states."""
        return [alert.state for alert in await self.active()]

    async def moves(self) -> list[str]:
        """All moves so far, as pending, firing, inactive."""
        async with self.store.read() as s:
            return [event.after.value for event in await alert_events.since(s, 0)]


@asynccontextmanager
async def made(root: Path, *rules: Rule) -> AsyncIterator[Box]:
    """A box in a new home."""
    store = await stores.open(homes.make(Home(root)))
    try:
        box = Box(store)
        await box.furnish(*(rules or (ERRORS,)))
        yield box
    finally:
        await store.close()
