"""Request bodies: decoded, validated, and refused with the name of the offending field.

A field of OpenAI's API that this gateway does not support is refused if it would change the answer
and ignored otherwise. An unknown field is refused, as OpenAI does, because it is most often a typo.
Imported by the gateway.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from engine.execution import job
from engine.gateway import (
    constraint_fields,
    containers,
    errors,
    prompt_fields,
    sampling_fields,
    tool_bodies,
    turns,
)
from engine.prompting import chat_template

SEQUENCES_LIMIT: Final = 128
STOPS_LIMIT: Final = 16
_SUFFIX: Final = 1 << 20

Body = TypeVar("Body", bound=msgspec.Struct)

_Stop = Annotated[str, Meta(max_length=1024)]
_Name = Annotated[str, Meta(max_length=512)]
_Tokens = Annotated[int, Meta(ge=1, le=2**31 - 1)]
_Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
_Budget = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class StreamOptions(msgspec.Struct):
    """`include_usage` adds a last chunk with the token counts."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Completing(constraint_fields.Constrained, kw_only=True):
    """The fields of both kinds of completion. Absent and null mean the release's own setting."""

    model: _Name | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=SEQUENCES_LIMIT)] | None = None
    stop: _Stop | Annotated[list[_Stop], Meta(max_length=STOPS_LIMIT)] | None = None
    max_tokens: _Tokens | None = None
    user: _Name | None = None
    prompt_variables: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    timings_per_token: bool | None = None
    return_tokens_as_token_ids: bool | None = None
    prompt_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None

    @property
    def unit(self) -> str | None:
        """The user who stays on one arm of a split."""
        return self.user

    @property
    def counted(self) -> bool:
        """Whether a stream ends with the token counts."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def options(self) -> job.Options:
        """What the caller sets.

        Raises:
            BadRequest: two fields contradict each other, or one has no effect without another.
        """
        if self.stream_options is not None and not self.stream:
            raise errors.BadRequest(
                "stream_options is only allowed when stream is true.",
                code="invalid_value",
                param="stream_options",
            )
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or ()
        stop = tuple(stop for stop in stops if stop)
        return job.Options(
            max_tokens=self._limit(),
            stop=stop,
            n=self.n or 1,
            logprobs=self._alternatives(),
            thinking_budget=self._thinking(),
            constraint=self.constraint(),
            echo=self._echoes(),
            prompt_logprobs=self._prompt_alternatives(),
            token_ids=bool(self.return_tokens_as_token_ids),
            **self.sampled(),
        )

    def _echoes(self) -> bool:
        return False

    def _limit(self) -> int | None:
        return self.max_tokens

    def _alternatives(self) -> int:
        return -1

    def _prompt_alternatives(self) -> int:
        if self.prompt_logprobs is not None and self.stream:
            raise errors.invalid("prompt_logprobs", "a stream does not have them; leave stream out")
        return -1 if self.prompt_logprobs is None else self.prompt_logprobs

    def _thinking(self) -> int | None:
        return None


class Reasoning(msgspec.Struct):
    """How much to reason before the answer, as OpenRouter's clients say it."""

    effort: _Effort | None = None
    max_tokens: _Budget | None = None
    enabled: bool | None = None
    exclude: Literal[False] | None = None


