"""What a family is made of: its marks of reasoning, the form of its calls, and what is no content.

Frozen data, and the sink that readers write to. Imported by the readers, `families` and `parser`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from engine.chat_syntax.source import Reading, Source

Schemas = Mapping[str, Mapping[str, Any] | None]
"""The JSON schemas of the arguments of the tools that may be called, by their names."""


class Part(NamedTuple):
    """Part of a call, counted from 0: the first has the name; `arguments` continue its JSON."""

    call: int
    name: str
    arguments: str


class Gained(NamedTuple):
    """What a piece of an answer adds."""

    content: str
    reasoning: str
    calls: tuple[Part, ...]


class Sink:
    """What readers found since it was last emptied. `tools` may be called, `limit` times.

    `over`: the last call that may be made is complete.
    """

    def __init__(self, tools: Schemas, limit: int) -> None:
        self.tools = tools
        self._limit = limit
        self.calls = 0
        self.over = False
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._parts: list[Part] = []

    @property
    def full(self) -> bool:
        """Whether no other call may follow."""
        return self.calls >= self._limit

    def content(self, text: str) -> None:
        """More content."""
        if text:
            self._content.append(text)

    def reasoning(self, text: str) -> None:
        """More reasoning."""
        if text:
            self._reasoning.append(text)

    def begin(self, source: Source, name: str) -> bool:
        """A call; False where it is of no tool that may be called. The text before is settled."""
        if name not in self.tools or self.full:
            return False
        source.settle()
        self._parts.append(Part(self.calls, name, ""))
        self.calls += 1
        return True

    def arguments(self, text: str) -> None:
        """More arguments of the last call."""
        if not text:
            return
        last = self._parts[-1] if self._parts else None
        if last is not None and last.call == self.calls - 1:
            self._parts[-1] = last._replace(arguments=last.arguments + text)
        else:
            self._parts.append(Part(self.calls - 1, "", text))

    def taken(self) -> Gained:
        """Everything since the last time."""
        gained = Gained("".join(self._content), "".join(self._reasoning), tuple(self._parts))
        self._content.clear()
        self._reasoning.clear()
        self._parts.clear()
        return gained


class Calls(Protocol):
    """The form of calls. `starts` are the texts with which calls begin.

    `bare`: a call may begin without any, at the start of the content. `marks` are all texts that
    have to reach the reader although they may be control tokens.
    """

    @property
    def starts(self) -> tuple[str, ...]:
        """The texts with which calls begin."""

    @property
    def bare(self) -> bool:
        """Whether content that begins with a brace may be a call."""

    @property
    def marks(self) -> tuple[str, ...]:
        """The texts that the reader knows."""

    def read(self, source: Source, sink: Sink) -> Reading[None]:
        """Read calls that begin here; without any the sink has no more calls than before."""


@dataclass(frozen=True, slots=True)
class Reasoning:
    """The marks around reasoning; `forced` is written where it has to end."""

    opening: str
    closing: str
    forced: str = ""

    @property
    def end(self) -> str:
        """What ends it in mid-sentence."""
        return self.forced or f"\n{self.closing}\n\n"


@dataclass(frozen=True, slots=True)
class Family:
    """How the models of a family write.

    `noise` are texts of the format that are no content. `given` ends a prompt and belongs to the
    answer. `channels`: every part of an answer has a header, as in gpt-oss.
    """

    name: str
    calls: Calls | None = None
    reasoning: Reasoning | None = None
    noise: tuple[str, ...] = ()
    given: str = ""
    channels: bool = False

    def marks(self, *, calling: bool) -> tuple[str, ...]:
        """The texts of the format that have to reach the parser even if they are control tokens.

        `calling`: those of calls, too, because there are tools.
        """
        around = self.reasoning
        marks = () if around is None else (around.opening, around.closing)
        calls = self.calls.marks if self.calls is not None and calling else ()
        return tuple(dict.fromkeys(mark for mark in (*marks, *calls, *self.noise) if mark))
