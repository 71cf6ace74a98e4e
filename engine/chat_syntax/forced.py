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

    `family` reads the answer, after `begun`, which is the end of the prefix. `grammar` is the
    schema in Lark: as a schema alone, its own spacing would be overridden.
    """

    prefix: str
    begun: str
    schema: str
    family: Family

    @property
    def grammar(self) -> str:
        """What follows the prefix."""
        return f"start: %json {self.schema}\n"


def of(family: Family, tools: Schemas, *, thinking: bool) -> Forced:
    """How one of these tools is called; `thinking`: the prompt opens the reasoning."""
    calls = family.calls
    own = calls if isinstance(calls, JsonCalls) and not calls.keyed else _ALONE
    marks = family.reasoning
    prefix = f"\n{marks.closing}\n\n" if thinking and marks is not None else ""
    if family.channels:
        prefix = _TO_FUNCTION
    begun = f"{own.opens[0]}\n" if own.opens and not own.bare else ""
    return Forced(
        prefix + begun,
        begun,
        _any_of(_calls(own, tools, 0)),
        replace(family, calls=replace(own, bare=True), channels=False, given=""),
    )


def either(family: Family, tools: Schemas, answer: str) -> Forced:
    """An answer that a JSON schema describes, or a call of a tool: the model chooses."""
    described = _moved(json.loads(answer), "#/anyOf/0")
    return Forced(
        "",
        "",
        _any_of([described, *_calls(_ALONE, tools, 1)]),
        replace(family, calls=_ALONE, channels=False, given=""),
    )


def _calls(form: JsonCalls, tools: Schemas, first: int) -> list[dict[str, Any]]:
    """The schemas of the calls; `first` is the place of the first one among the options."""
    return [
        {
            "type": "object",
            "properties": {
                form.name_key: {"const": name},
                form.arguments_key: _moved(
                    {"type": "object", **(schema or {})},
                    f"#/anyOf/{place}/properties/{form.arguments_key}",
                ),
            },
            "required": [form.name_key, form.arguments_key],
            "additionalProperties": False,
        }
        for place, (name, schema) in enumerate(tools.items(), first)
    ]


def _any_of(options: list[Any]) -> str:
    return json.dumps({"anyOf": options, **_SPACING}, ensure_ascii=False)


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