class Chat(Completing, kw_only=True):
    """The body of POST /v1/chat/completions."""

    typed: ClassVar = frozenset({"messages"})
    messages: Annotated[list[turns.Turn], Meta(min_length=1, max_length=10_000)]
    max_completion_tokens: _Tokens | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    continue_final_message: bool | None = None
    add_generation_prompt: bool | None = None
    tools: tool_bodies.Tools | None = None
    tool_choice: tool_bodies.ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: _Effort | None = None
    reasoning: Reasoning | None = None
    thinking_budget: _Budget | None = None
    thinking_token_budget: _Budget | None = None  # what vLLM calls it
    thinking_budget_tokens: _Budget | None = None  # what llama-server calls it
    enable_thinking: bool | None = None

    def input(self) -> job.Chat:
        """The conversation.

        Raises:
            BadRequest: a message holds something other than text, the arguments of the chat
                template have a name that is not the caller's to set, or a tool, the choice of
                tools or a call cannot be used.
        """
        arguments = self.chat_template_kwargs or {}
        if self.enable_thinking is not None:
            arguments = {"enable_thinking": self.enable_thinking, **arguments}
        for name in sorted(chat_template.RESERVED & arguments.keys()):
            raise errors.BadRequest(
                f"chat_template_kwargs cannot set {name}.",
                code="invalid_value",
                param=f"chat_template_kwargs.{name}",
            )
        self._check_continuation()
        messages = tuple(turn.message(place) for place, turn in enumerate(self.messages))
        tool_bodies.check_answers(messages)
        tools = tool_bodies.allowed(self.tool_choice, tool_bodies.tools(self.tools or ()))
        choice, only = tool_bodies.choice(self.tool_choice, tools)
        effort = self.reasoning_effort or (self.reasoning and self.reasoning.effort)
        if effort is None and self._thinking() == 0:
            effort = "none"
        return job.Chat(
            messages, arguments, tools, choice, only, self.parallel_tool_calls, effort or None,
            continued=bool(self.continue_final_message),
            generation_prompt=self.add_generation_prompt is not False,
        )  # fmt: skip

    def _check_continuation(self) -> None:
        """Where the last message is continued, no turn of the assistant begins after it."""
        last, continued = self.messages[-1], bool(self.continue_final_message)
        if continued and (last.role != "assistant" or not last.content or last.tool_calls):
            other = "the last message is not an assistant's text"
            raise errors.invalid("continue_final_message", other)
        if continued and self.add_generation_prompt:
            rule = "continue_final_message begins no turn of the assistant; send one of them"
            raise errors.invalid("add_generation_prompt", rule)

    def _limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens  # the newer name wins

    def _thinking(self) -> int | None:
        named = (self.thinking_budget, self.thinking_token_budget, self.thinking_budget_tokens)
        budget = next((each for each in named if each is not None), None)
        if budget is not None or self.reasoning is None:
            return budget
        return 0 if self.reasoning.enabled is False else self.reasoning.max_tokens

    def _alternatives(self) -> int:
        if self.top_logprobs and not self.logprobs:
            raise errors.BadRequest(
                "top_logprobs needs logprobs to be true.",
                code="invalid_value",
                param="top_logprobs",
            )
        return (self.top_logprobs or 0) if self.logprobs else -1


class Completion(Completing, kw_only=True):
    """The body of POST /v1/completions."""

    prompt: prompt_fields.Prompt
    max_tokens: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    echo: bool | None = None
    suffix: Annotated[str, Meta(max_length=_SUFFIX)] | None = None
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None

    def input(self) -> job.Text:
        """The prompts."""
        prompts = prompt_fields.prompts(self.prompt)
        if self.suffix and self.echo:
            raise errors.invalid("echo", "it has no meaning beside suffix")
        if self.suffix and self.prompt_logprobs is not None:
            raise errors.invalid("prompt_logprobs", "it has no meaning beside suffix")
        if self.suffix and not all(isinstance(prompt, str) for prompt in prompts):
            raise errors.invalid("suffix", "it needs a text prompt, not token ids")
        return job.Text(prompts, self.suffix or "")

    def _echoes(self) -> bool:
        if self.max_tokens == 0 and not self.echo and self.prompt_logprobs is None:
            raise errors.invalid("max_tokens", "0 leaves nothing to answer unless echo is true")
        return bool(self.echo)

    def _alternatives(self) -> int:
        return -1 if self.logprobs is None else self.logprobs


class Feedback(msgspec.Struct, kw_only=True):
    """The body of POST /v1/feedback; `id` may be the completion's own."""

    request_id: _Name | None = None
    id: _Name | None = None
    score: Literal[-1, 1]
    correct: bool | None = None
    comment: Annotated[str, Meta(max_length=10_000)] | None = None


_SMALL: Final = 1000
"""Bytes of an unsupported field that are worth decoding: no value that is ignored has so many."""

# Unsupported fields of OpenAI's API, and of llama-server's, whose value never changes the answer:
# which slot computes it, and whether a prompt's computed part may be used again, are decided here.
_IGNORED: Final = frozenset((
    "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
    "id_slot", "cache_prompt",
))  # fmt: skip

# Other unsupported fields, with the values, beside null, that leave the answer unchanged.
_UNCHANGING: Final[Mapping[str, tuple[object, ...]]] = {
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "verbosity": ("medium",),
    "moderation": (),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
}

