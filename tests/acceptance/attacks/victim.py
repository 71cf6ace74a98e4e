"""Another client of the box: what it measures while the box is attacked.

Several closed loops of short streamed answers, beside one long stream after the other. An answer
that does not end with `[DONE]`, or in an error event, was cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import httpx

BOUND_S: Final = 60.0
PAUSE_S: Final = 0.1
LOOPS: Final = 4
SHORT: Final = {"model": "ops", "prompt": "Order 214 travels with", "max_tokens": 8, "stream": True}
LONG: Final = SHORT | {"prompt": "Tell me of order 7.", "max_tokens": 160}


@dataclass(slots=True)
class Seen:
    """What one span of time was like."""

    latencies_us: list[int] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    @property
    def p95_ms(self) -> float:
        """The p95 of the short answers, in milliseconds; infinite when there was none."""
        if not self.latencies_us:
            return math.inf
        if len(self.latencies_us) == 1:
            return self.latencies_us[0] / 1000
        return statistics.quantiles(self.latencies_us, n=20, method="inclusive")[-1] / 1000


class Victim:
    """The client; `span` starts a new span and returns the one that was under way."""

    def __init__(self, port: int, key: str) -> None:
        self._client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            headers={"authorization": f"Bearer {key}"},
            timeout=BOUND_S,
        )
        self._seen = Seen()
        self._answered = asyncio.Event()

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[Victim]:
        """Ask for as long as the context lasts."""
        bodies = [SHORT] * LOOPS + [LONG]
        tasks = [asyncio.create_task(self._loop(body)) for body in bodies]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._client.aclose()

    def span(self) -> Seen:
        """End the span under way."""
        ended, self._seen = self._seen, Seen()
        return ended

    async def span_of(self, answers: int, within_s: float) -> Seen:
        """End the span once it has so many short answers, or when the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while len(self._seen.latencies_us) < answers:
                    self._answered.clear()
                    await self._answered.wait()
        return self.span()

    async def until_answered(self, within_ms: float, times: int = 5) -> float:
        """The seconds until so many short answers in a row took less than that."""
        begun, row = time.monotonic(), 0
        async with asyncio.timeout(BOUND_S):
            while row < times:
                self._answered.clear()
                await self._answered.wait()
                row = row + 1 if self._seen.latencies_us[-1] < within_ms * 1000 else 0
        return time.monotonic() - begun

    async def _loop(self, body: dict[str, object]) -> None:
        while True:
            seen, begun = self._seen, time.monotonic_ns()
            try:
                answer = await self._client.post("/v1/completions", json=body)
            except httpx.HTTPError as error:
                seen.cut.append(repr(error))
            else:
                if answer.status_code != httpx.codes.OK:
                    seen.refused.append(f"{answer.status_code} {answer.text[:200]}")
                elif not answer.text.endswith("data: [DONE]\n\n"):
                    seen.cut.append(answer.text[-200:])
                elif body is SHORT:
                    self._seen.latencies_us.append((time.monotonic_ns() - begun) // 1000)
                    self._answered.set()
            await asyncio.sleep(PAUSE_S if body is SHORT else 0)
