"""The budgets of a gateway: which requests they admit, and how much of each is spent.

One counter for each budget and its day or month. It begins with what the store knows, so it
survives restarts, and grows when a request ends. A request that begins reserves the most that it
is expected to cost (`expected_costs`), in the same step that decides, so that many at once do not
pass a limit together. What the store knows is read again every few seconds, with the energy that
was measured meanwhile. Never writes. Imported by the gateway.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import structlog

from engine.execution import failures
from engine.execution.job import Job
from engine.execution.recorder import Recorder
from engine.metering.budget_counters import Counter
from engine.metering.expected_costs import ExpectedCosts
from storage import box_usage, budgets, costs, errors, ledger, prices, releases, usage
from storage.box_usage import BoxUsage
from storage.budgets import Standing
from storage.home import config
from storage.prices import QUARTER_S, PriceList
from storage.requests import Request
from storage.store import Session, Store
from storage.usage import Usage

EVERY_S: Final = 10
CODE: Final = "budget_spent"
RESERVED: Final = "budget_reserved"
_SOON_US: Final = 2_000_000
_SECOND_US: Final = 1_000_000
_CHANGES: Final = 100
_LATELY_S: Final = 2 * QUARTER_S
_NOUNS: Final = frozenset({"price", "budget", "key", "release", "service"})
"""Changes of these may change what a budget counts, or at which price."""

_Row = TypeVar("_Row", Usage, BoxUsage)

_log = structlog.get_logger("gateway.budgets")


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
        self._costs = ExpectedCosts(PriceList([], settings), {})
        self._key_names: dict[int, str] = {}
        self._entry = -1
        self._replaced = store.replaced
        self._closed_s = 0
        self._read_us = 0
        self.currency = settings.currency

    @property
    def counters(self) -> tuple[Counter, ...]:
        """All budgets in their windows."""
        return tuple(self._counters)

    def admit(self, job: Job) -> None:
        """Reserve the most that a request is expected to cost.

        Raises:
            failures.Overloaded: a budget that it counts towards is spent, or what is left of it is
                reserved by requests that have not ended.
        """
        used = _of_job(job)
        concerned = [e for e in self._counters if e.budget.counts(used, self._key_names)]
        if not concerned:
            return
        now_s = self._now_us() // _SECOND_US
        pico = self._costs.most(job, now_s)
        for counter in concerned:
            if not counter.budget.refuse or now_s >= counter.end_s or counter.fits(pico):
                continue
            if counter.full():
                raise failures.Overloaded(
                    self._refusal(counter), code=CODE,
                    retry_after_us=(counter.end_s - now_s) * _SECOND_US,
                )  # fmt: skip
            raise failures.Overloaded(
                f"what is left of {counter.budget.words} is reserved by {len(counter.reserved)} "
                "requests that have not ended; try again when they have, or ask for fewer tokens",
                code=RESERVED, retry_after_us=_SOON_US,
            )  # fmt: skip
        for counter in concerned:
            counter.reserved[job.id] = pico

    def ended(self, request: Request) -> int | None:
        """Count a request that has ended; what it cost, as far as that is known, in pico-units.

        None without a price. Energy is counted as computing lately took it, and by what the box
        measured when the store is read again.
        """
        used = usage.of(request)
        pico = self._costs.of(used)
        for counter in self._counters:
            if counter.budget.counts(used, self._key_names):
                counter.settle(request.id, pico or 0)
        return pico

    async def refresh(self) -> None:
        """Read again what was spent: every few seconds, and when prices or budgets were set."""
        now_us = self._now_us()
        try:
            if self._store.replaced != self._replaced:
                self._entry, self._replaced = -1, self._store.replaced
            entry, whole = ledger.glimpse(self._store), False
            if entry != self._entry:
                async with self._store.read() as s:
                    whole = await self._concerned(s)
            self._entry = entry
            rested = now_us - self._read_us >= EVERY_S * _SECOND_US or now_us < self._read_us
            if whole or (rested and (self._counters or self._costs.energetic(self._now_s))):
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
            lately_s = min(since_s, now_s - _LATELY_S) // QUARTER_S * QUARTER_S
            rows = await usage.between(s, lately_s, now_s + 1)
            box = await box_usage.between(s, lately_s, now_s + 1)
        first_s = since_s // QUARTER_S * QUARTER_S
        bill = await asyncio.to_thread(
            costs.bill, _since(rows, first_s), _since(box, first_s), listed, serves
        )
        closed_s = now_s // QUARTER_S * QUARTER_S - QUARTER_S
        earlier = {(each.budget.name, each.budget.period): each for each in self._counters}
        counters = []
        for budget, (begin, end) in zip(known, windows, strict=True):
            last = earlier.get((budget.name, budget.period))
            counter = Counter(budget, begin, end)
            if last is not None:
                counter.follow(last, ended_before=before.get(id(last), 0), whole=whole)
            counter.charge(bill.charges, names, closed_s)
            _tell(last, counter)
            counters.append(counter)
        self._counters = counters
        self._costs.reprice(listed, serves)
        self._costs.learn(_since(rows, now_s - _LATELY_S), _since(box, now_s - _LATELY_S))
        self._key_names, self._closed_s, self._read_us = names, closed_s, now_us
        self.currency = listed.currency

    @property
    def _now_s(self) -> int:
        return self._now_us() // _SECOND_US

    def _refusal(self, counter: Counter) -> str:
        place = dt.datetime.fromtimestamp(counter.end_s, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
        limit = f"{counter.budget.limit_micro / 1e6:.2f} {self.currency}"
        return f"{counter.budget.words} ({limit}) is spent; it is renewed at {place}"


def _since(rows: Iterable[_Row], second: int) -> list[_Row]:
    return [each for each in rows if each.quarter_s >= second]


def _of_job(job: Job) -> Usage:
    """A usage that counts towards the same budgets as a job."""
    return Usage(
        quarter_s=0, service=job.service, release=job.release.number, tenant=job.tenant,
        key_id=job.key_id, deployment=job.release.deployment,
    )  # fmt: skip


def _tell(last: Counter | None, now: Counter) -> None:
    if now.standing is not Standing.WITHIN and (last is None or last.standing is not now.standing):
        _log.warning("a budget is nearly spent" if now.standing is Standing.WARNED
                     else "a budget is spent", budget=now.budget.name)  # fmt: skip
