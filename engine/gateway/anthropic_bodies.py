"""Bodies of Anthropic's Messages API, in terms of a job.

Content is text; images, documents and server tools are refused with their place. Imported by
`engine.gateway.messages`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from engine.execution import job
from engine.gateway import errors, request_bodies

IGNORED: Final = frozenset({"service_tier", "inference_geo", "context_management"})
"""Fields whose value never changes the answer."""

UNCHANGING: Final[Mapping[str, tuple[object, ...]]] = {
    "container": (),
    "mcp_servers": ([],),
    "output_config": ({},),
    "output_format": (),
    "thinking": ({"type": "disabled"},),
    "tool_choice": ({"type": "auto"}, {"type": "none"}),
    "tools": ([],),
}
"""Fields that are not supported, with the values, beside null, that leave the answer unchanged."""

_Name = Annotated[str, Meta(max_length=512)]
_Stop = Annotated[str, Meta(min_length=1, max_length=1024)]
_Share = Annotated[float, Meta(ge=0, le=1)]


class ContentBlock(msgspec.Struct, gc=False):
    """A block of content; only text is supported. `cache_control` changes no answer."""

    type: str
    text: str | None = None
    cache_control: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class MessageTurn(msgspec.Struct, gc=False):
    """One message of the conversation."""

    role: Literal["user", "assistant"]
    content: str | list[ContentBlock]


class MessageMetadata(msgspec.Struct):
    """Whom the request is for."""

    user_id: _Name | None = None


class TokenCount(msgspec.Struct, kw_only=True):
    """The body of POST /v1/messages/count_tokens, and what both bodies share."""

    model: _Name
    messages: Annotated[list[MessageTurn], Meta(min_length=1, max_length=10_000)]
    system: str | list[ContentBlock] | None = None
    metadata: MessageMetadata | None = None
    prompt_variables: dict[str, Any] | None = None

    @property
    def unit(self) -> str | None:
        """The user who stays on one arm of a split."""
        return self.metadata.user_id if self.metadata else None

    def input(self) -> job.Chat:
        """The conversation; consecutive messages of one role are one, as Anthropic says.

        Raises:
            BadRequest: a message holds something other than text, or there is nothing to answer.
        """
        messages: list[job.Message] = []
        if self.system:
            messages.append(job.Message("system", _text(self.system, "system")))
        for place, turn in enumerate(self.messages):
            message = job.Message(turn.role, _text(turn.content, f"messages[{place}].content"))
            if messages and messages[-1].role == message.role:
                said = messages.pop().content
                message = job.Message(turn.role, f"{said}\n{message.content}")
            messages.append(message)
        if messages[-1].role == "assistant":
            raise errors.BadRequest(
                "messages: the last one is the assistant's, and continuing it is not supported.",
                code="unsupported_parameter",
                param="messages",
            )
        return job.Chat(tuple(messages))


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
        """What the caller sets."""
        return job.Options(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            max_tokens=self.max_tokens,
            stop=tuple(self.stop_sequences or ()),
        )


def _text(content: str | list[ContentBlock], where: str) -> str:
    if isinstance(content, str):
        return content
    for number, block in enumerate(content):
        if block.type != "text" or block.text is None:
            place = f"{where}[{number}]"
            raise errors.BadRequest(
                f"{place}: only blocks of type text are supported.",
                code="unsupported_parameter",
                param=place,
            )
    return "".join(block.text or "" for block in content)
