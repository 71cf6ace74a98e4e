"""The budgets of a gateway: which request may begin, and what of a budget is spent by now.

One counter for each budget and its day or month. It begins with what the store knows, so it
survives restarts, and grows when a request ends. A request that begins reserves what requests of
its scope cost lately, in the same step that decides, so that many at once do not pass a limit
together; it is exceeded by no more than requests cost above that mean. What the store knows is
read again every few seconds, with the energy that was measured meanwhile. Never writes. Imported by
the gateway.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from engine.execution import failures
from engine.execution.job import Job
from engine.execution.recorder import Recorder
from storage import box_usage, budgets, costs, errors, ledger, prices, releases, usage
from storage.budgets import Budget, Standing
from storage.home import config
from storage.prices import QUARTER_S, PriceList
from storage.requests import Request
from storage.store import Session, Store
from storage.usage import Usage

EVERY_S: Final = 10
CODE: Final = "budget_spent"
_SECOND_US: Final = 1_000_000
_KEEP: Final = 0.9
_CHANGES: Final = 100
_NOUNS: Final = frozenset({"price", "budget", "key", "release", "service"})
"""What a change of may change who is counted, and at which price."""

_log = structlog.get_logger("gateway.budgets")


@dataclass(slots=True)
class Counter:
    """One budget in its current window; money in pico-units."""

    budget: Budget
    begin_s: int
    end_s: int
    closed: int = 0
    """Of the quarter hours of this window that are over: they are not read again."""
    stored: int = 0
    ended: int = 0
    usual: int = 0
    """What requests of this scope cost lately: a mean that forgets."""
    reserved: dict[str, int] = field(default_factory=dict)

    @property
    def spent(self) -> int:
        """By requests that have ended."""
        return self.stored + self.ended

    @property
    def standing(self) -> Standing:
        """How far it is spent."""
        return self.budget.standing(costs.micro(self.spent))

    def full(self) -> bool:
        """Whether no further request fits."""
        committed = self.spent + sum(self.reserved.values())
        return costs.micro(committed) >= self.budget.limit_micro

    def settle(self, id: str, pico: int) -> None:
        """A request has ended and cost so much."""
        self.reserved.pop(id, None)
        self.ended += pico
        self.usual = pico if not self.usual else round(self.usual * _KEEP + pico * (1 - _KEEP))


class Budgets:
    """Admits requests by budgets; `refresh` follows the store."""

    def __init__(
        self, store: Store, recorder: Recorder, settings: config.Price, *, now_us: Callable[[], int]
    ) -> None:
        self._store = store
        self._recorder = recorder
        self._settings = settings
        self._now_us = now_us
        self._counters: list[Counter] = []
        self._prices = PriceList([], settings)
        self._serves: dict[int, tuple[str, str]] = {}
        self._key_names: dict[int, str] = {}
        self._entry = -1
        self._closed_s = 0
        self._read_us = 0
        self.currency = settings.currency

    @property
    def counters(self) -> tuple[Counter, ...]:
        """All budgets in their windows."""
        return tuple(self._counters)

    def admit(self, job: Job) -> None:
        """Reserve what a request may cost.

        Raises:
            failures.Overloaded: a budget that it counts towards is spent.
        """
        used = _of_job(job)
        concerned = [e for e in self._counters if e.budget.counts(used, self._key_names)]
        now_s = self._now_us() // _SECOND_US
        for counter in concerned:
            if counter.budget.refuse and now_s < counter.end_s and counter.full():
                raise failures.Overloaded(
                    self._refusal(counter), code=CODE,
                    retry_after_us=(counter.end_s - now_s) * _SECOND_US,
                )  # fmt: skip
        for counter in concerned:
            counter.reserved[job.id] = counter.usual

    def ended(self, request: Request) -> int | None:
        """Count a request that has ended; what it cost as far as is known now, in pico-units.

        None without a price. Energy comes later, with what the box measured.
        """
        used = usage.of(request)
        bill = costs.bill([used], [], self._prices, self._serves)
        pico = bill.charges[0].pico
        for counter in self._counters:
            if counter.budget.counts(used, self._key_names):
                counter.settle(request.id, pico or 0)
        return pico

    async def refresh(self) -> None:
        """Read again what was spent: every few seconds, and when prices or budgets were set."""
        now_us = self._now_us()
        try:
            async with self._store.read() as s:
                entry = await ledger.newest(s)
                whole = entry != self._entry and await self._concerned(s)
            self._entry = entry
            rested = now_us - self._read_us >= EVERY_S * _SECOND_US or now_us < self._read_us
            if whole or (self._counters and rested):
                await self._read(now_us, whole=whole)
        except errors.StorageError as error:
            self._entry = -1  # read all of it once that is possible
            _log.warning("budgets are not read", error=str(error))

    async def _concerned(self, s: Session) -> bool:
        """Whether what followed the last known entry of the ledger may change any figure."""
        if self._entry < 0:
            return True
        changes = await ledger.changes(s, self._entry, _CHANGES)
        return len(changes) >= _CHANGES or any(each.noun in _NOUNS for each in changes)

    async def _read(self, now_us: int, *, whole: bool) -> None:
        """Read the usage of all windows, or that of the quarter hours that may still change."""
        before = {id(each): each.ended for each in self._counters}
        await self._recorder.flush()
        if self._recorder.trouble is not None:
            raise errors.Unavailable(self._recorder.trouble)
        now_s = now_us // _SECOND_US
        async with self._store.read() as s:
            known = await budgets.every(s)
            names, serves = await budgets.key_names(s), await releases.upstreams(s)
            listed = await prices.listed(s, self._settings)
            windows = [each.window(now_s, self._settings.time_zone) for each in known]
            begin_s = min((begin for begin, _ in windows), default=now_s)
            since_s = begin_s if whole else max(begin_s, self._closed_s)
            rows = await usage.between(s, since_s, now_s + 1) if known else []
            box = await box_usage.between(s, since_s, now_s + 1) if known else []
        bill = await asyncio.to_thread(costs.bill, rows, box, listed, serves)
        closed_s = now_s // QUARTER_S * QUARTER_S - QUARTER_S
        earlier = {(each.budget.name, each.budget.period): each for each in self._counters}
        counters = []
        for budget, (begin, end) in zip(known, windows, strict=True):
            last = earlier.get((budget.name, budget.period))
            counter = Counter(budget, begin, end)
            if last is not None:
                counter.usual, counter.reserved = last.usual, last.reserved
                if last.begin_s == begin:  # what ended while the store was read comes on top
                    counter.ended = last.ended - before.get(id(last), 0)
                    counter.closed = 0 if whole else last.closed
            charges = [
                c for c in bill.charges if c.usage.quarter_s >= begin // QUARTER_S * QUARTER_S
            ]
            settled = [c for c in charges if c.usage.quarter_s < closed_s]
            counter.stored = counter.closed + budget.spent_pico(charges, names)
            counter.closed += budget.spent_pico(settled, names)
            _tell(last, counter)
            counters.append(counter)
        self._counters, self._prices, self._serves = counters, listed, serves
        self._key_names, self._closed_s, self._read_us = names, closed_s, now_us
        self.currency = listed.currency

    def _refusal(self, counter: Counter) -> str:
        place = dt.datetime.fromtimestamp(counter.end_s, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
        limit = f"{counter.budget.limit_micro / 1e6:.2f} {self.currency}"
        return f"{counter.budget.words} ({limit}) is spent; it is renewed at {place}"


def _of_job(job: Job) -> Usage:
    """What tells which budgets a job counts towards."""
    return Usage(
        quarter_s=0, service=job.service, release=job.release.number, tenant=job.tenant,
        key_id=job.key_id, deployment=job.release.deployment,
    )  # fmt: skip


def _tell(last: Counter | None, now: Counter) -> None:
    if now.standing is not Standing.WITHIN and (last is None or last.standing is not now.standing):
        _log.warning("a budget is nearly spent" if now.standing is Standing.WARNED
                     else "a budget is spent", budget=now.budget.name)  # fmt: skip
