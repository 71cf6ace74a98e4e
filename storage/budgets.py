"""Budgets: how much a key, a service or a tenant may cost in a day or a month, and what follows.

A budget counts the costs of requests, idle time excluded, within the calendar day or month of the
time zone under `[price]`. It warns from a share of its limit on; at the limit it refuses, or only
warns. Written by `engine.control`, enforced by the gateway (`engine.metering.budgets`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import costs, errors, keys, ledger, services, spending
from storage.costs import Bill, Charge
from storage.home import config
from storage.usage import Usage

WARN_PERCENT: Final = 80
_LONGEST: Final = 64
_MEMORY_S: Final = 3_600
_DAY_S: Final = 86_400


class Scope(StrEnum):
    """Whose requests a budget counts."""

    KEY = "key"
    SERVICE = "service"
    TENANT = "tenant"


class Period(StrEnum):
    """How long a budget lasts before it is renewed."""

    DAY = "day"
    MONTH = "month"


class Standing(StrEnum):
    """How far a budget is spent."""

    WITHIN = "within"
    WARNED = "warned"
    SPENT = "spent"


class BudgetRow(SQLModel, table=True):
    """A budget as it is stored."""

    __tablename__: ClassVar[str] = "budgets"

    scope: str = Field(primary_key=True)
    subject: str = Field(primary_key=True)
    period: str = Field(primary_key=True)
    limit_micro: int
    warn_percent: int
    refuse: bool
    set_at_us: int
    set_by: str
    intent_id: int | None


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """A budget; money in micro-units of the box's currency."""

    scope: Scope
    subject: str
    period: Period
    limit_micro: int
    warn_percent: int = WARN_PERCENT
    refuse: bool = True
    set_at_us: int = 0
    set_by: str = ""

    @property
    def name(self) -> str:
        """As people name it: key/demo."""
        return f"{self.scope.value}/{self.subject}"

    @property
    def words(self) -> str:
        """What it is of: the daily budget of key demo."""
        often = "daily" if self.period is Period.DAY else "monthly"
        return f"the {often} budget of {self.scope.value} {self.subject}"

    def window(self, now_s: int, zone: str) -> tuple[int, int]:
        """The beginning and the end of the day or the month that a second is in."""
        of = spending.day if self.period is Period.DAY else spending.month
        return of(now_s, zone)

    def counts(self, used: Usage, key_names: dict[int, str]) -> bool:
        """Whether usage counts towards it."""
        if self.scope is Scope.KEY:
            return key_names.get(used.key_id) == self.subject
        return self.subject == (used.service if self.scope is Scope.SERVICE else used.tenant)

    def spent_pico(self, charges: Iterable[Charge], key_names: dict[int, str]) -> int:
        """What those charges cost that count towards it."""
        return sum(charge.pico or 0 for charge in charges if self.counts(charge.usage, key_names))

    def standing(self, spent_micro: int) -> Standing:
        """How far it is spent."""
        if spent_micro >= self.limit_micro:
            return Standing.SPENT
        warned = spent_micro * 100 >= self.limit_micro * self.warn_percent
        return Standing.WARNED if warned else Standing.WITHIN


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """A budget and how much of it is spent until now; it is renewed at `renewed_s`."""

    budget: Budget
    spent_micro: int
    currency: str
    standing: Standing
    renewed_s: int
    missing: tuple[str, ...] = ()


async def every(s: AsyncSession) -> list[Budget]:
    """All budgets, by scope and subject."""
    query = select(BudgetRow).order_by(
        col(BudgetRow.scope), col(BudgetRow.subject), col(BudgetRow.period)
    )
    rows = await s.scalars(query.execution_options(populate_existing=True))
    return [msgspec.convert(row, Budget, from_attributes=True, strict=False) for row in rows]


@dataclass(slots=True)
class Memory:
    """What the days of a month before today cost, so that they are not read each time.

    Kept for an hour, and until a price or a release changes.
    """

    wanted: bool = False
    """Whether someone looked for them once."""
    read_s: int = 0
    of: tuple[int, ...] = ()
    charges: tuple[Charge, ...] = ()
    missing: tuple[str, ...] = ()

    async def before(
        self, s: AsyncSession, begin_s: int, end_s: int, now_s: int, settings: config.Price
    ) -> tuple[tuple[Charge, ...], tuple[str, ...]]:
        """The charges of a range, one for each service, tenant and key, and what has no price."""
        of = (begin_s, end_s, *[await ledger.newest(s, noun) for noun in ("price", "release")])
        if of != self.of or not 0 <= now_s - self.read_s < _MEMORY_S:
            sums: dict[tuple[str, str, int], int] = {}
            missing: dict[str, None] = {}
            for at in range(begin_s, end_s, _DAY_S):  # in parts, so that a screen is not held up
                bill = await spending.bill(s, at, min(at + _DAY_S, end_s), settings)
                missing |= dict.fromkeys(bill.missing)
                for each in bill.charges:
                    key = each.usage.service, each.usage.tenant, each.usage.key_id
                    sums[key] = sums.get(key, 0) + (each.pico or 0)
            self.charges = tuple(_together(*key, pico) for key, pico in sums.items())
            self.missing, self.of, self.read_s = tuple(sorted(missing)), of, now_s
        return self.charges, self.missing


