"""Messages as the clients of chat completions send them, and how those of one turn are joined.

Imported by the bodies of requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from engine.execution import job
from engine.gateway import errors, tool_bodies

_TEXT_PARTS: Final = ("text", "refusal")
_SMALL: Final = 1000
"""Bytes of an unsupported field that are worth decoding: no value that is ignored has so many."""
_Name = Annotated[str, Meta(max_length=512)]
_Unsupported = msgspec.Raw | msgspec.UnsetType


class Part(msgspec.Struct, gc=False):
    """A part of a message's content; only text is supported."""

    type: str
    text: str | None = None


class Turn(msgspec.Struct, gc=False):
    """A message; a field that is not supported is refused if it would change the answer."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None
    tool_calls: tool_bodies.Calls | None = None
    tool_call_id: _Name | None = None
    name: _Name | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    function_call: _Unsupported = msgspec.UNSET
    audio: _Unsupported = msgspec.UNSET

    def message(self, place: int) -> job.Message:
        """The message for a chat template; `place` is its index in `messages`.

        Raises:
            BadRequest: it holds something other than text.
        """
        if self.function_call or self.audio or self.role == "function":
            self._check_others(place)
        content = self.content if isinstance(self.content, str) else self._content(place)
        role = "system" if self.role == "developer" else self.role
        reasoned = self.reasoning_content or self.reasoning
        if not (self.tool_calls or reasoned or self.role == "tool"):  # as nearly all are
            return job.Message(role, content)
        if self.tool_calls and self.role != "assistant":
            where = f"messages[{place}].tool_calls"
            raise errors.invalid(where, "only a message of role assistant calls tools")
        return job.Message(
            role,
            content,
            reasoned or "",
            tool_bodies.calls(self.tool_calls or (), f"messages[{place}]"),
            self.tool_call_id or "",
            (self.name or "") if self.role == "tool" else "",
        )

    def _content(self, place: int) -> str:
        """The text of content that is not one text."""
        if isinstance(self.content, list):
            for number, part in enumerate(self.content):
                if part.type not in _TEXT_PARTS or (part.type == "text" and part.text is None):
                    raise errors.unsupported(
                        f"messages[{place}].content[{number}]",
                        "only parts of type text are supported",
                    )
            return "".join(part.text or "" for part in self.content)
        if self.role != "assistant":
            where = f"messages[{place}].content"
            raise errors.invalid(where, f"a message of role {self.role} needs content")
        return ""

    def _check_others(self, place: int) -> None:
        """Refuse fields that are not supported if they say anything."""
        sent = [raw for raw in (self.function_call, self.audio) if raw]
        said = any(len(raw) > _SMALL or msgspec.json.decode(raw) for raw in sent)
        if said or self.role == "function":
            raise errors.unsupported(
                f"messages[{place}]", "audio and functions are not supported; use tools"
            )


def joined(messages: Sequence[job.Message]) -> job.Message:
    """Messages of one role as one, their texts on lines of their own."""
    if len(messages) == 1:
        return messages[0]
    return job.Message(
        messages[0].role,
        "\n".join(each.content for each in messages if each.content),
        "\n".join(each.reasoning for each in messages if each.reasoning),
        tuple(call for each in messages for call in each.calls),
    )
