"""The HTTP client of the synthetic load: a question, streamed or not, and feedback on its answer.

A client of the gateway like any other, without knowledge of the node. Imported by
`synthetic_load`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx


class Overloaded(Exception):
    """The server refused the request for now (429 or 503); try again later."""


class BadAnswer(Exception):
    """The answer ended early or could not be parsed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The text of an answer, the release that gave it, and the id of its request."""

    text: str
    release: str
    request_id: str


async def ask(client: httpx.AsyncClient, body: dict[str, Any]) -> Answer:
    """The answer to a chat request; streamed if the body asks for it.

    Raises:
        Overloaded: the request was refused for now.
        BadAnswer: the answer is incomplete or malformed.
        httpx.HTTPError: no connection, or another error status.
    """
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        if response.status_code in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
            raise Overloaded
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
            raise BadAnswer(str(error)) from error


async def send_feedback(client: httpx.AsyncClient, answer: Answer, *, correct: bool) -> None:
    """Rate an answer."""
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
    """The text deltas of a stream of server-sent events."""
    async for line in response.aiter_lines():
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        event = json.loads(data)
        if "error" in event:
            raise BadAnswer(str(event["error"]))
        for choice in event.get("choices", ()):
            yield choice["delta"].get("content") or ""
    raise BadAnswer("the stream ended without [DONE]")
