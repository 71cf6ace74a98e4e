"""The impact of an incident: which requests of clients it met, counted from the store.

Reads only, and counts requests in class background nowhere: no person waits for them. Read by
`engine.control`, `runbooks` and `app`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from storage import costs, measures, requests, spending
from storage.home import config
from storage.incidents import Incident
from storage.measures import Window
from storage.requests import Class, Outcome
from storage.rollout_evidence import EXECUTED, REQUESTS, counted

_SECOND_US: Final = 1_000_000
BEFORE_S: Final = 3_600
"""How long before an incident its services are measured for comparison."""


class Met(msgspec.Struct, frozen=True, kw_only=True):
    """What clients of one service met, and how that service did in the hour before.

    `requests` were executed, `failed` of them failed; `refused` were not executed. `users`,
    `keys` and `tenants` are how many different ones got no answer. Rates are shares, 0 to 1; times
    are in microseconds. `spent_micro` is what the requests of the quarter hours cost that the
    incident touches, in micro-units. None: not measured, or without a price.
    """

    service: str
    requests: int
    failed: int
    refused: int
    users: int
    keys: int
    tenants: int
    error_rate: float | None
    error_rate_before: float | None
    latency_p95: float | None
    latency_p95_before: float | None
    spent_micro: int | None = None


class Impact(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted from `begin_us` to `end_us`, service by service; `final`: it has ended."""

    begin_us: int
    end_us: int
    final: bool
    services: tuple[Met, ...]
    currency: str = ""

    @property
    def minutes(self) -> float:
        """How long clients were affected."""
        return (self.end_us - self.begin_us) / (60 * _SECOND_US)

    @property
    def unanswered(self) -> int:
        """Requests that failed or were refused."""
        return sum(each.failed + each.refused for each in self.services)


async def count(
    s: AsyncSession, incident: Incident, now_us: int, price: config.Price | None = None
) -> Impact:
    """The impact so far: on its service, or on every service where it names none.

    A request counts where it arrived while clients were affected. One that is still under way, or
    was deleted by retention, is not among them.
    """
    begin, end = incident.began_at_us, incident.until_us(now_us)
    request = REQUESTS.c
    lost = request.outcome.in_((Outcome.FAILED.value, Outcome.REFUSED.value))
    hit = [case((lost, each)) for each in (request.unit, request.key_id, request.tenant)]
    query = (
        select(
            request.service,
            counted(request.outcome.in_(EXECUTED)),
            counted(request.outcome == Outcome.FAILED.value),
            counted(request.outcome == Outcome.REFUSED.value),
            func.count(func.nullif(hit[0], requests.UNNAMED).distinct()),
            func.count(hit[1].distinct()),
            func.count(hit[2].distinct()),
        )
        .where(request.at_us.between(begin, end), request["class"] != Class.BACKGROUND.value)
        .group_by(request.service)
        .order_by(request.service)
    )
    if incident.service is not None:
        query = query.where(request.service == incident.service)
    rows = [tuple(row) for row in await s.execute(query)]
    bill = await spending.bill(
        s, begin // _SECOND_US, end // _SECOND_US + 1, price or config.Price()
    )
    spent = {line.name: line.micro for line in costs.lines(bill, lambda used: used.service)}
    return Impact(
        begin_us=begin,
        end_us=end,
        final=end < now_us,
        services=tuple([await _met(s, row, begin, end, spent.get(row[0])) for row in rows]),
        currency=bill.currency,
    )


async def _met(
    s: AsyncSession, row: tuple[Any, ...], begin_us: int, end_us: int, spent_micro: int | None
) -> Met:
    name, total, failed, refused, users, keys, tenants = row
    first, last = begin_us // _SECOND_US, end_us // _SECOND_US
    during = await measures.traffic(s, Window(first, last), service=name)
    before = await measures.traffic(s, Window(first - BEFORE_S, first - 1), service=name)
    return Met(
        service=name,
        requests=total,
        failed=failed,
        refused=refused,
        users=users,
        keys=keys,
        tenants=tenants,
        error_rate=measures.error_rate(during),
        error_rate_before=measures.error_rate(before),
        latency_p95=measures.latency(during, 0.95),
        latency_p95_before=measures.latency(before, 0.95),
        spent_micro=spent_micro,
    )
