"""Roll-ups: the samples of arms and tenants added up over minutes, hours and days (UTC).

Sketches merge exactly, so a roll-up is the tally of all its seconds, and any range is read from few
rows: whole days, then hours, minutes and seconds at its edges. One mark tells up to which second
roll-ups are complete; what is newer is read from the seconds. Rolling a minute, and moving the
mark past it, are one transaction, and a row is always made anew from its parts: whenever a process
is killed, running again gives the same rows. Written by control (`roll`, `prune`) and by the
gateway, which amends what it writes late. Imported by every package.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from storage import rollup_rows, samples
from storage.rollup_rows import Mark, Span, mark
from storage.samples import Kind
from storage.tallies import Tally

__all__ = [
    "Mark",
    "Span",
    "amend",
    "between",
    "kept",
    "mark",
    "pieces",
    "prune",
    "roll",
    "seconds_gone",
]

LAG_S: Final = 60
"""How long after its end a minute is rolled up; the gateway writes a second late, rarely more."""
AMENDED_S: Final = 86_400
"""How far behind the mark a second may still be written; older ones stay out of the roll-ups."""

_PARTS: Final = {Span.MINUTE: Span.SECOND, Span.HOUR: Span.MINUTE, Span.DAY: Span.HOUR}
_COARSE: Final = (Span.DAY, Span.HOUR, Span.MINUTE, Span.SECOND)


async def between(
    s: AsyncSession, kind: Kind, begin: int, end: int, prefix: str = ""
) -> dict[str, Tally]:
    """What was measured from second `begin` to second `end`, both included, by subject.

    Where the seconds (minutes, hours) of an edge are deleted already, the range is widened to the
    whole minute (hour, day) that is left of them.
    """
    found: dict[str, Tally] = {}
    known = await mark(s)
    for span, first, last in pieces(*kept(known, begin, end + 1), known.until_s):
        await rollup_rows.add(s, found, kind, span, first, last, prefix)
    return found


def pieces(
    begin: int, end: int, until_s: int, spans: tuple[Span, ...] = _COARSE
) -> Iterator[tuple[Span, int, int]]:
    """A range, `end` excluded, in the largest spans that are rolled up: (span, begin, end)."""
    if begin >= end:
        return
    span, finer = spans[0], spans[1:]
    if not finer:
        yield span, begin, end
        return
    first = span.begin(begin + span - 1)
    last = span.begin(min(end, until_s))
    if first >= last:
        yield from pieces(begin, end, until_s, finer)
        return
    yield from pieces(begin, first, until_s, finer)
    yield span, first, last
    yield from pieces(last, end, until_s, finer)


def kept(known: Mark, begin: int, end: int) -> tuple[int, int]:
    """A range, `end` excluded, with edges that the rows that are left can give."""
    for gone, coarser in (
        (known.seconds_from_s, Span.MINUTE),
        (known.minutes_from_s, Span.HOUR),
        (known.hours_from_s, Span.DAY),
    ):
        if begin < gone:
            begin = coarser.begin(begin)
        if end < gone:
            end = coarser.begin(end + coarser - 1)
    return begin, end


async def roll(s: AsyncSession, now_s: int, minutes: int = 15) -> bool:
    """Roll up at most this many minutes that are over; whether there are more. Call it until not.

    After the clock was set back the mark goes back with it, for the seconds that come again; never
    to where seconds are deleted, so that a clock that is wrong by years costs no roll-up.
    """
    known = await mark(s)
    before, target = known.until_s, max(Span.MINUTE.begin(now_s - LAG_S), 0)
    if before > now_s:
        if target >= known.seconds_from_s:
            await rollup_rows.set_mark(s, until_s=target)
        return False
    at, more = before, False
    for _ in range(minutes):
        first = await _next(s, at)
        if first is None or first >= target:
            at = max(at, target)
            break
        at = Span.MINUTE.begin(first)
        await _make(s, Span.MINUTE, at)
        at += Span.MINUTE
    else:
        more = at < target
    for span in (Span.HOUR, Span.DAY):
        found: set[int] = set()
        for kind in samples.TALLIES:
            parts = await rollup_rows.begins(
                s, kind, _PARTS[span], span.begin(before), span.begin(at)
            )
            found |= {span.begin(begin) for begin in parts}
        for begin in sorted(found):
            await _make(s, span, begin)
    await rollup_rows.set_mark(s, until_s=at)
    return more


async def amend(s: AsyncSession, seconds: Iterable[int]) -> None:
    """Make anew the roll-ups of seconds that were written just now, where there are any."""
    known = await mark(s)
    until_s, since_s = known.until_s, max(known.until_s - AMENDED_S, known.seconds_from_s)
    late = [each for each in seconds if since_s <= each < until_s]
    for span in _PARTS:
        for begin in sorted({span.begin(each) for each in late}):
            if begin + span <= until_s:
                await _make(s, span, begin)


async def seconds_gone(s: AsyncSession, before_s: int) -> int:
    """Note that seconds before a moment are deleted; the moment up to which they may be.

    It is before the mark, and at the beginning of a minute.
    """
    known = await mark(s)
    before_s = max(Span.MINUTE.begin(min(before_s, known.until_s)), known.seconds_from_s)
    if before_s > known.seconds_from_s:
        await rollup_rows.set_mark(s, seconds_from_s=before_s)
    return before_s


async def prune(s: AsyncSession, span: Span, before_s: int, limit: int = 500) -> int:
    """Delete the roll-ups of at most `limit` spans before a moment; returns how many.

    Minutes go when their hour, and hours when their day is rolled up. Call it until 0.
    """
    known = await mark(s)
    coarser = {Span.MINUTE: Span.HOUR, Span.HOUR: Span.DAY}.get(span, span)
    before_s = coarser.begin(min(before_s, known.until_s))
    if span is Span.MINUTE and before_s > known.minutes_from_s:
        await rollup_rows.set_mark(s, minutes_from_s=before_s)
    elif span is Span.HOUR and before_s > known.hours_from_s:
        await rollup_rows.set_mark(s, hours_from_s=before_s)
    gone = 0
    for kind in samples.TALLIES:
        if begins := await rollup_rows.begins(s, kind, span, 0, before_s, limit):
            gone += await rollup_rows.delete_between(s, kind, span, begins[0], begins[-1] + 1)
    return gone


async def _next(s: AsyncSession, since: int) -> int | None:
    """The first second from one on that has a tally."""
    found = [await rollup_rows.next_second(s, kind, since) for kind in samples.TALLIES]
    return min((each for each in found if each is not None), default=None)


async def _make(s: AsyncSession, span: Span, begin: int) -> None:
    """Make the rows of a span anew from their parts."""
    for kind in samples.TALLIES:
        found: dict[str, Tally] = {}
        await rollup_rows.add(s, found, kind, _PARTS[span], begin, begin + span)
        await rollup_rows.replace(s, kind, span, begin, found)
