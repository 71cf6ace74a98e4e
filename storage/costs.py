"""Costs: what was used, priced; every bill is the sum of its parts to the micro-unit.

The bill of a quarter hour is the time of its devices at the price of a GPU-hour, the energy that
was measured at the price of a kilowatt-hour, and the tokens of upstreams by their price lists. Time
and energy are divided among requests by the computing time that workers apportioned to them; the
rest is idle, which is shown apart and never spread over requests. Where workers computed longer
than the devices were there, side by side on one of them, a second of computing costs less. A worker
that is spread over several GPUs counts as one of them: the others' time is shown as idle.

Money is divided as whole units of 10^-12 (`pico`) by largest remainder, so nothing is lost or
gained, and divided again as micro-units when it is shown. A price that is missing is named, and
what it would price is unknown, not 0. Pure. Imported by every package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from storage.box_usage import BoxUsage
from storage.prices import PriceList, Prices
from storage.tallies import Tally
from storage.usage import Usage

PICO: Final = 1_000_000
"""Pico-units in a micro-unit."""
_HOUR_US: Final = 3_600 * 1_000_000
_KWH_MJ: Final = 3_600 * 1_000 * 1_000

Serves = Mapping[int, tuple[str, str]]
"""By release that an upstream answers for: the upstream's name and its model."""


