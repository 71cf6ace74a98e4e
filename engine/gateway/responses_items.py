"""The items of a response's output: a message, reasoning, or the call of a function.

Imported by `engine.gateway.responses_format`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from engine.execution.answers import Choice
from engine.execution.job import Call

Namespaces = Mapping[str, tuple[str, str]]
"""The namespace and the name of functions by the name that a model calls."""


class Item(ABC):
    """One item; `text` is all of it when it is complete.

    `event` names the events of a stream that have its text, `field` is where the last has all.
    """

    event: ClassVar[str]
    field: ClassVar[str] = "text"

    def __init__(self, id: str, text: str = "") -> None:
        self.id = id
        self.text = text

    @abstractmethod
    def document(self, status: str) -> dict[str, Any]:
        """The item; without its text while it is in progress."""

    def part(self) -> dict[str, Any] | None:
        """The only part of its content, None where it has no content."""
        return None

    def _content(self, status: str) -> list[dict[str, Any] | None]:
        return [] if status == "in_progress" else [self.part()]


class Message(Item):
    """The text of the answer."""

    event = "response.output_text"

    def document(self, status: str) -> dict[str, Any]:
        """With its text as the only part."""
        return {
            "id": f"msg_{self.id}",
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": self._content(status),
        }

    def part(self) -> dict[str, Any]:
        """The text."""
        return {"type": "output_text", "text": self.text, "annotations": [], "logprobs": []}


class Reasoning(Item):
    """What comes before the answer."""

    event = "response.reasoning_text"

    def document(self, status: str) -> dict[str, Any]:
        """With its text as the only part, and without a summary: none is made."""
        return {
            "id": f"rs_{self.id}",
            "type": "reasoning",
            "status": status,
            "summary": [],
            "content": self._content(status),
        }

    def part(self) -> dict[str, Any]:
        """The reasoning."""
        return {"type": "reasoning_text", "text": self.text}


class FunctionCall(Item):
    """A call; its text are the arguments."""

    event = "response.function_call_arguments"
    field = "arguments"

    def __init__(self, id: str, call: Call, namespaces: Namespaces) -> None:
        super().__init__(id, call.arguments)
        self._id = call.id
        self._namespace, self._name = namespaces.get(call.name, ("", call.name))

    def document(self, status: str) -> dict[str, Any]:
        """With the id by which its output is returned."""
        return {
            "id": f"fc_{self.id}",
            "type": "function_call",
            "status": status,
            "call_id": self._id,
            **({"namespace": self._namespace} if self._namespace else {}),
            "name": self._name,
            "arguments": self.text,
        }


def of(choice: Choice, id: str, namespaces: Namespaces) -> Iterator[Item]:
    """The items of a finished choice, in the order in which a model writes them."""
    if choice.reasoning:
        yield Reasoning(f"{id}_0", choice.reasoning)
    if choice.text or not choice.calls:
        yield Message(f"{id}_1", choice.text)
    for number, call in enumerate(choice.calls, 2):
        yield FunctionCall(f"{id}_{number}", call, namespaces)
