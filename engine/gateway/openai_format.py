"""OpenAI's documents for chat and text completions, whole and streamed.

The constant parts of an answer's chunks are encoded once. Knows
nothing of HTTP or backends. Imported by `engine.gateway.completions` and `streaming`.
"""

from __future__ import annotations

import itertools
import re
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Final

import msgspec

from engine.execution.answers import Answer, Choice
from engine.execution.job import Call, CallDelta, Finished, Logprob, TokenLogprob
from engine.gateway.errors import Problem
from engine.gateway.formats import Dialect, Format, Head

DIALECT: Final = Dialect(lambda problem, _: problem.document(), "x-request-id")
DONE: Final = b"data: [DONE]\n\n"
_LEAST: Final = -9999.0
_AT_ONCE: Final = 64
"""Tokens whose log-probabilities are encoded in one piece."""
_BREAKS: Final = re.compile("[\x85\u2028\u2029]")

_encode: Final = msgspec.json.Encoder().encode


def quoted(value: object) -> bytes:
    """JSON without line separators; some readers split lines at U+2028."""
    raw = _encode(value)
    if raw.isascii():
        return raw
    return _BREAKS.sub(lambda match: f"\\u{ord(match[0]):04x}", raw.decode()).encode()


class Completion(Format):
    """What both kinds of completion have in common."""

    mark: ClassVar[str]
    whole_name: ClassVar[str]
    chunk_name: ClassVar[str]

    def __init__(self, head: Head, *, usage: bool = False) -> None:
        """With `usage` a stream ends with the token counts."""
        self.head = head
        self._usage = usage
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

    # streamed

    def closing(self, answer: Answer) -> bytes:
        """The usage, if it was asked for, and the end of the stream."""
        if not self._usage:
            return DONE
        return self._start + b'],"usage":' + _encode(_usage(answer)) + b"}\n\n" + DONE

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
            if choice.logprobs:
                yield from self._logprob_pieces(choice)
            else:
                yield b"null"
            reason = choice.finish.reason if choice.finish else None
            yield b',"finish_reason":%b}' % _encode(reason)
        yield b'],"usage":%b}' % _encode(_usage(answer))

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

    def opening(self, index: int) -> bytes:
        """The role."""
        return b"%b%b%b" % (
            self._start,
            b'{"index":%d,"delta":{"role":"assistant","content":"","refusal":null},'
            b'"logprobs":null,"finish_reason":null}' % index,
            self._end,
        )

    def chunk(self, index: int, text: str, logprobs: Sequence[TokenLogprob]) -> bytes:
        """A piece of the content."""
        prefix = self._prefixes.get(index)
        if prefix is None:
            prefix = self._start + b'{"index":%d,"delta":{"content":' % index
            self._prefixes[index] = prefix
        logprob_json = quoted(_chat_logprobs(logprobs)) if logprobs else b"null"
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
        yield from _array(choice.logprobs, _chat_entry)
        yield b',"refusal":null}'


class TextFormat(Completion):
    """POST /v1/completions."""

    mark = "cmpl"
    whole_name = "text_completion"
    chunk_name = "text_completion"

    def __init__(self, head: Head, *, usage: bool = False) -> None:
        super().__init__(head, usage=usage)
        self._offsets: dict[int, int] = {}

    def opening(self, _: int) -> bytes:
        """Text has no role."""
        return b""

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
        return b'"text":%b' % _encode(choice.text)

    def _logprob_pieces(self, choice: Choice) -> Iterator[bytes]:
        found = choice.logprobs
        yield b'{"tokens":'
        yield from _array(found, lambda one: _name(one.chosen))
        yield b',"token_logprobs":'
        yield from _array(found, lambda one: _number(one.chosen))
        yield b',"top_logprobs":'
        if any(one.top for one in found):
            yield from _array(found, lambda one: _by_name(one.top))
        else:
            yield b"null"
        yield b',"text_offset":'
        lengths = (len(_text(one.chosen)) for one in found[:-1])
        yield _encode(list(itertools.accumulate(lengths, initial=0)))
        yield b"}"

    def _logprobs(self, index: int, found: Sequence[TokenLogprob]) -> dict[str, Any]:
        offset = self._offsets.get(index, 0)
        offsets = []
        for one in found:
            offsets.append(offset)
            offset += len(_text(one.chosen))
        self._offsets[index] = offset
        return {
            "tokens": [_name(one.chosen) for one in found],
            "token_logprobs": [_number(one.chosen) for one in found],
            "top_logprobs": [_by_name(one.top) for one in found]
            if any(one.top for one in found)
            else None,
            "text_offset": offsets,
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


def _chat_logprobs(found: Sequence[TokenLogprob]) -> dict[str, Any]:
    return {
        "content": [_chat_entry(one) for one in found],
        "refusal": None,
    }


def _chat_entry(one: TokenLogprob) -> dict[str, Any]:
    return {**_entry(one.chosen), "top_logprobs": [_entry(other) for other in one.top]}


def _array(
    found: Sequence[TokenLogprob], entry: Callable[[TokenLogprob], object]
) -> Iterator[bytes]:
    """A JSON array with an entry for each token, some tokens at a time."""
    yield b"["
    for first in range(0, len(found), _AT_ONCE):
        part = _encode([entry(one) for one in found[first : first + _AT_ONCE]])[1:-1]
        yield b"," + part if first else part
    yield b"]"


def _entry(logprob: Logprob) -> dict[str, Any]:
    return {
        "token": _text(logprob),
        "logprob": _number(logprob),
        "bytes": list(logprob.raw),
    }


def _by_name(top: Sequence[Logprob]) -> dict[str, float]:
    """One entry per token: tokens with equal text are distinguished by their bytes."""
    entries: dict[str, float] = {}
    for logprob in top:
        name = _name(logprob)
        entries[_bytes(logprob) if name in entries else name] = _number(logprob)
    return entries


def _name(logprob: Logprob) -> str:
    """A token's text; its bytes where they are not UTF-8 by themselves, as OpenAI writes them."""
    try:
        return logprob.raw.decode()
    except UnicodeDecodeError:
        return _bytes(logprob)


def _bytes(logprob: Logprob) -> str:
    return "bytes:" + "".join(f"\\x{byte:02x}" for byte in logprob.raw)


def _text(logprob: Logprob) -> str:
    return logprob.raw.decode("utf-8", "replace")


def _number(logprob: Logprob) -> float:
    return max(logprob.logprob, _LEAST)
