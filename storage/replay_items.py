"""The items of replays: one recorded request, asked again on one release, and both answers.

An item holds copies of what it needs, so that a replay under way loses nothing to retention; it is
itself deleted at the age at which its request's text is. Written by the jobs of replays, read
through `storage.replays` and by the commands.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Final

import msgspec
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import requests
from storage.requests import Outcome, Request
from storage.texts import Text, TextRow, storable

_SEED_SPACE: Final = 2**64
_SEED_HALF: Final = 2**63


class ItemRow(SQLModel, table=True):
    """An item as it is stored; `before` and `after` are JSON."""

    __tablename__: ClassVar[str] = "replay_items"

    replay_id: int = Field(primary_key=True)
    position: int = Field(primary_key=True)
    request_id: str
    release: int
    recorded_at_us: int
    seed: int | None
    asked: str
    before: str
    after: str | None
    f1: float | None
    answered_at_us: int | None


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a request was answered once; `error` is the code of what failed, `why` its sentence.

    Times are microseconds; `latency_us` runs from arrival to the end, `queue_us` of it waiting.
    """

    release: int | None
    outcome: Outcome
    text: str = ""
    finish_reason: str | None = None
    error: str | None = None
    why: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    queue_us: int = 0
    ttft_us: int | None = None
    latency_us: int = 0

    @property
    def ok(self) -> bool:
        """Whether it was answered to its end."""
        return self.outcome is Outcome.OK

    @property
    def working_us(self) -> int:
        """The time without the wait in a queue, which depends on other traffic; at least 1."""
        return max(1, self.latency_us - self.queue_us)


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One item. `after` is None until it was asked; `f1` compares the texts of two answers.

    `asked` is the request as its caller wrote it, as JSON; `seed` is the one it was sampled with.
    """

    replay_id: int
    position: int
    request_id: str
    release: int
    recorded_at_us: int
    seed: int | None
    asked: str
    before: Answer
    after: Answer | None
    f1: float | None
    answered_at_us: int | None

    @property
    def same(self) -> bool | None:
        """Whether both answers are the same text; None without two answers."""
        if self.after is None or not (self.before.ok and self.after.ok):
            return None
        return self.before.text.strip() == self.after.text.strip()


async def add(s: AsyncSession, replay_id: int, found: Iterable[tuple[str, int]]) -> int:
    """Add requests, each with the release to ask; returns how many.

    A request whose text is gone is left out.
    """
    newest = select(func.max(col(ItemRow.position))).where(col(ItemRow.replay_id) == replay_id)
    last = (await s.scalars(newest)).one() or 0
    count = 0
    for request_id, release in found:
        text = await requests.text_of(s, request_id)
        if text is None or text.asked is None:
            continue
        request = await requests.find(s, request_id)
        count += 1
        s.add(
            ItemRow(
                replay_id=replay_id,
                position=last + count,
                request_id=request.id,
                release=release,
                recorded_at_us=text.at_us,
                seed=_signed(request.seed),
                asked=text.asked,
                before=_stored(recorded(request, text)),
                after=None,
                f1=None,
                answered_at_us=None,
            )
        )
    await s.flush()
    return count


def recorded(request: Request, text: Text) -> Answer:
    """The answer that a client got."""
    return Answer(
        release=request.release,
        outcome=request.outcome,
        text=text.completion,
        finish_reason=request.finish_reason,
        error=request.error_code,
        prompt_tokens=request.prompt_tokens,
        completion_tokens=request.completion_tokens,
        queue_us=request.queue_us,
        ttft_us=request.ttft_us,
        latency_us=request.latency_us,
    )


async def replayable(
    s: AsyncSession, service: str, since_us: int, until_us: int
) -> list[tuple[str, bool]]:
    """Requests of a service that ended in an answer or a failure, in the order of recording.

    With each, whether it was recorded with what is needed to ask it again.
    """
    row, text = requests.RequestRow, TextRow
    low, high = await requests.numbers(s, since_us, until_us + 1)
    query = (
        select(col(row.id), col(text.asked).is_not(None))
        .outerjoin(text, col(text.request_id) == col(row.text_id))
        .where(col(row.number).between(low, high))
        .where(col(row.service) == service, col(row.at_us).between(since_us, until_us))
        .where(col(row.outcome).in_([Outcome.OK.value, Outcome.FAILED.value]))
        .order_by(col(row.number))
    )
    return [(each[0], bool(each[1])) for each in await s.execute(query)]


async def answer(
    s: AsyncSession, item: Item, after: Answer, f1: float | None, *, at_us: int
) -> None:
    """Keep the answer of an item; the first one stays."""
    await s.execute(
        update(ItemRow)
        .where(col(ItemRow.replay_id) == item.replay_id, col(ItemRow.position) == item.position)
        .where(col(ItemRow.after).is_(None))
        .values(after=_stored(after), f1=f1, answered_at_us=at_us)
        .execution_options(synchronize_session=False)
    )


async def to_ask(s: AsyncSession, replay_id: int) -> list[int]:
    """The positions of the items without an answer."""
    query = select(col(ItemRow.position)).where(col(ItemRow.replay_id) == replay_id)
    query = query.where(col(ItemRow.after).is_(None)).order_by(col(ItemRow.position))
    return list(await s.scalars(query))


async def find(s: AsyncSession, replay_id: int, position: int) -> Item | None:
    """One item, None when it was deleted."""
    row = await s.get(ItemRow, (replay_id, position), populate_existing=True)
    return None if row is None else _item(row)


async def of(s: AsyncSession, replay_id: int) -> list[Item]:
    """All items that are left, by position."""
    query = select(ItemRow).where(col(ItemRow.replay_id) == replay_id)
    query = query.order_by(col(ItemRow.position)).execution_options(populate_existing=True)
    return [_item(row) for row in await s.scalars(query)]


async def counts(s: AsyncSession, replay_ids: Iterable[int]) -> dict[int, tuple[int, int]]:
    """By replay, how many items were asked, and of how many."""
    query = (
        select(col(ItemRow.replay_id), func.count(col(ItemRow.after)), func.count())
        .where(col(ItemRow.replay_id).in_(list(replay_ids)))
        .group_by(col(ItemRow.replay_id))
    )
    return {row[0]: (row[1], row[2]) for row in await s.execute(query)}


async def prune(s: AsyncSession, before_us: int, limit: int = 500) -> int:
    """Delete at most `limit` items whose requests were recorded before a moment; how many."""
    old = select(col(ItemRow.replay_id), col(ItemRow.position))
    old = old.where(col(ItemRow.recorded_at_us) < before_us).limit(limit)
    found = [(row[0], row[1]) for row in await s.execute(old)]
    for replay_id, position in found:
        await s.execute(
            delete(ItemRow).where(
                col(ItemRow.replay_id) == replay_id, col(ItemRow.position) == position
            )
        )
    return len(found)


async def remove(s: AsyncSession, replay_ids: Iterable[int]) -> None:
    """Delete the items of replays."""
    await s.execute(delete(ItemRow).where(col(ItemRow.replay_id).in_(list(replay_ids))))


def _stored(answer: Answer) -> str:
    safe = msgspec.structs.replace(answer, text=storable(answer.text))
    return msgspec.json.encode(safe).decode()


def _signed(seed: int | None) -> int | None:
    """SQLite's integers are signed."""
    if seed is None:
        return None
    wrapped = seed % _SEED_SPACE
    return wrapped - _SEED_SPACE if wrapped >= _SEED_HALF else wrapped


def _item(row: ItemRow) -> Item:
    return Item(
        replay_id=row.replay_id,
        position=row.position,
        request_id=row.request_id,
        release=row.release,
        recorded_at_us=row.recorded_at_us,
        seed=None if row.seed is None else row.seed % _SEED_SPACE,
        asked=row.asked,
        before=msgspec.json.decode(row.before, type=Answer),
        after=None if row.after is None else msgspec.json.decode(row.after, type=Answer),
        f1=row.f1,
        answered_at_us=row.answered_at_us,
    )
