"""A call that has to be made: what the prompt ends with, and the JSON schema of what follows.

A model whose calls are JSON objects continues after its own mark; any other writes the object
alone, which every model can under a grammar. Exactly one call is made, at once: reasoning that the
prompt has opened is closed. Imported by the backends.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from engine.chat_syntax.json_calls import JsonCalls
from engine.chat_syntax.syntax import Family, Schemas

_ALONE: Final = JsonCalls(bare=True)
_SPACING: Final = {
    "x-guidance": {
        "whitespace_flexible": False, "key_separator": ": ", "item_separator": ", ",
    }
}  # fmt: skip
"""Spaces as models are trained to write them: one that may write others fills its answer with them.
llguidance reads this."""
_TO_FUNCTION: Final = "<|channel|>commentary<|message|>"


@dataclass(frozen=True, slots=True)
class Forced:
    """`prefix` ends the prompt; `schema` is that of what follows, as JSON.

    `family` reads the answer, after `begun`, which is the end of the prefix.
    """

    prefix: str
    begun: str
    schema: str
    family: Family


def of(family: Family, tools: Schemas, *, thinking: bool) -> Forced:
    """How one of these tools is called; `thinking`: the prompt opens the reasoning."""
    calls = family.calls
    own = calls if isinstance(calls, JsonCalls) and not calls.keyed else _ALONE
    marks = family.reasoning
    prefix = f"\n{marks.closing}\n\n" if thinking and marks is not None else ""
    if family.channels:
        prefix = _TO_FUNCTION
    begun = f"{own.opens[0]}\n" if own.opens and not own.bare else ""
    options = [
        {
            "type": "object",
            "properties": {
                own.name_key: {"const": name},
                own.arguments_key: _moved(
                    dict(schema or {"type": "object"}),
                    f"#/anyOf/{place}/properties/{own.arguments_key}",
                ),
            },
            "required": [own.name_key, own.arguments_key],
            "additionalProperties": False,
        }
        for place, (name, schema) in enumerate(tools.items())
    ]
    return Forced(
        prefix + begun,
        begun,
        json.dumps({"anyOf": options, **_SPACING}, ensure_ascii=False),
        replace(family, calls=replace(own, bare=True), channels=False, given=""),
    )


def _moved(schema: Any, to: str) -> Any:
    """A schema that is now within another one: what it refers to has moved with it."""
    if isinstance(schema, Mapping):
        return {
            key: to + value[1:]
            if key == "$ref" and isinstance(value, str) and value.startswith("#")
            else _moved(value, to)
            for key, value in schema.items()
        }
    if isinstance(schema, list):
        return [_moved(each, to) for each in schema]
    return schema
