"""Answers for tests: parsed whole or in pieces, and added up as a client adds them up."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from engine.chat_syntax.parser import Parser
from engine.chat_syntax.syntax import Family

TOOLS: dict[str, dict[str, Any]] = {
    "get_weather": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    },
    "get_time": {"type": "object", "properties": {"city": {"type": "string"}}},
}


class Said(NamedTuple):
    """What an answer says, with the arguments of its calls as text."""

    content: str
    reasoning: str
    calls: list[tuple[str, str]]

    @property
    def made(self) -> list[tuple[str, Any]]:
        """The calls with their arguments as values."""
        return [(name, json.loads(arguments)) for name, arguments in self.calls]


def parsed(family: Family, pieces: Iterable[str], *, cut: bool = False, **fields: Any) -> Said:
    """An answer in pieces."""
    parser = Parser(family, fields.pop("tools", TOOLS), **fields)
    gains = [parser.feed(piece) for piece in pieces]
    gains.append(parser.finish(cut=cut))
    calls: dict[int, tuple[str, str]] = {}
    for part in (part for gained in gains for part in gained.calls):
        name, arguments = calls.get(part.call, ("", ""))
        assert bool(name) != bool(part.name)
        calls[part.call] = (name + part.name, arguments + part.arguments)
    assert list(calls) == list(range(len(calls)))
    assert parser.calls == len(calls)
    return Said(
        "".join(gained.content for gained in gains),
        "".join(gained.reasoning for gained in gains),
        list(calls.values()),
    )
