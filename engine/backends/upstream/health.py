"""Readiness and load of a server: probed every other second, and written as samples.

Requests count as evidence, too. One that cannot connect makes the server unready before the next
probe; so do several in a row that fail otherwise, because a server can pass its health check and
still produce nothing. One that is answered makes it ready. The load is the server's own if it
exposes metrics, else the requests that this box has with it. Imported by its neighbours.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import httpx
import structlog

from engine.backends.upstream import exposition, server
from engine.backends.upstream.exposition import Load
from engine.execution.failures import Failure
from engine.metering.windows import IDLE_S, Row
from storage.samples import InstanceSample, Kind

PROBE_S: Final = 2.0
REMOTE_PROBE_S: Final = 10.0
"""For servers behind https: hosted endpoints limit the rate of requests."""
DOWN_S: Final = 1.0
TIMEOUT_S: Final = 3.0
STREAK: Final = 3
"""Consecutive requests failed through the server's fault that make it unready."""
STREAK_S: Final = 30.0
"""How long after the latest of them; by then it may have recovered."""
_BODY_LIMIT: Final = 256 * 1024
_STALE_S: Final = 5 * PROBE_S

_SERVERS_FAULT: Final = frozenset(
    {"upstream_timeout", "upstream_stalled", "upstream_lost", "upstream_unavailable",
     "upstream_rejects_key"}
)  # fmt: skip
"""Failures that are the server's fault rather than the job's."""

_log = structlog.get_logger("gateway.upstream")


@dataclass(frozen=True, slots=True)
class Targets:
    """What to probe: a URL that answers 200 if the server is ready, and optionally its metrics."""

    health: str
    metrics: str | None = None


@dataclass(frozen=True, slots=True)
class _Totals:
    """Tokens so far: the server's `own` counters, or what this box received from it."""

    own: bool
    prompt: int = 0
    completion: int = 0


class Health:
    """The readiness and the load of one server."""

    def __init__(self, of: server.Server, targets: Targets) -> None:
        """Unready until the first probe; `run` probes."""
        self._server = of
        self._targets = targets
        self._wake = asyncio.Event()
        self._load: tuple[float, Load] | None = None
        self._counted = _Totals(own=False)
        self._written = (0, self._counted)
        self._trouble: str | None = "it was not reached yet"
        self._streak = 0
        self._latest = (0.0, "")

    @property
    def reason(self) -> str | None:
        """Why the server cannot answer now, as a clause about "it"; None while it can."""
        if self._trouble is not None:
            return self._trouble
        at, latest = self._latest
        recent = time.monotonic() - at < STREAK_S
        return latest if self._streak >= STREAK and recent else None

    @property
    def load(self) -> Load | None:
        """The server's own figures, while they are fresh."""
        if self._load is None or self._now() - self._load[0] > _STALE_S:
            return None
        return self._load[1]

    async def run(self) -> None:
        """Probe until cancelled."""
        while True:
            self._wake.clear()
            await self.probe()
            remote = self._targets.health.startswith("https:")
            pause = DOWN_S if self.reason else REMOTE_PROBE_S if remote else PROBE_S
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause)

    async def probe(self) -> None:
        """Probe once."""
        found = await self._look()
        if found is not None:
            self._now_is(found, self._streak)
            return
        self._now_is(None, 0 if self._trouble else self._streak)
        if self._targets.metrics is not None:
            await self._scrape(self._targets.metrics)

    def succeeded(self, prompt_tokens: int = 0, completion_tokens: int = 0) -> None:
        """A request was answered to its end, with so many tokens."""
        self._now_is(None, 0)
        counted = self._counted
        self._counted = _Totals(
            False, counted.prompt + prompt_tokens, counted.completion + completion_tokens
        )

    def failed(self, failure: Failure) -> None:
        """A request failed; if that may be the server's fault, it is probed immediately."""
        if failure.code == "upstream_unreachable":
            self.down(self._clause(failure))
        elif failure.code in _SERVERS_FAULT:
            self._latest = time.monotonic(), self._clause(failure)
            rejected = failure.code == "upstream_rejects_key"
            self._now_is(self._trouble, STREAK if rejected else self._streak + 1)
            self._wake.set()

    def down(self, reason: str) -> None:
        """Unready until the next probe succeeds; which runs immediately."""
        self._now_is(reason, self._streak)
        self._wake.set()

    def rows(self, second: int, subject: str) -> Iterator[Row]:
        """The sample of a second that is over; none while the server is unready."""
        if self.reason is not None:
            return
        slots, load = self._server.slots, self.load
        at, before = self._written
        now = self._counted
        if load is not None and load.prompt_tokens is not None:
            now = _Totals(True, load.prompt_tokens, load.completion_tokens or 0)
        running = slots.used if load is None or load.running is None else load.running
        waiting = slots.waiting + ((load.waiting or 0) if load is not None else 0)
        same = before.own is now.own
        prefill = _grown(before.prompt, now.prompt) if same else 0
        decode = _grown(before.completion, now.completion) if same else 0
        if not (running or waiting or prefill or decode) and 0 <= second - at < IDLE_S:
            return
        self._written = second, now
        own = load or Load()
        oldest = self._server.oldest() if waiting else None
        sample = InstanceSample(
            running=running,
            waiting=waiting,
            max_running=slots.limit,
            oldest_waiting_us=None if oldest is None else round((self._now() - oldest) * 1e6),
            kv_used_tokens=own.kv_used_tokens,
            kv_total_tokens=own.kv_total_tokens,
            kv_share=own.kv_share,
            prefill_tokens=prefill,
            decode_tokens=decode,
        )
        yield second, Kind.INSTANCE, subject, sample

    def _now_is(self, trouble: str | None, streak: int) -> None:
        before = self.reason
        self._trouble, self._streak = trouble, streak
        if (before is None) != (self.reason is None):
            log = _log.info if self.reason is None else _log.warning
            name = self._server.settings.name
            log("upstream readiness", upstream=name, ready=self.reason is None, why=self.reason)

    def _clause(self, failure: Failure) -> str:
        """A failure as a clause; the name of the server is shown beside it."""
        named = f"upstream {self._server.settings.name} "
        said = failure.message
        return f"it {said.removeprefix(named)}" if said.startswith(named) else said

    async def _look(self) -> str | None:
        try:
            status, _ = await self._server.get(
                self._targets.health, limit=_BODY_LIMIT, within_s=TIMEOUT_S
            )
        except TimeoutError:
            return f"its health check did not answer within {TIMEOUT_S:g} s"
        except httpx.HTTPError as error:
            return f"it is unreachable: {server.reason(error)}"
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            keyless = self._server.settings.key is None
            said = "requires an API key, and none is set" if keyless else "rejects the key"
            return f"it {said} (HTTP {status})"
        if status == HTTPStatus.TOO_MANY_REQUESTS:  # it is up, and limits our rate
            return None
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            return f"its health check answers HTTP {status}"
        return None

    async def _scrape(self, url: str) -> None:
        """Read the metrics; readiness does not depend on them."""
        try:
            status, body = await self._server.get(url, limit=exposition.LIMIT, within_s=TIMEOUT_S)
        except (TimeoutError, httpx.HTTPError):
            return
        if status == HTTPStatus.OK and body is not None:
            load = await asyncio.to_thread(exposition.read, body.decode("utf-8", "replace"))
            if load is not None:
                self._load = self._now(), load

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _grown(before: int, now: int) -> int:
    """The increase of a counter; after a reset, its value."""
    return now - before if now >= before else now
