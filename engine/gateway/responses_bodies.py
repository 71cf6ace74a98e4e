"""The body of OpenAI's Responses API, in terms of a job.

Input is text, reasoning, and calls of functions with their outputs; files, images and the tools of
OpenAI's servers are refused with their place. Imported by `engine.gateway.responses`.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from msgspec import Meta

from engine.execution import job
from engine.gateway import constraint_fields, errors, response_tools, tool_bodies, turns

IGNORED: Final = frozenset((
    "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "store",
    "stream_options", "client_metadata",
))  # fmt: skip
"""Fields whose value never changes the answer. What is stored is the service's to say."""

UNCHANGING: Final[Mapping[str, tuple[object, ...]]] = {
    "background": (False,),
    "context_management": ([],),
    "conversation": (),
    "max_tool_calls": (),
    "moderation": (),
    "prompt": (),
    "top_logprobs": (0,),
    "truncation": ("disabled",),
}
"""Fields that are not supported, with the values, beside null, that leave the answer unchanged."""

_Name = Annotated[str, Meta(max_length=512)]
_Share = Annotated[float, Meta(ge=0, le=1)]
_LOGPROBS: Final = "message.output_text.logprobs"
_TEXTS: Final = frozenset(("input_text", "output_text", "text", "summary_text", "reasoning_text"))


class InputPart(msgspec.Struct, gc=False):
    """A part of an item's content; only text is supported."""

    type: str
    text: str | None = None
    refusal: str | None = None


class InputItem(msgspec.Struct, gc=False):
    """A message, a call, an output of one, or reasoning; which fields it has depends on its type.

    An item without a type is a message.
    """

    type: str = "message"
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: str | list[InputPart] | None = None
    summary: list[InputPart] | None = None
    call_id: _Name | None = None
    name: str | None = None
    namespace: _Name | None = None
    arguments: str | None = None
    output: str | list[InputPart] | None = None


class TextFormat(constraint_fields.NamedSchema, kw_only=True):
    """The form of the text."""

    type: Literal["text", "json_object", "json_schema"] = "text"


class TextSettings(msgspec.Struct):
    """How the text is to be."""

    format: TextFormat | None = None
    verbosity: Literal["medium"] | None = None


class ResponseReasoning(msgspec.Struct):
    """How much to reason before the answer. A summary is not made."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None


class Response(msgspec.Struct, kw_only=True):
    """The body of POST /v1/responses."""

    typed: ClassVar = frozenset({"input"})
    model: _Name
    input: str | Annotated[list[InputItem], Meta(min_length=1, max_length=10_000)]
    instructions: str | None = None
    previous_response_id: _Name | None = None
    stream: bool | None = None
    max_output_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: _Share | None = None
    tools: response_tools.Tools | None = None
    tool_choice: Literal["none", "auto", "required"] | response_tools.ResponseToolChoice | None = (
        None
    )
    parallel_tool_calls: bool | None = None
    reasoning: ResponseReasoning | None = None
    text: TextSettings | None = None
    user: _Name | None = None
    prompt_variables: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    include: Annotated[list[str], Meta(max_length=64)] | None = None
    """Clients ask for encrypted reasoning and the like without need; nothing is included."""
    timings_per_token: bool | None = None

    def conversation(self, past: Sequence[job.Message]) -> job.Chat:
        """The conversation that continues `past`.

        Raises:
            BadRequest: an item is of a kind that is not supported or does not belong where it is,
                or a tool or the choice of tools cannot be used.
        """
        messages = [job.Message("system", self.instructions)] if self.instructions else []
        messages += past
        made = {call.id for message in past for call in message.calls}
        messages += _messages(self.input, made)
        tools = response_tools.functions(self.tools or ())
        choice, only = response_tools.choice(self.tool_choice, tools)
        return job.Chat(
            tuple(messages),
            tools=tools,
            tool_choice=choice,
            only_tool=only,
            parallel_calls=self.parallel_tool_calls,
            effort=self.reasoning.effort if self.reasoning else None,
            instructed=bool(self.instructions),
        )

    def options(self) -> job.Options:
        """What the caller sets.

        Raises:
            BadRequest: the format of the text has no schema that can be held, or
                log-probabilities are to be included.
        """
        if _LOGPROBS in (self.include or ()):
            raise errors.unsupported(
                "include", "log-probabilities are not given here; ask /v1/chat/completions"
            )
        form = (self.text and self.text.format) or TextFormat()
        return job.Options(
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_output_tokens,
            constraint=constraint_fields.formatted(form.type, form.schema, "text.format"),
        )


def _messages(input: str | Sequence[InputItem], made: Container[str]) -> Iterator[job.Message]:
    """The messages of an input. Reasoning and calls that follow each other are one turn."""
    if isinstance(input, str):
        yield job.Message("user", input)
        return
    turn: list[job.Message] = []
    known = {item.call_id for item in input if item.type == "function_call"}
    for place, item in enumerate(input):
        where = f"input[{place}]"
        message = _message(item, where)
        if item.type == "function_call_output":
            if message.call_id not in made and message.call_id not in known:
                raise errors.invalid(f"{where}.call_id", "no call has this id")
        elif message.role == "assistant":
            turn.append(message)
            continue
        if turn:
            yield turns.joined(turn)
            turn = []
        yield message
    if turn:
        yield turns.joined(turn)


def _message(item: InputItem, where: str) -> job.Message:
    if item.type == "message" and item.role is not None:
        role = "system" if item.role == "developer" else item.role
        return job.Message(role, _text(item.content, f"{where}.content"))
    if item.type == "function_call" and item.name is not None:
        name = response_tools.joined(item.namespace, item.name)
        call = tool_bodies.Call(
            tool_bodies.CalledFunction(name, item.arguments or "{}"), item.call_id or ""
        )
        return job.Message("assistant", "", calls=tool_bodies.calls([call], where))
    if item.type == "function_call_output":
        return job.Message(
            "tool", _text(item.output, f"{where}.output"), call_id=item.call_id or ""
        )
    if item.type == "reasoning":
        said = _text(item.content or item.summary or "", f"{where}.content")
        return job.Message("assistant", "", said)
    raise errors.unsupported(where, f"an item of type {item.type[:64]!r} cannot be used here")


def _text(content: str | Sequence[InputPart] | None, where: str) -> str:
    if content is None:
        raise errors.BadRequest(
            f"{where}: this field is required.", code="missing_required_parameter", param=where
        )
    if isinstance(content, str):
        return content
    texts = []
    for place, part in enumerate(content):
        text = part.refusal if part.type == "refusal" else part.text
        if text is None or part.type not in {*_TEXTS, "refusal"}:
            kind = f"a part of type {part.type[:64]!r} is not supported"
            raise errors.unsupported(f"{where}[{place}]", kind)
        texts.append(text)
    return "".join(texts)
