"""A call that has to be made, or one beside an answer that has to match something.

A model whose calls are JSON objects writes them between its own marks; any other writes the objects
alone, which every model can under a grammar. A call that has to be made is made at once: reasoning
that the prompt has opened is closed. Imported by the backends.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from engine.chat_syntax.json_calls import JsonCalls
from engine.chat_syntax.lark import pieces
from engine.chat_syntax.lark.pieces import Controls
from engine.chat_syntax.syntax import Family, Schemas

_ALONE: Final = JsonCalls(bare=True)
_MORE: Final = 15
"""Calls after the first one."""
_TO_FUNCTION: Final = "<|channel|>commentary<|message|>"


@dataclass(frozen=True, slots=True)
class Forced:
    """`prefix` ends the prompt, `family` reads the answer, after `begun`, the end of the prefix.

    `grammar` is what follows it, in Lark, and `trial` the same for a vocabulary without the model's
    control tokens.
    """

    prefix: str
    begun: str
    family: Family
    grammar: str
    trial: str


def of(
    family: Family,
    tools: Schemas,
    *,
    thinking: bool,
    several: bool = False,
    controls: Controls | None = None,
) -> Forced:
    """How one of these tools is called, or `several` times some of them.

    `thinking`: the prompt opens the reasoning. `controls` are the control tokens of the model.
    """
    own = _own(family)
    marks = family.reasoning
    prefix = f"\n{marks.closing}\n\n" if thinking and marks is not None else ""
    if family.channels:
        prefix = _TO_FUNCTION
    begun = f"{own.opens[0]}\n" if own.opens and not own.bare else ""
    schema = _any_of(_calls(own, tools))

    def grammar(known: Controls) -> str:
        return f"start: call{_again(own, known) if several else ''}\ncall: %json {schema}\n"

    return Forced(
        prefix + begun, begun, _reading(family, own), grammar(controls or {}), grammar({})
    )


def either(family: Family, tools: Schemas, *, several: bool, controls: Controls) -> Forced:
    """Calls that a model may make instead of an answer, from the beginning of its text.

    Its own mark comes before them, or none.
    """
    own = _own(family)
    schema = _any_of(_calls(own, tools))

    def grammar(known: Controls) -> str:
        opened, end = "", ""
        if own.opens and not own.bare:
            opened = f'({pieces.mark(own.opens[0], known)} "\\n")? '
            end = f' ("\\n"? {pieces.mark(own.close, known)})?' if own.close else ""
        again = _again(own, known) if several else ""
        return f"start: {opened}call{again or end}\ncall: %json {schema}\n"

    return Forced("", "", _reading(family, own), grammar(controls), grammar({}))


def _reading(family: Family, own: JsonCalls) -> Family:
    """How the answer is read: as objects, behind a mark or not."""
    return replace(family, calls=replace(own, bare=True), channels=False, given="")


def _own(family: Family) -> JsonCalls:
    """The family's own form of calls where it is JSON, else objects alone."""
    calls = family.calls
    return calls if isinstance(calls, JsonCalls) and not calls.keyed else _ALONE


def _again(form: JsonCalls, controls: Controls) -> str:
    """More calls after one, in a grammar, and the mark after the last."""
    if form.bare or not form.opens or not form.close:
        return f' ("\\n" call){{0,{_MORE}}}'
    opening, close = (pieces.mark(each, controls) for each in (form.opens[0], form.close))
    return f' ("\\n"? {close} "\\n"? {opening} "\\n" call){{0,{_MORE}}} ("\\n"? {close})?'


def _calls(form: JsonCalls, tools: Schemas) -> list[dict[str, Any]]:
    """The schemas of the calls."""
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
        for place, (name, schema) in enumerate(tools.items())
    ]


def _any_of(options: list[Any]) -> str:
    return json.dumps({"anyOf": options, **pieces.SPACING}, ensure_ascii=False)


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
