"""Records requests, texts and samples in the store, at most a second late.

One transaction for everything of a second; until then requests are in the journal, from which the
next gateway takes what this one, if it is killed, could not write. While the store cannot be
written rows are held, in bounds; dropped rows are counted and logged, and serving continues.
Imported by the gateway.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from typing import Final, TypeVar

import structlog

from engine.execution.journal import Journal
from engine.execution.journal import Row as Ended
from engine.metering.windows import Row
from storage import errors, requests, rollups, samples, texts, usage
from storage.requests import Request
from storage.store import Session, Store
from storage.texts import Text

ROWS_LIMIT: Final = 20_000
TEXTS_LIMIT: Final = 64 * 1024 * 1024
"""Characters of prompts and answers that are held while the store cannot be written."""
_BATCH: Final = 2_000

_T = TypeVar("_T")
_Batch = tuple[tuple[Request, ...], tuple[Text, ...], tuple[Row, ...]]

_log = structlog.get_logger("gateway.recorder")


class Recorder:
    """`trouble` is why nothing can be written, None while it can; `lost` counts dropped rows."""

    def __init__(
        self, store: Store, journal: Journal | None = None, recovered: Iterable[Ended] = ()
    ) -> None:
        """`recovered` is what an earlier gateway left in the journal."""
        self._store = store
        self._journal = journal
        self._requests: deque[Request] = deque()
        self._texts: deque[Text] = deque()
        self._samples: deque[Row] = deque()
        self._characters = 0
        self._writing: asyncio.Task[None] | None = None
        self.trouble: str | None = None
        self.lost = 0
        for request, text in recovered:
            self._take(request, text)

    @property
    def exposed(self) -> str | None:
        """Why a gateway that is killed now would lose requests; None while it would not."""
        return None if self._journal is None else self._journal.trouble

    @property
    def held(self) -> int:
        """The number of rows not written yet."""
        return len(self._requests) + len(self._texts) + len(self._samples)

    def begun(self, request: Request) -> None:
        """Note a request that begins; `request` is how it is recorded if its end is never known."""
        if self._journal is not None:
            self._journal.begun(request)

    def record(self, request: Request, text: Text | None = None) -> None:
        """Record a request that has ended; once this returns, it survives a killed gateway."""
        if self._journal is not None:
            self._journal.ended(request, text)
        self._take(request, text)

    def _take(self, request: Request, text: Text | None) -> None:
        self._requests.append(request)
        if text is not None:
            self._texts.append(text)
            self._characters += _size(text)
        self._trim()

    def sample(self, row: Row) -> None:
        """Record a sample of a second that is over."""
        self._samples.append(row)
        self._trim()

    def begin(self) -> asyncio.Task[None]:
        """Start writing, or join the write under way, which includes the rows held now.

        Rows that cannot be written now are tried again with the next write.
        """
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._flush(), name="recorder")
        return self._writing

    async def flush(self) -> None:
        """Write, and wait until all rows are written or the store cannot be written."""
        await asyncio.shield(self.begin())

    async def _flush(self) -> None:
        await self._write_all()
        if self._journal is not None:
            await self._journal.tidy(self._ended(), len(self._requests) + len(self._texts))

    def _ended(self) -> Iterator[Ended]:
        """The requests that the store does not have."""
        written = {text.request_id: text for text in self._texts}
        for request in self._requests:
            yield request, written.get(request.id)

    async def _write_all(self) -> None:
        missing = await self._store.missing()  # known at once, also while there is nothing to write
        if missing is not None:
            self._wait(missing)
            return
        if self.trouble is not None and not self.held:
            self._resume()
        while self.held:
            batch = (
                tuple(islice(self._requests, _BATCH)),
                tuple(islice(self._texts, _BATCH)),
                tuple(islice(self._samples, _BATCH)),
            )
            if not await self._write(batch):
                return

    async def _write(self, batch: _Batch) -> bool:
        """Write a batch; whether the next one can be tried."""
        try:
            await self._store.write(lambda s: _insert(s, batch), nudge=False)
        except errors.Unavailable as error:
            self._wait(str(error))
            return False
        except Exception:  # noqa: BLE001 one invalid row must not cost the others
            if sum(map(len, batch)) > 1:
                first, second = _halves(batch)
                return await self._write(first) and await self._write(second)
            self.lost += 1
            _log.exception("dropped a row")
        else:
            self._resume()
        self._written(batch)
        return True

    def _wait(self, reason: str) -> None:
        if self.trouble is None:
            _log.warning("rows wait for the store", reason=reason, rows=self.held)
        self.trouble = reason

    def _resume(self) -> None:
        if self.trouble is not None:
            _log.info("the store can be written again", rows=self.held, lost=self.lost)
        self.trouble = None

    def _written(self, batch: _Batch) -> None:
        """Remove the rows of a batch; some may already have been dropped."""
        _drop(self._requests, batch[0])
        self._characters -= sum(map(_size, _drop(self._texts, batch[1])))
        _drop(self._samples, batch[2])

    def _trim(self) -> None:
        while len(self._requests) > ROWS_LIMIT:
            self._requests.popleft()
            self.lost += 1
        while self._characters > TEXTS_LIMIT:
            self._characters -= _size(self._texts.popleft())
            self.lost += 1
        while len(self._samples) > ROWS_LIMIT:
            self._samples.popleft()
            self.lost += 1


def _halves(batch: _Batch) -> tuple[_Batch, _Batch]:
    """The rows in their order, cut in the middle."""
    requests, texts, rows = batch
    half = sum(map(len, batch)) // 2
    after = half - len(requests)
    later = after - len(texts)
    a, b, c = max(0, half), max(0, after), max(0, later)
    return (requests[:a], texts[:b], rows[:c]), (requests[a:], texts[b:], rows[c:])


def _size(text: Text) -> int:
    kept = (text.prompt, text.completion, text.asked or "", text.turn or "")
    return sum(map(len, kept))


def _drop(queue: deque[_T], rows: tuple[_T, ...]) -> list[_T]:
    """Remove rows from the head of the queue; returns those that were still there."""
    done = {id(row) for row in rows}
    gone = []
    while queue and id(queue[0]) in done:
        gone.append(queue.popleft())
    return gone


async def _insert(s: Session, batch: _Batch) -> None:
    ended, written, rows = batch
    await usage.record(s, await requests.record(s, ended))
    await texts.record(s, written)
    for second, group in groupby(sorted(rows, key=_second), key=_second):
        await samples.record(s, second, [row[1:] for row in group])
    if rows:
        await rollups.amend(s, {row[0] for row in rows})


def _second(row: Row) -> int:
    return row[0]
