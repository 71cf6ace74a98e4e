"""One choice's answer: the chunks of a stream, or a whole document, as events of a job.

Counts tokens by the upstream's `usage`; where it sends none (llama-cpp-python's example server
does not when it streams), completion tokens are the chunks that carried text and prompt tokens are
0, meaning unknown. An answer much longer than the job allows is rejected as malformed. Pure.
Imported by its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final

import msgspec

from engine.backends.upstream import echo, faults, logprobs
from engine.backends.upstream.sse import Event as Sse
from engine.execution.job import CallDelta, Delta, Echoed, Finished, TokenLogprob

CHARACTERS_PER_TOKEN: Final = 256
"""No vocabulary in use has a longer token."""
_SLACK: Final = 4096
_CHUNKS_PER_TOKEN: Final = 4
_CHUNKS: Final = 512
"""Beside those: some servers send a chunk without text every second while they compute."""
CALLS: Final = 512
"""Calls that one choice may make."""
_LENGTH: Final = frozenset({"length", "max_tokens", "model_length"})
_ABORTED: Final = frozenset({"abort", "cancelled", "error"})
_CALLED: Final = frozenset({"tool_calls", "function_call"})


_Place = Annotated[int, msgspec.Meta(ge=0, lt=CALLS)]


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _Call(msgspec.Struct):
    index: _Place | None = None
    id: str | None = None
    function: _Function | None = None


class _Turn(msgspec.Struct):
    role: str | None = None
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    delta: _Turn | None = None
    message: _Turn | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None


_Tokens = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
"""A count that can be added up and stored."""


class _Details(msgspec.Struct):
    cached_tokens: _Tokens | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: _Tokens = 0
    completion_tokens: _Tokens = 0
    prompt_tokens_details: _Details | None = None

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens that were in the server's cache; 0 where it does not say."""
        details = self.prompt_tokens_details
        return 0 if details is None else min(details.cached_tokens or 0, self.prompt_tokens)


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None


_decoder: Final = msgspec.json.Decoder(_Chunk)


