"""Writes process states, and verdicts on models and deployments, to the store.

Serving never waits for it. While the store takes no writes (a full disk), facts are held back, the
latest of each process, and written when it takes them again; `trouble` says so meanwhile. Imported
by `engine.node`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import msgspec
import structlog

from engine.node import specs
from engine.node.specs import Fact
from engine.node.supervision import Plan
from storage import deployments, errors, models, processes
from storage.processes import State
from storage.store import Session, Store

AGAIN_S: Final = 2.0
LOOK_S: Final = 1.0

_log = structlog.get_logger("node.records")


class Records:
    """Writes facts in the order in which they happened."""

    def __init__(
        self,
        store: Store,
        *,
        now_us: Callable[[], int],
        owed: Callable[[Session], Awaitable[object]] | None,
    ) -> None:
        self._store = store
        self._now_us = now_us
        self._owed = owed
        self._facts: list[tuple[int, Fact]] = []
        self._more = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self.trouble: str | None = None

    def tell(self, fact: Fact) -> None:
        """Take a fact; returns at once."""
        if self.trouble is not None:  # only the latest of each process, so that memory is bounded
            self._facts = [
                (at_us, kept)
                for at_us, kept in self._facts
                if kept.name != fact.name
                or (_is_verdict(kept) and _verdict(kept) != _verdict(fact))
            ]
        self._facts.append((self._now_us(), fact))
        self._empty.clear()
        self._more.set()

    def restate(self, owed: Callable[[Session], Awaitable[object]], facts: Iterable[Fact]) -> None:
        """Write the current state into a store that was replaced."""
        self._owed = owed
        for fact in facts:
            self.tell(fact)

    async def run(self) -> None:
        """Write facts until cancelled, and look each second whether the store is there."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._more.wait(), LOOK_S)
            self._more.clear()
            self._note(await self._store.missing())
            while self._facts:
                if not await self._write(list(self._facts)):
                    await asyncio.sleep(AGAIN_S)
            self._empty.set()

    async def flush(self, timeout_s: float) -> None:
        """Wait until everything is written, or the time is up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()

    async def _write(self, batch: list[tuple[int, Fact]]) -> bool:
        """Write facts and remove them from the queue; one that can never be written is dropped."""

        async def work(session: Session) -> None:
            if self._owed is not None:
                await self._owed(session)
            for at_us, fact in batch:
                await _record(session, fact, at_us)

        try:
            await self._store.write(work, durable=True)
        except errors.Unavailable as error:
            self._note(str(error))
            return False
        except errors.StorageError as error:
            if len(batch) > 1:
                return all([await self._write([one]) for one in batch])
            _log.error("a fact was dropped", process=batch[0][1].name, error=str(error))
        else:
            self._note(None)
            self._owed = None
        self._facts = [kept for kept in self._facts if kept not in batch]
        return True

    def _note(self, trouble: str | None) -> None:
        if trouble is not None and self.trouble is None:
            _log.error("the store takes no writes; serving continues", error=trouble)
        elif trouble is None and self.trouble is not None:
            _log.info("the store takes writes again")
        self.trouble = trouble


def _verdict(fact: Fact) -> tuple[object, object]:
    return fact.load_failure, fact.failing


def _is_verdict(fact: Fact) -> bool:
    return _verdict(fact) != (None, None)


async def _record(session: Session, fact: Fact, at_us: int) -> None:
    if fact.load_failure is not None and fact.model is not None:
        reason = fact.load_failure.reason
        if fact.death is not None and fact.deployment is not None:
            reason = await _with_requests(session, fact.deployment, reason, at_us)
        for version in await models.loaded_as(session, fact.model, fact.load_failure.adapter):
            await models.mark_unloadable(session, version.id, reason, at_us)
    if fact.failing is not None and fact.deployment is not None:
        evidence = await _with_requests(session, fact.deployment, fact.failing, at_us)
        await deployments.mark_failing(session, fact.deployment, evidence, at_us)
        fact = dataclasses.replace(fact, reason=evidence)
    if fact.state == specs.GONE:
        with contextlib.suppress(errors.NotFound):
            await processes.move(session, fact.name, State.STOPPED, at_us=at_us)
        await processes.forget(session, fact.name)
        return
    if fact.state == State.STARTING:
        await _declare(session, fact, at_us)
        return
    try:
        await processes.move(session, fact.name, State(fact.state), at_us=at_us, **_of(fact, at_us))
    except (errors.NotFound, errors.Invalid):  # a state in between was never written
        await _declare(session, fact, at_us)
        await processes.move(session, fact.name, State(fact.state), at_us=at_us, **_of(fact, at_us))


async def _with_requests(session: Session, deployment: str, evidence: str, at_us: int) -> str:
    """The evidence of deaths, and which requests were lost in them."""
    from storage import requests  # noqa: PLC0415 it would be half of the node's start

    found = await requests.lost_on(session, deployment, at_us - Plan().deaths_us)
    named = ", ".join(f"{id} (r{release})" for id, release in found)
    return f"{evidence}; requests that were lost: {named}" if named else evidence


async def _declare(session: Session, fact: Fact, at_us: int) -> None:
    await processes.declare(
        session,
        name=fact.name,
        kind=processes.Kind(fact.kind),
        at_us=at_us,
        deployment=fact.deployment,
        pid=fact.pid,
        restarts=fact.restarts,
        model_version_id=fact.model,
    )


def _of(fact: Fact, at_us: int) -> dict[str, Any]:
    """The columns that a move changes besides the state."""
    changes: dict[str, Any] = {"reason": fact.reason, "restarts": fact.restarts}
    changes["silent_since_us"] = None if fact.silent_us is None else at_us - fact.silent_us
    changes["starts_at_us"] = None if fact.backoff_us is None else at_us + fact.backoff_us
    if fact.pid is not None:  # the fact of its start may never have been written
        changes |= {"pid": fact.pid}
    if fact.state == State.READY:
        changes |= {"sha256": fact.sha256, "build": fact.build, "loaded": _loaded(fact)}
    return changes


def _loaded(fact: Fact) -> str | None:
    """As the store keeps it."""
    return None if fact.loaded is None else msgspec.json.encode(fact.loaded).decode()
