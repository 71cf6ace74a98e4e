"""The tables of measurements that can be exported: their columns, and their rows over a range.

The name of a column ends with its unit where it has one: `_us` microseconds (moments are UTC since
1970), `_s` seconds, `_bytes`, `_mw` milliwatts, `_c` degrees Celsius, `_percent`, `_ratio` 0 to 1,
`_micro` millionths of the currency. What was not measured is None. Prompts and answers are in no
table. Imported by `app.commands.measures`.
"""

from __future__ import annotations

import types
import typing
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import msgspec

from app import errors, words
from app.exports.formats import Cell, Field
from storage import (
    alerts,
    costs,
    incidents,
    measures,
    prices,
    requests,
    rollup_rows,
    rollups,
    samples,
    spending,
)
from storage.home import config
from storage.measures import Traffic, Unit, Window
from storage.rollups import Span
from storage.samples import Kind
from storage.store import Store

_SECOND_US: Final = 1_000_000
_STRETCH_S: Final = 600
"""Seconds that are read at once."""
_DAY_S: Final = 86_400
_PAGE: Final = 1_000


class What(StrEnum):
    """What is exported."""

    HOST = "host"
    GPU = "gpu"
    GATEWAY = "gateway"
    INSTANCE = "instance"
    ARMS = "arms"
    SERVICES = "services"
    TENANTS = "tenants"
    REQUESTS = "requests"
    ALERTS = "alerts"
    INCIDENTS = "incidents"
    COSTS = "costs"