def divide(total: int, weights: Sequence[int]) -> list[int]:
    """Divide a whole number by weight into whole parts that add up to it, by largest remainder.

    Of equal remainders the first gets its unit first. Without any weight all is the last part's.
    """
    whole = sum(weights)
    if not weights:
        return []
    if whole == 0:
        return [*(0 for _ in weights[1:]), total]
    parts = [total * weight // whole for weight in weights]
    rest = [total * weight % whole for weight in weights]
    for at in sorted(range(len(parts)), key=lambda i: -rest[i])[: total - sum(parts)]:
        parts[at] += 1
    return parts


@dataclass(frozen=True, slots=True)
class Charge:
    """What one row of usage costs; None where a price is missing."""

    usage: Usage
    pico: int | None


@dataclass(frozen=True, slots=True)
class Idle:
    """What the time and energy of a quarter hour cost that no request used."""

    quarter_s: int
    pico: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """The costs of a range of quarter hours; `missing` says what could not be priced, and why."""

    currency: str
    charges: tuple[Charge, ...] = ()
    idle: tuple[Idle, ...] = ()
    time_pico: int = 0
    energy_pico: int = 0
    tokens_pico: int = 0
    missing: tuple[str, ...] = ()

    @property
    def pico(self) -> int:
        """All of it."""
        return self.time_pico + self.energy_pico + self.tokens_pico

    @property
    def micro(self) -> int:
        """All of it, rounded to micro-units."""
        return micro(self.pico)

    @property
    def priced(self) -> bool:
        """Whether anything has a price."""
        return bool(self.idle) or any(charge.pico is not None for charge in self.charges)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of a bill: what requests of one group used and cost, or idle (`name` None).

    `micro` is None where nothing of it has a price; `unpriced` counts the requests without one.
    """

    name: str | None
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    busy_us: int = 0
    micro: int | None = None
    unpriced: int = 0

    @property
    def kilo_micro(self) -> int | None:
        """Micro-units per 1000 tokens, prompt and completion alike; None if any is unpriced."""
        tokens = self.prompt_tokens + self.completion_tokens
        if self.micro is None or self.unpriced or not tokens:
            return None
        return round(self.micro * 1000 / tokens)


def micro(pico: int) -> int:
    """Pico-units rounded to micro-units, half up."""
    return (pico + PICO // 2) // PICO


def amount(micro_units: int) -> str:
    """Micro-units as a number of whole units, exact and without zeros at its end: 2.5."""
    return f"{micro_units / 1_000_000:.6f}".rstrip("0").rstrip(".")


def bill(
    usage: Iterable[Usage], box: Iterable[BoxUsage], prices: PriceList, serves: Serves
) -> Bill:
    """The bill of some quarter hours: all their usage, and what the box used in them."""
    rows: dict[int, list[Usage]] = {}
    for used in usage:
        rows.setdefault(used.quarter_s, []).append(used)
    boxes = {each.quarter_s: each for each in box}
    total = _Sum()
    for quarter_s in sorted({*rows, *boxes}):
        found = rows.get(quarter_s, [])
        local = [used for used in found if used.release not in serves]
        known = prices.at(quarter_s)
        total.local(quarter_s, local, boxes.get(quarter_s), known)
        total.upstreams([used for used in found if used.release in serves], known, serves)
    return Bill(
        currency=prices.currency,
        charges=tuple(total.charges),
        idle=tuple(total.idle),
        time_pico=total.time,
        energy_pico=total.energy,
        tokens_pico=total.tokens,
        missing=tuple(sorted(total.missing)),
    )


@dataclass(slots=True)
class _Sum:
    charges: list[Charge] = field(default_factory=list)
    idle: list[Idle] = field(default_factory=list)
    time: int = 0
    energy: int = 0
    tokens: int = 0
    missing: set[str] = field(default_factory=set)

    def local(
        self, quarter_s: int, rows: list[Usage], box: BoxUsage | None, prices: Prices
    ) -> None:
        """What the devices of this box cost."""
        if prices.gpu_hour_micro is None:
            if box is not None or any(used.busy_us for used in rows):
                self.missing.add("no price of a GPU-hour")
            self.charges += [Charge(used, None) for used in rows]
            return
        busy = [used.busy_us for used in rows]
        there = sum(busy) if box is None else box.device_us
        weights = [*busy, max(there - sum(busy), 0)]
        time = _rounded(there * prices.gpu_hour_micro * PICO, _HOUR_US)
        parts = divide(time, weights)
        self.time += time
        energy = self._energy(rows, box, prices)
        for used, part, more in zip(rows, parts, energy, strict=False):
            unmeasured = used.completion_tokens > 0 and used.busy_us == 0
            if unmeasured:
                self.missing.add(f"{used.deployment} does not report its computing time")
            self.charges.append(Charge(used, None if unmeasured else part + more))
        self.idle.append(Idle(quarter_s, parts[-1] + energy[-1]))

    def _energy(self, rows: list[Usage], box: BoxUsage | None, prices: Prices) -> list[int]:
        nothing = [0] * (len(rows) + 1)
        if box is None or box.work_mj is None or box.idle_mj is None:
            if prices.kwh_micro is not None and box is not None:
                self.missing.add("the energy was not measured")
            return nothing
        if prices.kwh_micro is None:
            self.missing.add("no price of a kWh")
            return nothing
        total = _rounded((box.work_mj + box.idle_mj) * prices.kwh_micro * PICO, _KWH_MJ)
        self.energy += total
        busy = [used.busy_us for used in rows]
        if not any(busy):
            return [*(0 for _ in rows), total]
        work, idle = divide(total, [box.work_mj, box.idle_mj])
        return [*divide(work, busy), idle]

    def upstreams(self, rows: list[Usage], prices: Prices, serves: Serves) -> None:
        """What the tokens of upstreams cost; a price is of a million of them."""
        for used in rows:
            name, model = serves[used.release]
            price = prices.of_upstream(name, model)
            if price is None or price.input_micro is None or price.output_micro is None:
                self.missing.add(f"no price of {name}/{model}")
                self.charges.append(Charge(used, None))
                continue
            cached = price.input_micro if price.cached_micro is None else price.cached_micro
            pico = (
                (used.prompt_tokens - used.cached_tokens) * price.input_micro
                + used.cached_tokens * cached
                + used.completion_tokens * price.output_micro
            )
            self.tokens += pico
            self.charges.append(Charge(used, pico))


def kilo_micro(tally: Tally, prices: Prices, upstream: tuple[str, str] | None = None) -> int | None:
    """Micro-units per 1000 tokens of requests as they end, prompt and completion alike.

    The computing time at the price of a GPU-hour, or the tokens by the price list of the
    `upstream` (its name and model) that answers. Energy, which is measured by the box and not by
    the request, is in bills alone. None without a price or without tokens.
    """
    tokens = tally.prompt_tokens + tally.completion_tokens
    if not tokens:
        return None
    if upstream is not None:
        price = prices.of_upstream(*upstream)
        if price is None or price.input_micro is None or price.output_micro is None:
            return None
        spent = tally.prompt_tokens * price.input_micro
        spent += tally.completion_tokens * price.output_micro
        return _rounded(spent * 1000, PICO * tokens)
    if prices.gpu_hour_micro is None:
        return None
    return _rounded(tally.busy_us * prices.gpu_hour_micro * 1000, _HOUR_US * tokens)


def lines(of: Bill, group: Callable[[Usage], str]) -> list[Line]:
    """The bill by group, then what was idle; the micro-units add up to those of the bill."""
    grouped: dict[str, list[Charge]] = {}
    for charge in of.charges:
        grouped.setdefault(group(charge.usage), []).append(charge)
    idle = sum(each.pico for each in of.idle)
    priced = [sum(c.pico or 0 for c in charges) for charges in grouped.values()]
    parts = divide(of.micro, [*priced, idle]) if of.pico else [0] * (len(grouped) + 1)
    found = [
        _line(name, charges, part)
        for (name, charges), part in zip(grouped.items(), parts, strict=False)
    ]
    if of.idle:
        found.append(Line(name=None, micro=parts[-1]))
    return found


def _line(name: str, charges: Sequence[Charge], part: int) -> Line:
    used = [charge.usage for charge in charges]
    return Line(
        name=name,
        requests=sum(each.requests for each in used),
        prompt_tokens=sum(each.prompt_tokens for each in used),
        completion_tokens=sum(each.completion_tokens for each in used),
        busy_us=sum(each.busy_us for each in used),
        micro=None if all(charge.pico is None for charge in charges) else part,
        unpriced=sum(charge.usage.requests for charge in charges if charge.pico is None),
    )


def _rounded(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)
