"""Anthropic's documents for messages, whole and streamed, and for errors.

A stream names each of its events. `message_start` counts the tokens of the prompt where the backend
knows them by then; the counts of `message_delta` replace it. Knows nothing of HTTP or backends.
Imported by `engine.gateway.messages`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec
import pydantic_core

from engine.execution.answers import Answer, Choice
from engine.execution.job import Call, CallDelta, Finished, TokenLogprob
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
_REASONS: Final = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}

_encode: Final = msgspec.json.Encoder().encode


class MessageFormat(Format):
    """POST /v1/messages. A stream has one block of content open at a time."""

    def __init__(self, head: Head, *, thoughts: bool = True) -> None:
        """Nothing is written yet. Without `thoughts` blocks of reasoning are empty."""
        self._head = head
        self._thoughts = thoughts
        self._blocks = 0
        self._open = ""

    # streamed

    def opening(self, choice: Choice) -> bytes:
        """The message without content."""
        began = choice.prefilled
        prompt, cached = (began.prompt_tokens, began.cached_tokens) if began else (0, 0)
        return event("message_start", message=self._message([], None, _counts(prompt, cached, 0)))

    def chunk(self, _: int, text: str, __: Sequence[TokenLogprob]) -> bytes:
        """A piece of the text."""
        block = self._block("text", {"type": "text", "text": ""})
        return block + self._delta("text_delta", "text", text)

    def reasoning(self, _: int, text: str) -> bytes:
        """A piece of the reasoning."""
        block = self._block("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        return block + self._delta("thinking_delta", "thinking", text if self._thoughts else "")

    def calls(self, _: int, parts: Sequence[CallDelta]) -> bytes:
        """Pieces of calls, each in a block of its own."""
        return b"".join(map(self._call, parts))

    def _call(self, part: CallDelta) -> bytes:
        named = {"type": "tool_use", "id": part.id, "name": part.name, "input": {}}
        block = self._block(f"tool_use {part.index}", named)
        return block + self._delta("input_json_delta", "partial_json", part.arguments)

    def _block(self, content: str, start: dict[str, Any]) -> bytes:
        """What closes the open block and opens one for this content, if it is another."""
        if content == self._open:
            return b""
        closed = self._closed()
        self._open = content
        return closed + event("content_block_start", index=self._blocks, content_block=start)

    def _closed(self) -> bytes:
        if not self._open:
            return b""
        self._open = ""
        self._blocks += 1
        return event("content_block_stop", index=self._blocks - 1)

    def _delta(self, kind: str, name: str, text: str) -> bytes:
        if not text:
            return b""
        return (
            b"event: content_block_delta\n"
            b'data: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":%b}}\n\n'
            % (self._blocks, kind.encode(), name.encode(), quoted(text))
        )

    def ending(self, _: Finished) -> bytes:
        """The end of the last block."""
        return self._closed()

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
        content = _content(choice, thoughts=self._thoughts)
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


def _content(choice: Choice, *, thoughts: bool) -> list[dict[str, Any]]:
    """The blocks of a finished choice: reasoning, text, calls."""
    blocks: list[dict[str, Any]] = []
    if choice.reasoning:
        said = choice.reasoning if thoughts else ""
        blocks.append({"type": "thinking", "thinking": said, "signature": ""})
    if choice.text:
        blocks.append({"type": "text", "text": choice.text})
    return blocks + [_use(call) for call in choice.calls]


def _use(call: Call) -> dict[str, Any]:
    """A call; of arguments that were cut, what is there."""
    try:
        arguments = pydantic_core.from_json(call.arguments or "{}", allow_partial=True)
    except ValueError:
        arguments = {}
    return {
        "type": "tool_use",
        "id": call.id,
        "name": call.name,
        "input": arguments if isinstance(arguments, dict) else {},
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
    return _counts(answer.prompt_tokens, answer.cached_tokens, answer.completion_tokens)


def _counts(prompt: int, cached: int, completion: int) -> dict[str, int]:
    """The token counts; Anthropic's clients add the cached ones to the input."""
    return {
        "input_tokens": prompt - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": completion,
    }
