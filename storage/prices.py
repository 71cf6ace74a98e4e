"""Prices: of a GPU-hour, of a kilowatt-hour, of an upstream's tokens, each from a time on.

A price is in force from the beginning of a quarter of an hour (UTC) until one with a later
beginning; of two with the same beginning the one set last. Nothing is overwritten, and what a past
time cost follows from what is set for it now. A price that is not set is None, never 0. One box has
one currency. Written by `engine.control`, read by every package.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import errors, ledger, names
from storage.home import config

QUARTER_S: Final = 900
"""Prices and usage are by the quarter hour, with which every time zone's days begin."""
GPU_HOUR: Final = "gpu-hour"
KWH: Final = "kwh"
MOST_MICRO: Final = 10**15
MOST_S: Final = 253_402_300_799
"""The last second of the year 9999, after which there are no dates."""

_UPSTREAM: Final = re.compile(rf"{names.PATTERN}(/[^\s\x00-\x1f\x7f]{{1,200}})?")
_CURRENCY: Final = re.compile("[A-Z]{3}")


class PriceRow(SQLModel, table=True):
    """A price as it is stored."""

    __tablename__: ClassVar[str] = "prices"

    id: int | None = Field(default=None, primary_key=True)
    subject: str
    from_s: int
    currency: str
    micro: int | None
    input_micro: int | None
    output_micro: int | None
    cached_micro: int | None
    set_at_us: int
    set_by: str
    intent_id: int | None


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """A price from `from_s` on, in micro-units of its currency.

    `subject` is "gpu-hour" or "kwh", priced by `micro`, or an upstream (cloud), or one of its
    models (cloud/gpt-4o), priced by a million tokens: `input_micro`, `output_micro`, and
    `cached_micro` for prompt tokens that the server had in its cache. All None: no price any more.
    """

    id: int
    subject: str
    from_s: int
    currency: str
    micro: int | None = None
    input_micro: int | None = None
    output_micro: int | None = None
    cached_micro: int | None = None
    set_at_us: int = 0
    set_by: str = "config.toml"

    @property
    def unset(self) -> bool:
        """Whether it says that there is no price from then on."""
        return self.micro is None and self.input_micro is None


@dataclass(frozen=True, slots=True)
class Prices:
    """The prices that are in force at one time."""

    gpu_hour_micro: int | None = None
    kwh_micro: int | None = None
    upstreams: Mapping[str, Price] = field(default_factory=dict)

    def of_upstream(self, name: str, model: str) -> Price | None:
        """The price of the tokens of an upstream's model: its own, else that of the upstream."""
        return self.upstreams.get(f"{name}/{model}") or self.upstreams.get(name)


class PriceList:
    """All prices, for any time."""

    def __init__(self, prices: Iterable[Price], settings: config.Price) -> None:
        """`settings` has the currency, and a price of the GPU-hour before one was set."""
        known = sorted(prices, key=lambda price: (price.from_s, price.id))
        self.currency = known[-1].currency if known else settings.currency
        if settings.gpu_hour_micro is not None and settings.currency == self.currency:
            first = Price(
                id=0, subject=GPU_HOUR, from_s=0, currency=self.currency,
                micro=settings.gpu_hour_micro,
            )  # fmt: skip
            known.insert(0, first)
        self.versions = tuple(known)
        self._changes = sorted({price.from_s for price in known})
        self._at: dict[int, Prices] = {}

    def at(self, second: int) -> Prices:
        """Those in force at a time."""
        since = max((each for each in self._changes if each <= second), default=-1)
        if since not in self._at:
            self._at[since] = self._find(since)
        return self._at[since]

    def _find(self, second: int) -> Prices:
        last = {price.subject: price for price in self.versions if price.from_s <= second}
        gpu, kwh = last.pop(GPU_HOUR, None), last.pop(KWH, None)
        return Prices(
            gpu_hour_micro=None if gpu is None else gpu.micro,
            kwh_micro=None if kwh is None else kwh.micro,
            upstreams={name: price for name, price in last.items() if not price.unset},
        )


async def every(s: AsyncSession) -> list[Price]:
    """All prices that were ever set, in the order of setting."""
    rows = await s.scalars(select(PriceRow).order_by(col(PriceRow.id)))
    return [msgspec.convert(row, Price, from_attributes=True) for row in rows]


async def listed(s: AsyncSession, settings: config.Price) -> PriceList:
    """The list of prices."""
    return PriceList(await every(s), settings)


def check(subject: str, *, micro: int | None, input_micro: int | None) -> None:
    """Prove that a subject is one, and is priced as its kind is.

    Raises:
        Invalid: it is not.
    """
    if subject in {GPU_HOUR, KWH}:
        if input_micro is not None:
            raise errors.Invalid(f"{subject} has one price, not one by tokens.")
    elif not _UPSTREAM.fullmatch(subject):
        raise errors.Invalid(
            f"{subject!r} has no price: name gpu-hour, kwh, an upstream, or UPSTREAM/MODEL."
        )
    elif micro is not None:
        raise errors.Invalid(f"Upstream {subject} is priced by its tokens: --input and --output.")


async def set(
    s: AsyncSession,
    *,
    subject: str,
    from_s: int,
    currency: str | None,
    micro: int | None = None,
    input_micro: int | None = None,
    output_micro: int | None = None,
    cached_micro: int | None = None,
    settings: config.Price,
    actor: str,
    at_us: int,
    intent_id: int | None = None,
) -> Price:
    """Set a price from a time on, which is taken back to the beginning of its quarter hour.

    Without any figure there is no price from then on. Without `currency` it is the box's.

    Raises:
        Invalid: the subject has no such price, or other prices are in another currency.
    """
    check(subject, micro=micro, input_micro=input_micro)
    for name, given, other in (
        ("output", output_micro, input_micro),
        ("input", input_micro, output_micro if output_micro is not None else cached_micro),
    ):
        if given is None and other is not None:
            raise errors.Invalid(
                f"Upstream {subject} needs the price of {name} tokens too: --{name} AMOUNT; "
                "0 if they are free."
            )
    before = await every(s)
    known = before[-1].currency if before else settings.currency
    wanted = known if currency is None else currency
    if not _CURRENCY.fullmatch(wanted):
        raise errors.Invalid(f"{wanted!r} is not a currency; write its three letters: EUR, USD.")
    if before and wanted != known:
        raise errors.Invalid(f"The prices of this box are in {known}; convert {wanted} into it.")
    row = PriceRow(
        subject=subject,
        from_s=from_s // QUARTER_S * QUARTER_S,
        currency=wanted,
        micro=micro,
        input_micro=input_micro,
        output_micro=output_micro,
        cached_micro=cached_micro,
        set_at_us=at_us,
        set_by=actor,
        intent_id=intent_id,
    )
    s.add(row)
    await s.flush()
    price = msgspec.convert(row, Price, from_attributes=True)
    earlier = [each for each in before if each.subject == subject]
    await ledger.write(
        s, actor=actor, verb="prices.set", noun="price", key=subject,
        before=earlier[-1] if earlier else None, after=price, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return price
