"""Bodies of Anthropic's Messages API, in terms of a job.

Content is text, reasoning, and calls of tools with their results; images, documents and server
tools are refused with their place. Imported by `engine.gateway.messages`.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from engine.execution import job
from engine.gateway import constraint_fields, errors, request_bodies, tool_bodies, turns

IGNORED: Final = frozenset({"service_tier", "inference_geo", "context_management"})
"""Fields whose value never changes the answer."""

UNCHANGING: Final[Mapping[str, tuple[object, ...]]] = {
    "container": (),
    "mcp_servers": ([],),
}
"""Fields that are not supported, with the values, beside null, that leave the answer unchanged."""

_ROLES: Final = {"user": "user", "assistant": "assistant", "system": "user"}

_Name = Annotated[str, Meta(max_length=512)]
_Stop = Annotated[str, Meta(min_length=1, max_length=1024)]
_Share = Annotated[float, Meta(ge=0, le=1)]
_Ignored = msgspec.Raw | msgspec.UnsetType


class ContentBlock(msgspec.Struct, gc=False):
    """A block of content; which fields it has depends on its type.

    `cache_control`, `citations` and `signature` change no answer here.
    """

    type: str
    text: str | None = None
    thinking: str | None = None
    id: _Name | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    tool_use_id: _Name | None = None
    content: str | list[ContentBlock] | None = None
    is_error: bool | None = None
    cache_control: _Ignored = msgspec.UNSET
    citations: _Ignored = msgspec.UNSET
    signature: _Ignored = msgspec.UNSET


class MessageTurn(msgspec.Struct, gc=False):
    """One message of the conversation.

    One of the system is part of the user's turn: few chat templates take it after the beginning.
    """

    role: Literal["user", "assistant", "system"]
    content: str | list[ContentBlock]


class MessageMetadata(msgspec.Struct):
    """Whom the request is for."""

    user_id: _Name | None = None


class MessageTool(msgspec.Struct, gc=False):
    """A tool of the client; the server's own are not supported."""

    name: str
    type: str = "custom"
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None
    cache_control: _Ignored = msgspec.UNSET


class MessageToolChoice(msgspec.Struct):
    """Whether a tool has to be called, and which."""

    type: Literal["auto", "any", "tool", "none"]
    name: _Name | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(msgspec.Struct):
    """How much to reason before the answer; `adaptive` leaves it to the model."""

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    display: Literal["full", "summarized", "omitted"] | None = None


class OutputFormat(msgspec.Struct, forbid_unknown_fields=True):
    """What the answer must match."""

    type: Literal["json_schema"]
    schema: _Ignored = msgspec.UNSET


class OutputConfig(msgspec.Struct, forbid_unknown_fields=True):
    """How the answer is to be."""

    format: OutputFormat | None = None
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None


class TokenCount(msgspec.Struct, kw_only=True):
    """The fields that make the prompt: the body of POST /v1/messages/count_tokens."""

    model: _Name
    messages: Annotated[list[MessageTurn], Meta(min_length=1, max_length=10_000)]
    system: str | list[ContentBlock] | None = None
    tools: Annotated[list[MessageTool], Meta(max_length=tool_bodies.TOOLS_LIMIT)] | None = None
    tool_choice: MessageToolChoice | None = None
    thinking: Thinking | None = None
    metadata: MessageMetadata | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None
    prompt_variables: dict[str, Any] | None = None

    @property
    def unit(self) -> str | None:
        """The user who stays on one arm of a split."""
        return self.metadata.user_id if self.metadata else None

    def input(self) -> job.Chat:
        """The conversation; consecutive messages of one role are one, as Anthropic says.

        Raises:
            BadRequest: a block is of a type that is not supported or does not belong where it is,
                a tool or the choice of tools cannot be used, or there is nothing to answer.
        """
        messages: list[job.Message] = []
        if self.system:
            messages.append(job.Message("system", _text(self.system, "system")))
        for role, group in groupby(self._turns(), key=lambda message: message.role):
            said = [*group]
            messages += said if role == "tool" else [turns.joined(said)]
        if all(message.role == "system" for message in messages):
            raise errors.invalid("messages", "none of them has content")
        last = messages[-1]
        if last.role == "assistant" and (last.calls or not last.content):
            silent = "the last one is the assistant's, and has no text to continue"
            raise errors.invalid("messages", silent)
        tools = self._tools()
        choice, only = self._choice(tools)
        parallel = self.tool_choice and self.tool_choice.disable_parallel_tool_use
        return job.Chat(
            tuple(messages),
            tools=tools,
            tool_choice=choice,
            only_tool=only,
            parallel_calls=None if parallel is None else not parallel,
            effort=self._effort(),
            continued=last.role == "assistant",
        )

    def _effort(self) -> str | None:
        """How much to reason, where reasoning is asked for at all."""
        if self.thinking is None or self.thinking.type == "disabled":
            return None
        return self.output_config.effort if self.output_config else None

    def _turns(self) -> Iterator[job.Message]:
        made: set[str] = set()
        for place, turn in enumerate(self.messages):
            where = f"messages[{place}].content"
            if isinstance(turn.content, str):
                yield job.Message(_ROLES[turn.role], turn.content)
            elif turn.role == "assistant":
                message = _assistant(turn.content, where)
                made.update(call.id for call in message.calls)
                yield message
            else:
                yield from _user(turn.content, where, made)

    def _tools(self) -> tuple[job.Tool, ...]:
        sent = []
        for place, tool in enumerate(self.tools or ()):
            if tool.type != "custom":
                where = f"tools[{place}].type"
                raise errors.unsupported(
                    where, f"tools of type {tool.type[:64]!r} are not supported"
                )
            function = tool_bodies.Function(
                tool.name, tool.description, tool.input_schema, tool.strict
            )
            sent.append((f"tools[{place}]", function))
        return tool_bodies.functions(sent, "input_schema")

    def _choice(self, tools: Sequence[job.Tool]) -> tuple[str, str]:
        sent = self.tool_choice
        if sent is None or sent.type in {"auto", "none"}:
            return "auto" if sent is None else sent.type, ""
        if sent.type == "any":
            return tool_bodies.choice("required", tools)
        return tool_bodies.named(sent.name or "", tools, "tool_choice.name")


