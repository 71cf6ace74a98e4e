"""OpenAI's documents for chat and text completions, whole and streamed.

The constant parts of an answer's chunks are encoded once. Knows
nothing of HTTP or backends. Imported by `engine.gateway.completions` and `streaming`.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Final

import msgspec

from engine.execution.answers import Answer, Choice
from engine.execution.job import (
    Call,
    CallDelta,
    Echoed,
    Finished,
    PromptToken,
    TokenLogprob,
)
from engine.gateway import openai_logprobs, timings
from engine.gateway.errors import Problem
from engine.gateway.formats import Dialect, Format, Head
from engine.gateway.text_offsets import TextOffsets

DIALECT: Final = Dialect(lambda problem, _: problem.document(), "x-request-id")
DONE: Final = b"data: [DONE]\n\n"
_BREAKS: Final = re.compile("[\x85\u2028\u2029]")

_encode: Final = msgspec.json.Encoder().encode


def quoted(value: object) -> bytes:
    """JSON without line separators; some readers split lines at U+2028."""
    return _unbroken(_encode(value))


def _unbroken(raw: bytes) -> bytes:
    if raw.isascii():
        return raw
    return _BREAKS.sub(lambda match: f"\\u{ord(match[0]):04x}", raw.decode()).encode()


class Completion(Format):
    """What both kinds of completion have in common."""

    mark: ClassVar[str]
    whole_name: ClassVar[str]
    chunk_name: ClassVar[str]
    prompt_in_choice: ClassVar[bool]

    def __init__(
        self,
        head: Head,
        *,
        usage: bool = False,
        arrived_us: int | None = None,
        token_ids: bool = False,
    ) -> None:
        """With `usage` a stream ends with the token counts.

        Every answer has its timings with `arrived_us`, the monotonic time of the request's arrival.
        With `token_ids` log-probabilities name tokens by their ids.
        """
        self.head = head
        self._usage = usage
        self._arrived_us = arrived_us
        self._names = openai_logprobs.Names(ids=token_ids)
        start = _encode(
            {
                "id": f"{self.mark}-{head.id}",
                "object": self.chunk_name,
                "created": head.created,
                "model": head.model,
                "system_fingerprint": head.fingerprint,
            }
        )
        self._start = b"data: " + start[:-1] + b',"choices":['
        self._end = b'],"usage":null}\n\n' if usage else b"]}\n\n"
        self._prefixes: dict[int, bytes] = {}
        self._offsets: dict[int, TextOffsets] = {}

    # streamed

    def closing(self, answer: Answer) -> bytes:
        """The usage and the timings, if they were asked for, and the end of the stream."""
        usage = b',"usage":' + _encode(_usage(answer)) if self._usage else b""
        counts = usage + self._timings(answer)
        return self._start + b"]" + counts + b"}\n\n" + DONE if counts else DONE

    def failed(self, problem: Problem) -> bytes:
        """An error object in place of a chunk."""
        return b"data: " + problem.document() + b"\n\n"

    # whole

    def pieces(self, answer: Answer) -> Iterator[bytes]:
        """The document in pieces, each of which takes little time to make."""
        start = _encode(
            {
                "id": f"{self.mark}-{self.head.id}",
                "object": self.whole_name,
                "created": self.head.created,
                "model": self.head.model,
                "system_fingerprint": self.head.fingerprint,
            }
        )
        yield start[:-1] + b',"choices":['
        for number, choice in enumerate(answer.choices):
            yield (b',{"index":%d,' if number else b'{"index":%d,') % choice.index
            yield self._content(choice)
            yield b',"logprobs":'
            if choice.logprobs or (choice.echo and choice.echo.tokens):
                yield from self._logprob_pieces(choice)
            else:
                yield b"null"
            reason = choice.finish.reason if choice.finish else None
            yield b',"finish_reason":%b' % _encode(reason)
            if self.prompt_in_choice:
                yield from self._prompt_pieces(choice)
            yield b"}"
        yield b'],"usage":%b%b' % (_encode(_usage(answer)), self._timings(answer))
        if not self.prompt_in_choice:
            yield from self._prompt_pieces(answer.choices[0])
        yield b"}"

    def _timings(self, answer: Answer) -> bytes:
        if self._arrived_us is None:
            return b""
        return b',"timings":' + _encode(timings.of(answer, self._arrived_us))

    def _prompt_pieces(self, choice: Choice) -> Iterator[bytes]:
        """The log-probabilities of the prompt of a finished choice, where they were asked for."""
        if choice.echo is not None and choice.echo.scored:
            yield b',"prompt_logprobs":'
            yield from openai_logprobs.array(choice.echo.scored, openai_logprobs.of_prompt)

    @abstractmethod
    def _content(self, choice: Choice) -> bytes:
        """The text of a finished choice, with its name."""

    @abstractmethod
    def _logprob_pieces(self, choice: Choice) -> Iterator[bytes]:
        """The log-probabilities of a finished choice."""


class ChatFormat(Completion):
    """POST /v1/chat/completions."""

    mark = "chatcmpl"
    whole_name = "chat.completion"
    chunk_name = "chat.completion.chunk"
    prompt_in_choice = False

    def opening(self, choice: Choice) -> bytes:
        """The role."""
        return b"%b%b%b" % (
            self._start,
            b'{"index":%d,"delta":{"role":"assistant","content":"","refusal":null},'
            b'"logprobs":null,"finish_reason":null}' % choice.index,
            self._end,
        )

    def chunk(self, index: int, text: str, logprobs: Sequence[TokenLogprob]) -> bytes:
        """A piece of the content."""
        prefix = self._prefixes.get(index)
        if prefix is None:
            prefix = self._start + b'{"index":%d,"delta":{"content":' % index
            self._prefixes[index] = prefix
        logprob_json = quoted(self._logprobs(logprobs)) if logprobs else b"null"
        return b'%b%b},"logprobs":%b,"finish_reason":null}%b' % (
            prefix, quoted(text), logprob_json, self._end
        )  # fmt: skip

    def reasoning(self, index: int, text: str) -> bytes:
        """A piece of the reasoning, in the field that DeepSeek, vLLM and llama-server use."""
        return self._delta(index, {"reasoning_content": text})

    def calls(self, index: int, parts: Sequence[CallDelta]) -> bytes:
        """Pieces of calls, one entry for each call: its first has its id and name."""
        calls: dict[int, list[CallDelta]] = {}
        for part in parts:
            calls.setdefault(part.index, []).append(part)
        return self._delta(index, {"tool_calls": [_call_delta(each) for each in calls.values()]})

    def _delta(self, index: int, delta: dict[str, Any]) -> bytes:
        return b'%b{"index":%d,"delta":%b,"logprobs":null,"finish_reason":null}%b' % (
            self._start, index, quoted(delta), self._end
        )  # fmt: skip

    def ending(self, finished: Finished) -> bytes:
        """Why it ended."""
        return b'%b{"index":%d,"delta":{},"logprobs":null,"finish_reason":%b}%b' % (
            self._start, finished.index, _encode(finished.reason), self._end
        )  # fmt: skip

    def _content(self, choice: Choice) -> bytes:
        calls = [_call(call) for call in choice.calls]
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if calls and not choice.text else choice.text,
            "refusal": None,
        }
        if choice.reasoning:
            message["reasoning_content"] = choice.reasoning
        if calls:
            message["tool_calls"] = calls
        return b'"message":%b' % _encode(message)

    def _logprob_pieces(self, choice: Choice) -> Iterator[bytes]:
        yield b'{"content":'
        yield from openai_logprobs.array(choice.logprobs, self._names.chat)
        yield b',"refusal":null}'

    def _logprobs(self, found: Sequence[TokenLogprob]) -> dict[str, Any]:
        return {"content": [self._names.chat(one) for one in found], "refusal": None}


class TextFormat(Completion):
    """POST /v1/completions."""

    mark = "cmpl"
    whole_name = "text_completion"
    chunk_name = "text_completion"
    prompt_in_choice = True

    def opening(self, _: Choice) -> bytes:
        """Text has no role."""
        return b""

    def echoed(self, echo: Echoed) -> Iterator[bytes]:
        """The prompt as text of the choice."""
        index = echo.index
        yield self._start + b'{"index":%d,"text":%b,"logprobs":' % (index, quoted(echo.text))
        if echo.tokens:
            offsets = self._offsets.setdefault(index, TextOffsets())
            yield from map(_unbroken, self._pieces(echo.tokens, offsets))
        else:
            yield b"null"
        yield b',"finish_reason":null}' + self._end

    def chunk(self, index: int, text: str, logprobs: Sequence[TokenLogprob]) -> bytes:
        """A piece of the text."""
        logprob_json = quoted(self._logprobs(index, logprobs)) if logprobs else b"null"
        return b'%b{"index":%d,"text":%b,"logprobs":%b,"finish_reason":null}%b' % (
            self._start, index, quoted(text), logprob_json, self._end
        )  # fmt: skip

    def ending(self, finished: Finished) -> bytes:
        """Why it ended."""
        return b'%b{"index":%d,"text":"","logprobs":null,"finish_reason":%b}%b' % (
            self._start, finished.index, _encode(finished.reason), self._end
        )  # fmt: skip

    def _content(self, choice: Choice) -> bytes:
        echo = "" if choice.echo is None else choice.echo.text
        return b'"text":%b' % _encode(echo + choice.text)

    def _logprob_pieces(self, choice: Choice) -> Iterator[bytes]:
        found: list[TokenLogprob | PromptToken] = [
            *(choice.echo.tokens if choice.echo else ()),
            *choice.logprobs,
        ]
        yield from self._pieces(found, TextOffsets())

    def _pieces(
        self, found: Sequence[TokenLogprob | PromptToken], offsets: TextOffsets
    ) -> Iterator[bytes]:
        """The log-probabilities of text; `offsets` go on from what came before it."""
        yield b'{"tokens":'
        yield from openai_logprobs.array(found, self._names.token)
        yield b',"token_logprobs":'
        yield from openai_logprobs.array(found, openai_logprobs.value)
        yield b',"top_logprobs":'
        if any(one.top for one in found):
            yield from openai_logprobs.array(found, self._names.top)
        else:
            yield b"null"
        yield b',"text_offset":'
        yield from openai_logprobs.array(
            found, lambda one: offsets.next(openai_logprobs.shown(one))
        )
        yield b"}"

    def _logprobs(self, index: int, found: Sequence[TokenLogprob]) -> dict[str, Any]:
        offsets, names = self._offsets.setdefault(index, TextOffsets()), self._names
        top = [names.top(one) for one in found] if any(one.top for one in found) else None
        return {
            "tokens": [names.token(one) for one in found],
            "token_logprobs": [openai_logprobs.value(one) for one in found],
            "top_logprobs": top,
            "text_offset": [offsets.next(openai_logprobs.shown(one)) for one in found],
        }


def _usage(answer: Answer) -> dict[str, Any]:
    """The token counts, as they are recorded too."""
    prompt, completion = answer.prompt_tokens, answer.completion_tokens
    usage: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": answer.cached_tokens},
    }
    if answer.reasoning_tokens:
        usage["completion_tokens_details"] = {"reasoning_tokens": answer.reasoning_tokens}
    return usage


def _call(call: Call) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _call_delta(parts: Sequence[CallDelta]) -> dict[str, Any]:
    first, arguments = parts[0], "".join(part.arguments for part in parts)
    if not first.name:
        return {"index": first.index, "function": {"arguments": arguments}}
    return {"index": first.index, **_call(Call(first.id, first.name, arguments))}