class Answer:
    """Filled by `stream` or by `whole`; `done` once the upstream has marked its end."""

    def __init__(
        self,
        upstream: str,
        index: int,
        *,
        max_tokens: int,
        alternatives: int,
        queue_us: int = 0,
        instance: str = "",
        prompt: str | tuple[int, ...] | None = None,
    ) -> None:
        """`alternatives` is the job's `logprobs`; `queue_us` was spent before it was sent.

        `prompt` is the prompt that the answer has to return, None if it need not.
        """
        self._prompt = prompt
        self._answered = max_tokens > 0
        self._upstream = upstream
        self._index = index
        self._alternatives = alternatives
        self._queue_us = queue_us
        self._instance = instance
        self._characters_left = max(1, max_tokens) * CHARACTERS_PER_TOKEN + _SLACK
        self._characters_left += CHARACTERS_PER_TOKEN * len(prompt or ())
        self._chunks_left = max_tokens * _CHUNKS_PER_TOKEN + _CHUNKS
        self._usage: _Usage | None = None
        self._tokens = 0
        self._reason: str | None = None
        self._called: dict[int, str] = {}
        self.done = False

    @property
    def began(self) -> bool:
        """Whether a token has arrived."""
        return self._tokens > 0 or self._reason is not None

    def stream(self, events: Iterable[Sse], at_us: int) -> list[Delta]:
        """The deltas in these events, received at `at_us` of the monotonic clock.

        Raises:
            failures.Failure: the stream reports an error, or violates the API.
        """
        found: list[Delta] = []
        for event in events:
            if event.data == b"[DONE]":
                self._end()
                break
            chunk = self._chunk(event.data, failed=event.name == "error")
            self._chunks_left -= 1
            if self._chunks_left < 0:
                raise faults.malformed(self._upstream, "its stream does not end")
            found += self._take(chunk, at_us)
        return found

    def whole(self, body: bytes, at_us: int) -> list[Delta | Echoed]:
        """The answer of a server that did not stream.

        Raises:
            failures.Failure: as `stream`.
        """
        found = self._take(self._chunk(body, failed=False), at_us)
        self._end()
        if self._prompt is None:
            return [*found]
        text = "".join(delta.text for delta in found)
        tokens = [one for delta in found for one in delta.logprobs]
        parts = echo.parts(self._prompt, text, tokens, answered=self._answered)
        echoed = Echoed(self._index, parts.prompt, parts.prompt_tokens)
        usage = self._usage or _Usage()
        self._tokens = usage.completion_tokens or len(parts.logprobs) or 1
        if not (parts.text or parts.logprobs):
            return [echoed]
        return [echoed, Delta(self._index, parts.text, self._tokens, parts.logprobs, at_us)]

    def finish(self) -> Finished:
        """The closing event, once the stream has ended.

        Raises:
            failures.Unavailable: it ended before the answer did.
        """
        if self._reason is None:
            raise faults.lost(self._upstream)
        usage = self._usage or _Usage(completion_tokens=self._tokens)
        return Finished(
            index=self._index,
            reason=self._ended(),
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            queue_us=self._queue_us,
            busy_us=0,
            instance=self._instance,
            cached_tokens=usage.cached_tokens,
        )

    def _ended(self) -> str:
        """The reason in the job's words; some servers say "stop" after calls."""
        if self._reason in _LENGTH:
            return "length"
        return "tool_calls" if self._called or self._reason in _CALLED else "stop"

    def _end(self) -> None:
        if self._reason is None:
            raise faults.malformed(self._upstream, "its answer ends without a finish_reason")
        self.done = True

    def _chunk(self, data: bytes, *, failed: bool) -> _Chunk:
        try:
            chunk = _decoder.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            if (complaint := faults.read(data)).message or failed:
                raise faults.inside(self._upstream, complaint) from error
            what = f"a part of its answer violates the API ({str(error)[:200]})"
            raise faults.malformed(self._upstream, what) from error
        if failed or chunk.choices is None:
            complaint = faults.read(data)
            if failed or complaint.message or complaint.code:
                raise faults.inside(self._upstream, complaint)
            if chunk.usage is None:
                raise faults.malformed(self._upstream, "a part of its answer has no choices")
        return chunk

    def _take(self, chunk: _Chunk, at_us: int) -> list[Delta]:
        if chunk.usage is not None:
            self._usage = chunk.usage
        if not chunk.choices or self._reason is not None:
            return []
        choice = chunk.choices[0]  # one was asked for
        turn = choice.delta or choice.message or _Turn()
        text = choice.text or turn.content or ""
        reasoning = turn.reasoning_content or turn.reasoning or ""
        calls = self._calls(turn.tool_calls) if turn.tool_calls else ()
        chosen = self._logprobs(choice.logprobs) if choice.logprobs else ()
        self._characters_left -= len(text) + len(reasoning)
        self._characters_left -= sum(len(c.name) + len(c.id) + len(c.arguments) for c in calls)
        if self._characters_left < 0:
            raise faults.malformed(self._upstream, "its answer is longer than max_tokens allows")
        found: list[Delta] = []
        if text or chosen or reasoning or calls:
            tokens = len(chosen) or 1
            self._tokens += tokens
            shown = chosen if self._alternatives >= 0 else ()
            found.append(Delta(self._index, text, tokens, shown, at_us, reasoning, calls))
        if choice.finish_reason is not None:
            if choice.finish_reason in _ABORTED:
                raise faults.lost(self._upstream, f"finish_reason {choice.finish_reason}")
            self._reason = choice.finish_reason
        return found

    def _calls(self, turns: Sequence[_Call]) -> tuple[CallDelta, ...]:
        """Parts of calls; a part without an index is a complete call, as in a document."""
        found: list[CallDelta] = []
        for call in turns:
            index = len(self._called) if call.index is None else call.index
            function = call.function or _Function()
            name = function.name or ""
            if index not in self._called and not name:
                raise faults.malformed(self._upstream, "a call of a tool in its answer has no name")
            arguments = function.arguments or ""
            if not isinstance(arguments, str):
                arguments = msgspec.json.encode(arguments).decode()
            first = index not in self._called
            self._called.setdefault(index, name)
            id = (call.id or f"call_{index}") if first else ""
            found.append(CallDelta(index, id, name if first else "", arguments))
        return tuple(found)

    def _logprobs(self, raw: dict[str, Any]) -> tuple[TokenLogprob, ...]:
        try:
            return logprobs.read(raw, self._alternatives)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            what = "its log-probabilities have an unknown format"
            raise faults.malformed(self._upstream, what) from error
