"""Anthropic's documents for messages, whole and streamed, and for errors.

A stream names each of its events. The number of prompt tokens is known at its end: it comes with
`message_delta`, whose counts replace those of `message_start`. Knows nothing of HTTP or backends.
Imported by `engine.gateway.messages`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from engine.execution.answers import Answer
from engine.execution.job import Finished, TokenLogprob
from engine.gateway.errors import Problem
from engine.gateway.formats import Dialect, Format, Head
from engine.gateway.openai_format import quoted

_ERRORS: Final = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.NOT_FOUND: "not_found_error",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "request_too_large",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
    HTTPStatus.INTERNAL_SERVER_ERROR: "api_error",
    HTTPStatus.SERVICE_UNAVAILABLE: "overloaded_error",
}
_REASONS: Final = {"stop": "end_turn", "length": "max_tokens"}

_encode: Final = msgspec.json.Encoder().encode


class MessageFormat(Format):
    """POST /v1/messages."""

    def __init__(self, head: Head) -> None:
        """Nothing is written yet."""
        self._head = head

    # streamed

    def opening(self, _: int) -> bytes:
        """The message without content, and the beginning of its text."""
        message = self._message([], None, {"input_tokens": 0, "output_tokens": 0})
        block = {"type": "text", "text": ""}
        return event("message_start", message=message) + event(
            "content_block_start", index=0, content_block=block
        )

    def chunk(self, _: int, text: str, __: Sequence[TokenLogprob]) -> bytes:
        """A piece of the text."""
        return (
            b"event: content_block_delta\n"
            b'data: {"type":"content_block_delta","index":0,'
            b'"delta":{"type":"text_delta","text":%b}}\n\n' % quoted(text)
        )

    def ending(self, _: Finished) -> bytes:
        """The end of the text."""
        return event("content_block_stop", index=0)

    def closing(self, answer: Answer) -> bytes:
        """Why it ended, the token counts, and the end of the stream."""
        delta = _ended(answer.choices[0].finish)
        return event("message_delta", delta=delta, usage=_usage(answer)) + event("message_stop")

    def failed(self, problem: Problem) -> bytes:
        """An event of type error."""
        return b"event: error\ndata: %b\n\n" % error(problem, self._head.id)

    # whole

    def pieces(self, answer: Answer) -> Iterator[bytes]:
        """The message."""
        (choice,) = answer.choices
        content = [{"type": "text", "text": choice.text}]
        yield _encode(self._message(content, choice.finish, _usage(answer)))

    def _message(
        self, content: Sequence[object], finish: Finished | None, usage: dict[str, int]
    ) -> dict[str, Any]:
        return {
            "id": f"msg_{self._head.id}",
            "type": "message",
            "role": "assistant",
            "model": self._head.model,
            "content": content,
            **_ended(finish),
            "usage": usage,
        }


def error(problem: Problem, request: str | None) -> bytes:
    """The JSON object that Anthropic's clients read; `request` is the id of the request."""
    kind = _ERRORS.get(HTTPStatus(problem.status), "invalid_request_error")
    document = {
        "type": "error",
        "error": {"type": kind, "message": problem.message},
        "request_id": None if request is None else f"req_{request}",
    }
    return _encode(document)


DIALECT: Final = Dialect(error, "request-id")


def event(name: str, **fields: object) -> bytes:
    """A server-sent event with its name, which its data repeats."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), quoted({"type": name, **fields}))


def _ended(finish: Finished | None) -> dict[str, str | None]:
    """Why the message ended: null while it grows."""
    if finish is None:
        return {"stop_reason": None, "stop_sequence": None}
    if finish.stop:
        return {"stop_reason": "stop_sequence", "stop_sequence": finish.stop}
    return {"stop_reason": _REASONS.get(finish.reason), "stop_sequence": None}


def _usage(answer: Answer) -> dict[str, int]:
    """The token counts; Anthropic's clients add the cached ones to the input."""
    cached = answer.cached_tokens
    return {
        "input_tokens": answer.prompt_tokens - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": answer.completion_tokens,
    }
