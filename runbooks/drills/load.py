"""The load of a drill: a few clients, each of which asks again when it was answered.

Bounded in clients, in tokens and in time, with the drill's own key, marked as synthetic. Imported
by `runbooks.drills`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import httpx

MOST: Final = 16
"""Clients of one drill."""
_TIMEOUT_S: Final = 60.0
_PAUSE_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Ask:
    """What each client asks: the number of words, and of tokens at most.

    At a high temperature a small model rambles, which makes its answers long. A client waits for
    `pause_s` before it asks again.
    """

    words: int = 8
    max_tokens: int = 8
    temperature: float = 0.0
    pause_s: float = 0.0


class Load:
    """Clients of one service. `rate` gives an answer a thumb: True is up, None is none."""

    def __init__(
        self, url: str, secret: str, service: str,
        *, rate: Callable[[str], bool | None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._url = url
        self._headers = {"Authorization": f"Bearer {secret}"}
        self._service = service
        self._rate = rate
        self._numbers = itertools.count(1)
        self._clients: list[asyncio.Task[None]] = []
        self.answered = 0
        self.failed = 0
        self.last: str | None = None

    def ask(self, ask: Ask, clients: int) -> None:
        """Have this number of clients ask for this, in place of those before."""
        self.stop()
        self._clients = [asyncio.create_task(self._client(ask)) for _ in range(min(clients, MOST))]

    def stop(self) -> None:
        """Stop all clients."""
        for task in self._clients:
            task.cancel()
        self._clients = []

    async def once(self, ask: Ask) -> bool:
        """One request; whether it was answered."""
        async with httpx.AsyncClient(timeout=_TIMEOUT_S, headers=self._headers) as client:
            return await self._one(client, ask)

    async def _client(self, ask: Ask) -> None:
        async with httpx.AsyncClient(timeout=_TIMEOUT_S, headers=self._headers) as client:
            while True:
                answered = await self._one(client, ask)
                await asyncio.sleep(ask.pause_s if answered else max(ask.pause_s, _PAUSE_S))

    async def _one(self, client: httpx.AsyncClient, ask: Ask) -> bool:
        number = next(self._numbers)
        text = " ".join([f"Order {number} travels with Pelican."] * max(ask.words // 5, 1))
        asked = {
            "model": self._service,
            "messages": [{"role": "user", "content": f"{number}: {text} When does it arrive?"}],
            "max_tokens": ask.max_tokens,
            "temperature": ask.temperature,
        }
        try:
            answer = await client.post(f"{self._url}/v1/chat/completions", json=asked)
            document = answer.json() if answer.status_code == httpx.codes.OK else None
        except (httpx.HTTPError, ValueError):
            document = None
        if document is None:
            self.failed += 1
            return False
        self.answered += 1
        said = document["choices"][0]["message"]["content"] or ""
        self.last = said
        thumb = self._rate(said)
        if thumb is not None:
            name = answer.headers.get("x-request-id", "")
            with contextlib.suppress(httpx.HTTPError):
                await client.post(
                    f"{self._url}/v1/feedback",
                    json={"request_id": name, "score": 1 if thumb else -1},
                )
        return True