_FREE: Final = frozenset({"prompt_variables", "metadata", "chat_template_kwargs", "tools"})
"""Fields that may hold anything."""

_CONVERSATIONS: Final = ("messages", "input")
_BOUNDED: Final[Mapping[str, int]] = {
    **dict.fromkeys(_FREE, containers.LIMIT),
    **dict.fromkeys(_CONVERSATIONS, containers.MESSAGES_LIMIT),
}

_AT: Final = re.compile(r"^(.*?)(?: - at (?:`key` in )?`\$\.?(.*?)(?:\[\.\.\.\])?`)?$", re.DOTALL)
_FIELD: Final = re.compile(r"field `(\w+)`")
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_top: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode: Final = msgspec.json.Encoder().encode


class Reader:
    """Decodes the bodies of one endpoint."""

    def __init__(
        self,
        body: type[Body],
        *,
        ignored: Collection[str] = _IGNORED,
        unchanging: Mapping[str, tuple[object, ...]] = _UNCHANGING,
        bounded: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """`ignored` and `unchanging` are the tables of the dialect's fields without support.

        `bounded` are other fields than those of free form and conversations that may be made of
        many containers, with how many at the most. The body's `typed`, if it has
        that, names those without parts of free form.
        """
        self._typed: frozenset[str] = getattr(body, "typed", frozenset())
        self._bounded = {**_BOUNDED, **bounded}
        self._ignored = ignored
        self._unchanging = unchanging
        self.body = body
        self._decoder = msgspec.json.Decoder(body)
        self._known = frozenset(field.encode_name for field in msgspec.structs.fields(body))

    def read(self, raw: bytes) -> Any:
        """The body.

        Raises:
            BadRequest: it is invalid; the message says why, `param` where.
        """
        try:
            fields = _top.decode(raw)
            for name, value in fields.items():
                self._check(name, value)
            return self._decoder.decode(_encode(fields))  # a name that came twice, only once
        except msgspec.ValidationError as error:
            raise _invalid(error) from error
        except msgspec.DecodeError as error:
            half = (
                " (half of a surrogate pair is not a character)" if _SURROGATE.search(raw) else ""
            )
            message = f"We could not parse the JSON body of your request: {error}{half}."
            raise errors.BadRequest(message, code="invalid_json") from error
        except UnicodeDecodeError as error:
            message = f"The body of your request is not UTF-8: {error.reason}."
            raise errors.BadRequest(message, code="invalid_utf8") from error
        except RecursionError as error:
            message = "The JSON body of your request is nested too deeply."
            raise errors.BadRequest(message, code="invalid_json") from error

    def _check(self, name: str, value: msgspec.Raw) -> None:
        """Refuse a field that could not be decoded, or not quickly."""
        if name not in self._known:
            self._check_unsupported(name, value)
        elif name in self._bounded:
            free = name in _FREE
            walked = name not in self._typed
            containers.check(name, value, self._bounded[name], walked=walked, copied=free)
        elif name == "prompt":
            prompt_fields.check(value)
        elif name == "logit_bias":
            sampling_fields.check_biases(value)

    def _check_unsupported(self, name: str, raw: msgspec.Raw) -> None:
        """Refuse a field unless ignoring it leaves the answer unchanged.

        A large value is not decoded: a schema of a megabyte would hold up all other requests.
        """
        if name in self._ignored:
            return
        unchanging = self._unchanging.get(name)
        if unchanging is None:
            message = f"Unrecognized request argument supplied: {name}"
            raise errors.BadRequest(message, code="unknown_parameter", param=name)
        if len(raw) > _SMALL or msgspec.json.decode(raw) not in (None, *unchanging):
            message = f"{name!r} with this value is not supported here; leave it out."
            raise errors.BadRequest(message, code="unsupported_parameter", param=name)


def _invalid(error: msgspec.ValidationError) -> errors.BadRequest:
    match = _AT.match(str(error))
    reason, where = (match[1], match[2]) if match else (str(error), None)
    field = _FIELD.search(reason)
    if where and field:
        where = f"{where}.{field[1]}"
    param = where or (field[1] if field else None)
    missing = "missing required" in reason
    place = f"{param}: " if where else ""
    return errors.BadRequest(
        f"{place}{reason.replace('`', '')}.",
        code="missing_required_parameter" if missing else "invalid_value",
        param=param,
    )
