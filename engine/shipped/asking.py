"""One question over HTTP, streamed or not, and the feedback that follows its answer.

It is a client of the gateway like any other and knows nothing of the node. Imported by the
synthetic load.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx


class Refused(Exception):
    """The box takes no more now (429, 503); ask again later."""


class Broken(Exception):
    """The answer ended early or could not be read."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, from which release, under which id."""

    text: str
    release: str
    request_id: str


async def ask(client: httpx.AsyncClient, body: dict[str, Any]) -> Answer:
    """The answer to a chat request; streamed when the body says so.

    Raises:
        Refused: the box takes no more now.
        Broken: the answer could not be read to its end.
        httpx.HTTPError: nobody answered, or with another error.
    """
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        if response.status_code in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
            raise Refused
        response.raise_for_status()
        try:
            if body.get("stream"):
                text = "".join([piece async for piece in _deltas(response)])
            else:
                whole = json.loads(await response.aread())
                text = whole["choices"][0]["message"]["content"] or ""
            return Answer(
                text, response.headers["x-paddock-release"], response.headers["x-request-id"]
            )
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise Broken(str(error)) from error


async def judge(client: httpx.AsyncClient, answer: Answer, *, correct: bool) -> None:
    """Send what the answer was worth."""
    await client.post(
        "/v1/feedback",
        json={
            "request_id": answer.request_id,
            "score": 1 if correct else -1,
            "correct": correct,
            "comment": "synthetic: judged against the held-out answer",
        },
    )


async def _deltas(response: httpx.Response) -> AsyncIterator[str]:
    """The text of a stream of server-sent events, piece by piece."""
    async for line in response.aiter_lines():
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        event = json.loads(data)
        if "error" in event:
            raise Broken(str(event["error"]))
        for choice in event.get("choices", ()):
            yield choice["delta"].get("content") or ""
    raise Broken("the stream ended without its last word")
