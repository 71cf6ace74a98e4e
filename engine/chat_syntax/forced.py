"""A call that has to be made, or one beside an answer that has to match something.

A model whose calls are JSON objects writes them between its own marks; any other writes the objects
alone, which every model can under a grammar. A call that has to be made is made at once: reasoning
that the prompt has opened is closed. Imported by the backends.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from engine.chat_syntax import written
from engine.chat_syntax.json_calls import JsonCalls
from engine.chat_syntax.syntax import Family, Schemas

_ALONE: Final = JsonCalls(bare=True)
_MORE: Final = 15
"""Calls after the first one."""
_TO_FUNCTION: Final = "<|channel|>commentary<|message|>"


@dataclass(frozen=True, slots=True)
class Forced:
    """`prefix` ends the prompt; `schema` is that of one call, as JSON.

    `family` reads the answer, after `begun`, which is the end of the prefix. `grammar` is what
    follows it, in Lark, and `trial` the same for a vocabulary without the model's control tokens.
    """

    prefix: str
    begun: str
    schema: str
    family: Family
    grammar: str
    trial: str


def of(
    family: Family,
    tools: Schemas,
    *,
    thinking: bool,
    several: bool = False,
    controls: Collection[str] = (),
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
    again = _again(own, controls) if several else None
    call = f"start: call{'' if again is None else again}\ncall: %json {schema}\n"
    trial = call if again is None else f"start: call{_again(own, ())}\ncall: %json {schema}\n"
    return Forced(
        prefix + begun,
        begun,
        schema,
        replace(family, calls=replace(own, bare=True), channels=False, given=""),
        call,
        trial,
    )


def either(family: Family, tools: Schemas, *, several: bool, controls: Collection[str]) -> Forced:
    """Calls that a model may make instead of an answer, from the beginning of its text.

    Its own mark comes before them, or none.
    """
    own = _own(family)
    schema = _any_of(_calls(own, tools))

    def grammar(known: Collection[str]) -> str:
        again = (_again(own, known) if several else None) or ""
        opening = written.mark(own.opens[0], known) if own.opens and not own.bare else None
        opened = "" if opening is None else f'({opening} "\\n")? '
        close = written.mark(own.close, known) if own.close and opening is not None else None
        end = "" if close is None or again else f' ("\\n"? {close})?'
        return f"start: {opened}call{again}{end}\ncall: %json {schema}\n"

    return Forced(
        "",
        "",
        schema,
        replace(family, calls=replace(own, bare=True), channels=False, given=""),
        grammar(controls),
        grammar(()),
    )


def _own(family: Family) -> JsonCalls:
    """The family's own form of calls where it is JSON, else objects alone."""
    calls = family.calls
    return calls if isinstance(calls, JsonCalls) and not calls.keyed else _ALONE


def _again(form: JsonCalls, controls: Collection[str]) -> str | None:
    """More calls after one, in a grammar; None where a mark between them has no name there."""
    if form.bare or not form.opens or not form.close:
        return f' ("\\n" call){{0,{_MORE}}}'
    opening, close = written.mark(form.opens[0], controls), written.mark(form.close, controls)
    if opening is None or close is None:
        return None
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
    return json.dumps({"anyOf": options, **written.SPACING}, ensure_ascii=False)


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
