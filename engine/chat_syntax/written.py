"""Calls as grammars: what a model may write of a call in the syntax of its family.

In Lark as llguidance reads it. Tags and marks that are control tokens of the model are named as
such; `controls` holds them. Imported by its neighbours `forced` and `lazy`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from engine.chat_syntax import tagged_calls
from engine.chat_syntax.tagged_calls import TaggedCalls

SPACING: Final = {
    "x-guidance": {
        "whitespace_flexible": False, "key_separator": ": ", "item_separator": ", ",
    }
}  # fmt: skip
"""Spaces as models are trained to write them: one that may write others fills its answer with them.
llguidance reads this."""
TERMINALS: Final = "WS: /[ \\n\\t]{1,8}/\nANY: /(.|\\n)*/\n"
_TOKEN: Final = re.compile(r"<[^<>\s]+>")
_NUMBERS: Final = {"integer": "number"}
_DEFINED: Final = ("$defs", "definitions")


def mark(text: str, controls: Collection[str]) -> str | None:
    """A mark in a grammar; None where a control token in it has no name there."""
    spelled = sorted((each for each in controls if each and each in text), key=len, reverse=True)
    pieces = re.split(f"({'|'.join(map(re.escape, spelled))})", text) if spelled else [text]
    if any(each in controls and not _TOKEN.fullmatch(each) for each in pieces):
        return None
    return " ".join(
        each if each in controls else json.dumps(each, ensure_ascii=False)
        for each in pieces
        if each
    )


def arguments(schema: Mapping[str, Any] | None, *, strict: bool) -> str:
    """The arguments as JSON: held to the schema, or any object."""
    held = {"type": "object", **((schema or {}) if strict else {}), **SPACING}
    return f"%json {json.dumps(held, ensure_ascii=False)}"


def tagged(
    form: TaggedCalls, rule: str, schema: Mapping[str, Any] | None, controls: Collection[str]
) -> str | None:
    """The rules for everything after the name of a call, the first of them `rule`.

    Arguments come in the order of the schema. A text is free unless it is one of several. None
    where the form, or the schema, cannot be written as a grammar.
    """
    known, properties = schema or {}, (schema or {}).get("properties", {})
    close = mark(form.close, controls)
    if close is None or not isinstance(properties, Mapping):
        return None
    required = known.get("required", ())
    order, rules = [], []
    for place, key in enumerate(properties):
        name = f"{rule}_{place}"
        written = _argument(form, name, known, key, controls)
        if written is None:
            return None
        rules.append(written)
        order.append(name if key in required else f"{name}?")
    return f"{rule}: WS? {' '.join(order)} {close}\n" + "".join(rules)


def _argument(
    form: TaggedCalls, name: str, root: Mapping[str, Any], key: str, controls: Collection[str]
) -> str | None:
    """The rules of one argument, the first of them `name`."""
    as_text = tagged_calls.is_text(root, key)
    described = root["properties"][key]
    described = described if isinstance(described, Mapping) else {}
    kind = "string" if as_text else str(described.get("type", ""))
    said = form.typed.format(key=key, text=str(as_text).lower(), type=_NUMBERS.get(kind, kind))
    head = mark(f"{form.item}{said}{form.item_end}", controls)
    before = mark(form.value, controls) if form.value else ""
    end = form.value_end.replace("{key}", key)
    after = mark(end, controls)
    if head is None or before is None or after is None or "<" in key:
        return None
    begin = f"{name}: {head}" + (f" WS? {before}" if before else "")
    fold, options = '"\\n"? ' if form.folded else "", described.get("enum")
    if not as_text:
        held = _held(root, described)
        return None if held is None else f"{begin} {fold}{held} {fold}{after} WS?\n"
    if options:
        some = " | ".join(json.dumps(each, ensure_ascii=False) for each in options)
        return f"{begin} {fold}({some}) {fold}{after} WS?\n"
    if any(end.startswith(each) for each in controls):  # which no text has within it
        return f"{begin} ANY? {after} WS?\n"
    return f"{begin} {name}_text WS?\n{name}_text[lazy]: ANY {json.dumps(end)}\n"


def _held(root: Mapping[str, Any], described: Mapping[str, Any]) -> str | None:
    """A value as JSON; None where its schema refers to what is not within it."""
    defined = {each: root[each] for each in _DEFINED if each in root}
    if "#/" in json.dumps(described) and not defined:
        return None
    held = json.dumps({**defined, **described, **SPACING}, ensure_ascii=False)
    return f"%json {held}"