STEPPED: Final = frozenset({What.ARMS, What.SERVICES, What.TENANTS})
"""What has a row for each step of time; the others have one for each thing, or second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """From one second (UTC) up to, not including, another; `step_s` for what is stepped."""

    begin_s: int
    end_s: int
    step_s: int = 60
    service: str | None = None


Rows = AsyncIterator[Sequence[Cell]]
_Column = tuple[Field, Callable[[Any], Cell]]


def fields(what: What) -> list[Field]:
    """The columns of a table."""
    if what in STEPPED:
        return [*_STEP, *_MEASURED]
    if what in _KINDS:
        return [Field("second_s", int), Field(what.value, str), *(f for f, _ in _KINDS[what][1])]
    return [field for field, _ in _RECORDS[what]]


async def rows(store: Store, what: What, of: Range, price: config.Price) -> Rows:
    """The rows of a table over a range, oldest first.

    Raises:
        BadWord: the roll-ups that are left are coarser than the step.
    """
    if what in STEPPED:
        found = _stepped(store, what, of)
    elif what in _KINDS:
        found = _sampled(store, *_KINDS[what], of)
    else:
        found = _recorded(store, what, of, price)
    async for row in found:
        yield row


async def _stepped(store: Store, what: What, of: Range) -> Rows:
    read = measures.by_tenant if what is What.TENANTS else measures.by_arm
    begin = of.begin_s // of.step_s * of.step_s
    while begin < of.end_s:
        window = Window(begin, begin + of.step_s - 1)
        async with store.read() as s:
            _check_step(await rollups.mark(s), window)
            found = await read(s, window, service=of.service)
        if what is What.SERVICES:
            parts: dict[str, list[Traffic]] = {}
            for arm, traffic in found.items():
                parts.setdefault(arm.partition("/")[0], []).append(traffic)
            found = {name: measures.total(each, window) for name, each in parts.items()}
        for subject, traffic in sorted(found.items()):
            yield [begin, of.step_s, subject, *(each.of(traffic) for each in _MEASURES)]
        begin += of.step_s


def _check_step(known: rollups.Mark, window: Window) -> None:
    """A step that is finer than what is left would be given the figures of all around it."""
    if rollups.kept(known, window.begin, window.end + 1) == (window.begin, window.end + 1):
        return
    left = Span.MINUTE if window.begin >= known.minutes_from_s else Span.HOUR
    left = left if window.begin >= known.hours_from_s else Span.DAY
    step = {Span.MINUTE: "1m", Span.HOUR: "1h", Span.DAY: "1d"}[left]
    raise errors.BadWord(
        f"At {words.clock(window.begin * _SECOND_US)} only roll-ups by the {left.name.lower()} are "
        f"left; write --step {step} or a multiple of it, or a later --from."
    )


async def _sampled(store: Store, kind: Kind, columns: Sequence[_Column], of: Range) -> Rows:
    begin = of.begin_s
    while begin < of.end_s:
        end = min(begin + _STRETCH_S, of.end_s) - 1
        async with store.read() as s:
            following = await rollup_rows.next_second(s, kind, begin)
            if following is None or following >= of.end_s:
                return
            if following > end:
                begin = following
                continue
            found: list[tuple[int, str, Any]] = await samples.since(s, begin, kind, end)  # type: ignore[call-overload]
        for second, subject, sample in found:
            yield [second, subject, *(cell(sample) for _, cell in columns)]
        begin = end + 1


async def _recorded(store: Store, what: What, of: Range, price: config.Price) -> Rows:
    columns = _RECORDS[what]
    reads = {What.REQUESTS: _requests, What.ALERTS: _alerts, What.INCIDENTS: _incidents}
    found = _costs(store, of, price) if what is What.COSTS else reads[what](store, of)
    async for record in found:
        yield [cell(record) for _, cell in columns]


async def _requests(store: Store, of: Range) -> AsyncIterator[Any]:
    begin_us, end_us = of.begin_s * _SECOND_US, of.end_s * _SECOND_US
    async with store.read() as s:
        number, until = await requests.numbers(s, begin_us, end_us)
    number -= 1
    while number < until:
        async with store.read() as s:
            found = await requests.after(s, number, until, _PAGE, service=of.service)
        if not found:
            return
        for _, request in found:
            if begin_us <= request.at_us < end_us:
                yield request
        number = found[-1][0]


async def _alerts(store: Store, of: Range) -> AsyncIterator[Any]:
    last = 0
    while True:
        async with store.read() as s:
            found = await alerts.during(
                s, of.begin_s * _SECOND_US, of.end_s * _SECOND_US, after=last, limit=_PAGE
            )
        for alert in found:
            if of.service is None or alert.labels.get("service") == of.service:
                yield alert
        if len(found) < _PAGE:
            return
        last = found[-1].id


async def _incidents(store: Store, of: Range) -> AsyncIterator[Any]:
    async with store.read() as s:
        found = await incidents.tail(s, 2**31, service=of.service)
    for incident in reversed(found):
        until_us = incident.until_us(of.end_s * _SECOND_US)
        if incident.began_at_us < of.end_s * _SECOND_US and until_us >= of.begin_s * _SECOND_US:
            yield incident


async def _costs(store: Store, of: Range, price: config.Price) -> AsyncIterator[Any]:
    begin = of.begin_s // prices.QUARTER_S * prices.QUARTER_S
    while begin < of.end_s:
        async with store.read() as s:
            bill = await spending.bill(s, begin, min(begin + _DAY_S, of.end_s), price)
        for charge in bill.charges:
            if of.service in {None, charge.usage.service}:
                yield charge.usage, charge.pico, bill.currency
        for idle in bill.idle if of.service is None else ():
            yield _Idle(quarter_s=idle.quarter_s), idle.pico, bill.currency
        begin += _DAY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class _Idle:
    """A row of what no request used: the names are empty, the counts unknown."""

    quarter_s: int
    service: None = None
    release: None = None
    tenant: None = None
    key_id: None = None
    deployment: None = None
    requests: None = None
    prompt_tokens: None = None
    cached_tokens: None = None
    completion_tokens: None = None
    busy_us: None = None


_SUFFIXES: Final[Mapping[Unit, str]] = {Unit.RATIO: "_ratio", Unit.MICROSECONDS: "_us"}
_MEASURES: Final = tuple(measures.MEASURES.values())
_MEASURED: Final = [Field(each.name + _SUFFIXES.get(each.unit, ""), float) for each in _MEASURES]
_STEP: Final = (Field("begin_s", int), Field("step_s", int), Field("subject", str))


def _of(
    struct: Any, units: Mapping[str, str] = {}, *, leave: frozenset[str] = frozenset()
) -> list[_Column]:
    """A column for each field of a struct; `units` are those that its name does not end with.

    What is not a plain value is written as JSON.
    """
    made = []
    for each in msgspec.structs.fields(struct):
        if each.name in leave:
            continue
        type_, plain = _type(each.type)
        unit = units.get(each.name, "") if plain else "json"
        name = each.encode_name + (f"_{unit}" if unit else "")
        made.append((Field(name, type_), _cell(each.name, type_, plain=plain)))
    return made


def _type(annotated: Any) -> tuple[Any, bool]:
    """The type of a cell, and whether the value is one as it is."""
    options = [each for each in typing.get_args(annotated) if each is not type(None)]
    union = typing.get_origin(annotated) in {typing.Union, types.UnionType}
    bare = options[0] if union else annotated
    for known in (bool, int, float, str):
        if isinstance(bare, type) and issubclass(bare, known):
            return known, True
    return str, False


def _cell(name: str, type_: Any, *, plain: bool) -> Callable[[Any], Cell]:
    def cell(record: Any) -> Cell:
        value = getattr(record, name)
        if value is None:
            return None
        return type_(value) if plain else msgspec.json.encode(value).decode()

    return cell


_BYTES: Final = dict.fromkeys(("memory_used", "memory_total", "disk_used", "disk_total"), "bytes")
_KINDS: Final[Mapping[What, tuple[Kind, Sequence[_Column]]]] = {
    What.HOST: (Kind.HOST, _of(samples.HostSample, _BYTES)),
    What.GPU: (
        Kind.GPU,
        _of(samples.GpuSample, _BYTES, leave=frozenset({"processes", "index"})),
    ),
    What.GATEWAY: (Kind.GATEWAY, _of(samples.GatewaySample)),
    What.INSTANCE: (Kind.INSTANCE, _of(samples.InstanceSample, {"kv_share": "ratio"})),
}
_USED: Final = (
    ("quarter_s", int), ("service", str), ("release", int), ("tenant", str), ("key_id", int),
    ("deployment", str), ("requests", int), ("prompt_tokens", int), ("cached_tokens", int),
    ("completion_tokens", int), ("busy_us", int),
)  # fmt: skip


def _used(name: str) -> Callable[[Any], Cell]:
    return lambda row: getattr(row[0], name)


_RECORDS: Final[Mapping[What, Sequence[_Column]]] = {
    What.REQUESTS: _of(requests.Request, leave=frozenset({"unit", "seed"})),
    What.ALERTS: _of(alerts.Alert, leave=frozenset({"began_clock_us", "unmet_clock_us"})),
    What.INCIDENTS: _of(incidents.Incident),
    What.COSTS: [
        *((Field(name, type_), _used(name)) for name, type_ in _USED),
        (Field("cost_micro", int), lambda row: None if row[1] is None else costs.micro(row[1])),
        (Field("currency", str), lambda row: row[2]),
    ],
}
