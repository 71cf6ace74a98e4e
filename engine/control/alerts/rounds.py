"""The rounds of evaluation: every 15 seconds all rules, each within its bounds.

Not on the loop of `engine.control.reconcile`: a round is due by the clock and takes long, and
changes of the store must not wait for it. Computing is done in a thread. A rule that cannot be
evaluated is shown as faulty, its alerts are held as they are, and the others continue; a round that
cannot be stored is lost and the next one finds the same. Imported by `engine.control`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from engine.control.alerts import act, decide, existing, notify
from engine.control.alerts.decide import Found, Step
from engine.control.alerts.evaluate import Budget, Evaluator
from engine.control.alerts.measured import Measured
from engine.control.alerts.recording import Recording
from engine.control.alerts.sampled import Sampled
from engine.control.alerts.vectors import Database, Faulty
from engine.metering import series_of_state
from engine.metering.series_of_samples import Value
from storage import (
    alert_expressions,
    alert_rounds,
    alert_rule_versions,
    alert_rules,
    alerts,
    budgets,
    errors,
)
from storage.alert_rule_versions import Versioned
from storage.exported_series import STEP_S
from storage.store import Session, Store

LAG_S: Final = 2
"""How long after a moment it is evaluated: the gateway writes a second when it is over."""

RULE_US: Final = 1_000_000
"""How long one rule may take."""

LEAST_BACK_S: Final = 3_600
_MARGIN_S: Final = 600
_SECOND_US: Final = 1_000_000

_log = structlog.get_logger("control.alerts")


class Rounds:
    """Evaluates until cancelled."""

    def __init__(
        self,
        store: Store,
        *,
        now_us: Callable[[], int],
        monotonic_us: Callable[[], int],
    ) -> None:
        self._store = store
        self._now_us = now_us
        self._monotonic_us = monotonic_us
        self._sampled_recording = Recording()
        self._present_recording = Recording()
        self._sampled = Sampled(self._sampled_recording)
        self._measured = Measured(self._present_recording)
        self._last_us: int | None = None  # monotonic, of the last round that was stored
        self._spending = budgets.Memory()
        self._unwritten_us = 0  # in which the store took no writes, since the start
        self._failing_us: int | None = None
        self._names: frozenset[str] = frozenset()
        self._back_s = 0

    async def run(self) -> None:
        """A round at each multiple of the step."""
        while True:
            now = self._now_us()
            after = (now - LAG_S * _SECOND_US) % (STEP_S * _SECOND_US)
            await asyncio.sleep((STEP_S * _SECOND_US - after) / _SECOND_US)
            try:
                await self.once()
            except errors.StorageError as error:
                _log.warning("a round was lost", error=str(error))
            except Exception:  # noqa: BLE001 the next round is another
                _log.exception("a round failed")

    async def once(self) -> None:
        """One round: read, evaluate, decide, and store what was decided.

        Raises:
            StorageError: the store could not be read or written; nothing was decided.
        """
        began = self._monotonic_us()
        instant_s = (self._now_us() // _SECOND_US - LAG_S) // STEP_S * STEP_S
        try:
            found = await self._evaluated(instant_s)
            await self._store.write(
                lambda s: self._act(s, found, began, instant_s), durable=True, nudge=True
            )
            self._measured.written(instant_s)
        except errors.StorageError:
            if self._failing_us is None:
                self._failing_us = began
            raise
        if self._failing_us is not None:
            self._unwritten_us += began - self._failing_us
            self._failing_us = None
        self._last_us = began

    async def _evaluated(self, instant_s: int) -> dict[str, tuple[Versioned, Found]]:
        """What each rule in force finds at an instant."""
        async with self._store.read() as s:
            rules = await alert_rule_versions.in_force(s)
            names, back_s = needs([each.rule for each in rules.values() if each.rule is not None])
            await self._sampled.read(s, instant_s, names=names, back_s=back_s)
            values = await series_of_state.values(s, self._now_us(), self._spending)
            last = await alert_rounds.last(s)
            last_s = None if last is None else last.instant_s
            await self._measured.read(s, instant_s, last_s, back_s=back_s)
        self._put(instant_s, values, names, back_s)
        database = {**self._sampled_recording.series(), **self._present_recording.series()}
        return await asyncio.to_thread(self._all, rules, database, instant_s)

    def _put(
        self, instant_s: int, values: Sequence[Value], names: frozenset[str], back_s: int
    ) -> None:
        """Add the points of this moment, and forget the oldest."""
        at_ms = instant_s * 1000
        own: Value = ("paddock_store_unwritten_seconds_total", {}, self._unwritten_us / _SECOND_US)
        self._measured.put(instant_s, (*values, own), names)
        self._names, self._back_s = names, back_s
        for recording in (self._sampled_recording, self._present_recording):
            if recording.left_out:
                _log.warning("series are not alerted on", count=recording.left_out)
            recording.thin(at_ms, back_s * 1000)

    def _all(
        self, rules: Mapping[str, Versioned], database: Database, instant_s: int
    ) -> dict[str, tuple[Versioned, Found]]:
        return {
            name: (versioned, evaluated(versioned, database, instant_s, self._monotonic_us))
            for name, versioned in rules.items()
        }

    async def _act(
        self,
        s: Session,
        found: Mapping[str, tuple[Versioned, Found]],
        began: int,
        instant_s: int,
    ) -> None:
        """Decide by the alerts as they are in this transaction, and write all of it."""
        at_us = self._now_us()
        before = await alert_rounds.last(s)
        clock_us = 0 if before is None else before.clock_us
        if self._last_us is not None:
            clock_us += max(began - self._last_us, 0)
        active = await alerts.active(s)
        exists = await existing.read(s)
        steps: list[Step] = decide.orphaned(
            active, {name: each for name, (each, _) in found.items()}
        )
        for name, (versioned, seen) in found.items():
            own = [alert for alert in active if alert.rule == name]
            steps += decide.decide(
                versioned, own, seen, exists=exists, clock_us=clock_us, at_us=at_us
            )
        await act.carry_out(s, steps, found, clock_us=clock_us, at_us=at_us)
        await self._measured.write(s, instant_s, self._names, back_s=self._back_s)
        await alert_rounds.record(s, clock_us=clock_us, at_us=at_us, instant_s=instant_s)
        health = {name: (seen.outcome, seen.fault) for name, (_, seen) in found.items()}
        await alert_rounds.set_health(s, health, at_us=at_us)
        await notify.due(s, clock_us=clock_us, at_us=at_us)


def needs(rules: Sequence[alert_rules.Rule]) -> tuple[frozenset[str], int]:
    """The series that rules ask for, and how far back they look, in seconds.

    A kept rule may be refused by now; `evaluated` reports it, and the others are evaluated.
    """
    names, back_s = set[str](), LEAST_BACK_S
    for rule in rules:
        try:
            trees = [alert_rules.expression_of(rule)]
            counted = alert_rules.samples_of(rule)
        except errors.Invalid:
            continue
        if counted is not None:
            trees.append(counted[0])
        for tree in trees:
            for selector in alert_expressions.selectors(tree):
                names.add(selector.name)
                back_s = max(back_s, (selector.range_s or 0) + selector.offset_s)
    return frozenset(names), back_s + _MARGIN_S


def evaluated(
    versioned: Versioned, database: Database, instant_s: int, monotonic_us: Callable[[], int]
) -> Found:
    """What one rule finds; its faults do not affect other rules."""
    rule = versioned.rule
    assert rule is not None  # noqa: S101 rules in force have one
    until_us = monotonic_us() + RULE_US
    budget = Budget(late=lambda: monotonic_us() > until_us)
    evaluator = Evaluator(database, instant_s * 1000, budget)
    try:
        vector = evaluator.vector(alert_rules.expression_of(rule))
        counted = alert_rules.samples_of(rule)
        samples = None if counted is None else (evaluator.vector(counted[0]), counted[1])
        return decide.found(vector, samples, rule.min_samples, rule=rule.name)
    except (Faulty, errors.Invalid) as error:
        return Found(fault=str(error))
    except Exception as error:  # noqa: BLE001 the other rules continue
        _log.exception("a rule failed", rule=rule.name)
        return Found(fault=f"{type(error).__name__}: {error}")
