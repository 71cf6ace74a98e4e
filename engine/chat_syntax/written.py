"""Calls as grammars: what a model may write of a call in the syntax of its family.

In Lark as llguidance reads it. Tags and marks that are control tokens of the model are named as
such; `controls` holds them. Imported by its neighbours `forced` and `lazy`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
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
_ANNOTATIONS: Final = frozenset({"title", "description", "default", "examples"})
_OPTIONS: Final = 32
"""Schemas that are looked at for the types of one argument."""
_COMBINED: Final = frozenset(
    {"$ref", "$dynamicRef", "anyOf", "oneOf", "allOf", "not", "if", "then", "else"}
)
_OF_OBJECTS: Final = _COMBINED | {
    "const", "enum", "patternProperties", "propertyNames", "minProperties", "maxProperties",
    "dependencies", "dependentRequired", "dependentSchemas",
}  # fmt: skip
"""What says more of the arguments than a list of them does."""
_OF_TEXTS: Final = _COMBINED | {"pattern", "format", "minLength", "maxLength"}
"""What says more of a text than that it is one of several."""


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

    Arguments come in the order of the schema, and none that it does not list. A text is free unless
    it is one of several. None where the form, or the schema, cannot be written as a grammar.
    """
    known = schema or {}
    properties, required = known.get("properties", {}), known.get("required", ())
    close = mark(form.close, controls)
    if close is None or not isinstance(properties, Mapping) or not _listed(known):
        return None
    order, rules = [], []
    for place, key in enumerate(properties):
        name = f"{rule}_{place}"
        written = _argument(form, name, known, key, controls)
        if written is None:
            return None
        rules.append(written)
        order.append(name if key in required else f"{name}?")
    return f"{rule}: WS? {' '.join(order)} {close}\n" + "".join(rules)


def _listed(root: Mapping[str, Any]) -> bool:
    """Whether the arguments are those of a list, each with a schema that is its own."""
    kind, properties = root.get("type", "object"), root.get("properties", {})
    return (
        "object" in (kind if isinstance(kind, list) else [kind])
        and _OF_OBJECTS.isdisjoint(root)
        and all(key in properties for key in root.get("required", ()))
        and bool(properties or not root.get("additionalProperties"))
    )


def _argument(
    form: TaggedCalls, name: str, root: Mapping[str, Any], key: str, controls: Collection[str]
) -> str | None:
    """The rules of one argument, the first of them `name`."""
    described = root["properties"][key]
    described = {} if described is True else described
    if not isinstance(described, Mapping):
        return None
    as_text = tagged_calls.is_text(root, key)
    if "{type}" not in form.typed:
        begin = _begin(form, key, "", controls, as_text=as_text)
        value = _value(form, name, root, described, key, controls, as_text=as_text)
        return None if begin is None or value is None else f"{name}: {begin} {value}"
    rules, options = [], []
    for place, inner in enumerate(_typed(root, described)):
        kind, one = inner["type"], f"{name}_{place}"
        text = kind == "string"
        begin = _begin(form, key, kind, controls, as_text=text)
        value = _value(form, one, root, inner, key, controls, as_text=text)
        if begin is None or value is None:
            return None
        rules.append(f"{one}: {begin} {value}")
        options.append(one)
    return f"{name}: {' | '.join(options)}\n{''.join(rules)}" if options else None


def _typed(root: Mapping[str, Any], described: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A schema as several of one type each; empty where one of them says none."""
    found: list[Mapping[str, Any]] = []
    waiting: list[Any] = [described]
    for _ in range(_OPTIONS):
        if not waiting:
            return found
        each = waiting.pop()
        says = each.keys() - _ANNOTATIONS if isinstance(each, Mapping) else set()
        if says == {"$ref"}:
            defined = root.get("$defs")
            name = str(each["$ref"]).removeprefix("#/$defs/")
            waiting.append(defined.get(name) if isinstance(defined, Mapping) else None)
        elif says == {"anyOf"} and isinstance(each["anyOf"], list):
            waiting.extend(each["anyOf"])
        else:
            kinds = _kinds(each) if says else []
            if not kinds:
                break
            found.extend({**each, "type": kind} for kind in kinds)
    return []


def _kinds(described: Mapping[str, Any]) -> list[str]:
    """The types that a schema names."""
    texts = tagged_calls.is_text({"properties": {"": described}}, "")
    kinds = described.get("type", "string" if texts else [])
    kinds = kinds if isinstance(kinds, list) else [kinds]
    return kinds if all(isinstance(each, str) for each in kinds) else []


def _begin(
    form: TaggedCalls, key: str, kind: str, controls: Collection[str], *, as_text: bool
) -> str | None:
    """The tags before a value; None where they would not be read back as they are meant."""
    label = form.typed.format(key=key, text=str(as_text).lower(), type=_NUMBERS.get(kind, kind))
    again = form.key.fullmatch(label)
    if again is None or again["key"] != key or form.item_end in label or "<" in key:
        return None
    head = mark(f"{form.item}{label}{form.item_end}", controls)
    before = mark(form.value, controls) if form.value else ""
    if head is None or before is None:
        return None
    return f"{head} WS? {before}" if before else head


def _value(
    form: TaggedCalls,
    name: str,
    root: Mapping[str, Any],
    described: Mapping[str, Any],
    key: str,
    controls: Collection[str],
    *,
    as_text: bool,
) -> str | None:
    """A value and the tag after it, and perhaps a rule for its text."""
    end = form.value_end.replace("{key}", key)
    after = mark(end, controls)
    fold = '"\\n"? ' if form.folded else ""
    if after is None or (as_text and not _OF_TEXTS.isdisjoint(described)):
        return None
    if not as_text:
        held = _held(root, described)
        return None if held is None else f"{fold}{held} {fold}{after} WS?\n"
    if "enum" in described or "const" in described:
        some = _some(described, end)
        return f"{fold}({some}) {fold}{after} WS?\n" if some else None
    if any(end.startswith(each) for each in controls):  # which no text has within it
        return f"ANY? {after} WS?\n"
    return f"{name}_text WS?\n{name}_text[lazy]: ANY {json.dumps(end)}\n"


def _some(described: Mapping[str, Any], end: str) -> str:
    """The texts of an `enum`, or the one of a `const`; empty where there are none."""
    options = described.get("enum", [described.get("const")])
    texts = [each for each in options if isinstance(each, str)] if isinstance(options, list) else []
    if "const" in described:
        texts = [each for each in texts if each == described["const"]]
    if any(end in each for each in texts):
        return ""
    return " | ".join(json.dumps(each, ensure_ascii=False) for each in texts)


def _held(root: Mapping[str, Any], described: Mapping[str, Any]) -> str | None:
    """A value as JSON; None where its schema refers to what is not within it."""
    held = {**{each: root[each] for each in _DEFINED if each in root}, **described}
    within = tuple(f"#/{each}/" for each in _DEFINED if each in held)
    if any(not (within and each.startswith(within)) for each in _references(held)):
        return None
    return f"%json {json.dumps({**held, **SPACING}, ensure_ascii=False)}"


def _references(schema: Any) -> Iterator[str]:
    """What a schema refers to."""
    waiting = [schema]
    while waiting:
        each = waiting.pop()
        if isinstance(each, Mapping):
            if isinstance(each.get("$ref"), str):
                yield each["$ref"]
            each = list(each.values())
        if isinstance(each, list):
            waiting.extend(each)