def _together(service: str, tenant: str, key_id: int, pico: int) -> Charge:
    used = Usage(
        quarter_s=0, service=service, release=0, tenant=tenant, key_id=key_id, deployment=""
    )
    return Charge(used, pico)


async def spent(
    s: AsyncSession,
    now_s: int,
    settings: config.Price,
    known: Iterable[Budget] | None = None,
    memory: Memory | None = None,
) -> list[Spent]:
    """All budgets with how much is spent, as the store knows it: a second late.

    `known` are those of a past moment `now_s`; what is spent is counted by the quarter hour.
    """
    memory = Memory() if memory is None else memory
    names = await key_names(s)
    today_s, _ = spending.day(now_s, settings.time_zone)
    today: Bill | None = None
    found = []
    for budget in await every(s) if known is None else known:
        begin_s, end_s = budget.window(now_s, settings.time_zone)
        if today is None:
            today = await spending.bill(s, today_s, now_s + 1, settings)
        charges, missing = today.charges, today.missing
        if begin_s < today_s:
            before, lacking = await memory.before(s, begin_s, today_s, now_s, settings)
            charges, missing = (*before, *charges), tuple(sorted({*missing, *lacking}))
        micro = costs.micro(budget.spent_pico(charges, names))
        found.append(
            Spent(
                budget=budget, spent_micro=micro, currency=today.currency,
                standing=budget.standing(micro), renewed_s=end_s, missing=missing,
            )
        )  # fmt: skip
    return found


async def key_names(s: AsyncSession) -> dict[int, str]:
    """The names of all keys by their id; a key that was made anew has its name again."""
    return {key.id: key.name for key in await keys.every(s)}


async def set(
    s: AsyncSession, budget: Budget, *, actor: str, at_us: int, intent_id: int | None = None
) -> Budget | None:
    """Set a budget; returns the one that it replaces.

    Raises:
        NotFound: there is no such key or service.
        Invalid: the name is empty, very long, or has characters that no terminal shows.
    """
    if not (0 < len(budget.subject) <= _LONGEST and budget.subject.isprintable()):
        raise errors.Invalid(
            f"{budget.subject[:_LONGEST]!r} cannot have a budget: a name has 1 to {_LONGEST} "
            "printable characters."
        )
    if budget.scope is Scope.KEY:
        await keys.find(s, budget.subject)
    elif budget.scope is Scope.SERVICE:
        await services.find(s, budget.subject)
    before = await _find(s, budget.scope, budget.subject, budget.period)
    values = msgspec.structs.asdict(budget) | {"set_at_us": at_us, "set_by": actor}
    values |= {"scope": budget.scope.value, "period": budget.period.value, "intent_id": intent_id}
    await s.merge(BudgetRow(**values))
    await s.flush()
    await ledger.write(
        s, actor=actor, verb="budgets.set", noun="budget", key=budget.name, before=before,
        after=budget, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return before


async def remove(
    s: AsyncSession,
    scope: Scope,
    subject: str,
    period: Period,
    *,
    actor: str,
    at_us: int,
    intent_id: int | None = None,
) -> Budget:
    """Remove a budget.

    Raises:
        NotFound: there is none.
    """
    before = await _find(s, scope, subject, period)
    if before is None:
        raise errors.NotFound(
            f"There is no budget of {scope.value} {subject} by the {period.value}; "
            "`paddock budgets list` shows all."
        )
    await s.delete(await s.get_one(BudgetRow, (scope.value, subject, period.value)))
    await s.flush()
    await ledger.write(
        s, actor=actor, verb="budgets.remove", noun="budget", key=before.name, before=before,
        after=None, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return before


async def _find(s: AsyncSession, scope: Scope, subject: str, period: Period) -> Budget | None:
    row = await s.get(BudgetRow, (scope.value, subject, period.value), populate_existing=True)
    if row is None:
        return None
    return msgspec.convert(row, Budget, from_attributes=True, strict=False)