class Message(TokenCount, kw_only=True):
    """The body of POST /v1/messages."""

    max_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    stop_sequences: Annotated[list[_Stop], Meta(max_length=request_bodies.STOPS_LIMIT)] | None = (
        None
    )
    stream: bool | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_k: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    top_p: _Share | None = None

    def options(self) -> job.Options:
        """What the caller sets.

        Raises:
            BadRequest: the format of the answer has no schema that can be held.
        """
        return job.Options(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            max_tokens=self.max_tokens,
            stop=tuple(self.stop_sequences or ()),
            thinking_budget=self._thinking(),
            constraint=self._constraint(),
        )

    @property
    def shows_thoughts(self) -> bool:
        """Whether the answer has the text of its reasoning."""
        return self.thinking is None or self.thinking.display != "omitted"

    def _constraint(self) -> job.Constraint | None:
        field, form = "output_format", self.output_format
        if form is None and self.output_config is not None:
            field, form = "output_config.format", self.output_config.format
        if form is None:
            return None
        return constraint_fields.formatted(form.type, form.schema, field)

    def _thinking(self) -> int | None:
        if self.thinking is None or self.thinking.type == "adaptive":
            return None
        return self.thinking.budget_tokens if self.thinking.type == "enabled" else 0


def _assistant(blocks: Sequence[ContentBlock], where: str) -> job.Message:
    """The turn of an assistant: reasoning, text and calls."""
    reasoning, text, calls = list[str](), list[str](), list[tool_bodies.Call]()
    for place, block in enumerate(blocks):
        if block.type == "tool_use" and block.name is not None:
            arguments = msgspec.json.encode(block.input or {}).decode()
            called = tool_bodies.CalledFunction(block.name, arguments)
            calls.append(tool_bodies.Call(called, block.id or ""))
        elif block.type == "thinking" and block.thinking is not None:
            reasoning.append(block.thinking)
        elif block.type != "redacted_thinking":
            text.append(_plain(block, f"{where}[{place}]"))
    return job.Message(
        "assistant", "".join(text), "".join(reasoning), tool_bodies.calls(calls, where)
    )


def _user(
    blocks: Sequence[ContentBlock], where: str, made: Container[str]
) -> Iterator[job.Message]:
    """The turn of a user: the results of calls that were `made` before, then the text."""
    text: list[str] = []
    for place, block in enumerate(blocks):
        if block.type == "tool_result":
            if block.tool_use_id is None or block.tool_use_id not in made:
                unknown = "no message before it makes this call"
                raise errors.invalid(f"{where}[{place}].tool_use_id", unknown)
            content = _text(block.content or "", f"{where}[{place}].content")
            said = f"Error: {content}" if block.is_error else content
            yield job.Message("tool", said, call_id=block.tool_use_id)
        else:
            text.append(_plain(block, f"{where}[{place}]"))
    if text:
        yield job.Message("user", "".join(text))


def _text(content: str | list[ContentBlock], where: str) -> str:
    if isinstance(content, str):
        return content
    return "".join(_plain(block, f"{where}[{place}]") for place, block in enumerate(content))


def _plain(block: ContentBlock, where: str) -> str:
    if block.type == "text" and block.text is not None:
        return block.text
    raise errors.unsupported(where, f"a block of type {block.type[:64]!r} cannot be used here")
