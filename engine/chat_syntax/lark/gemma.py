"""Arguments in a grammar as Gemma writes them: `{city:<|"|>Rome<|"|>,tags:[<|"|>a<|"|>]}`.

Texts and keys have no quotes of JSON at any depth, so that a schema is followed into its parts.
Members come in the order of the alphabet, as the models' template sorts them. Imported by `lazy`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from engine.chat_syntax.gemma_calls import DEPTH, QUOTE
from engine.chat_syntax.lark import pieces, schemas, texts
from engine.chat_syntax.lark.pieces import Controls
from engine.chat_syntax.lark.schemas import Unwritable

_KEY: Final = re.compile(r"[^\s:,\"'<>{}\[\]]+")
_WORDS: Final = {"boolean": '"true" | "false"', "null": '"null"'}
_ANY_KEY: Final = "/[^\\s:,\"'<>{}\\[\\]]{1,64}/"


def rules(rule: str, schema: Mapping[str, Any] | None, controls: Controls) -> str:
    """The rules of the arguments in their braces, the first of them `rule`.

    Raises:
        Unwritable: the schema cannot be held.
    """
    root = {"type": "object", **(schema or {})}
    schemas.listed(root)
    writer = _Writer(rule, root, controls)
    first = writer.value(root, DEPTH)
    return f"{rule}: {first}\n{''.join(writer.rules)}"


class _Writer:
    """Writes one tool's schema as rules, each part once."""

    def __init__(self, rule: str, root: Mapping[str, Any], controls: Controls) -> None:
        self.rules: list[str] = []
        self._rule = rule
        self._root = root
        self._controls = controls
        self._referred: dict[str, str] = {}
        self._any = ""
        self._count = 0

    def value(self, schema: Any, depth: int) -> str:
        """The rule of a value; `depth` is how far it may nest."""
        schema = {} if schema is True else schema
        if not isinstance(schema, Mapping) or not depth:
            raise Unwritable("a schema that is no object, or nests too deep")
        if "$ref" in schema:
            schemas.refuse(schema, schemas.NARROWING - {"$ref"}, "a $ref")
            return self._reference(str(schema["$ref"]), depth)
        options = schema.get("anyOf")
        if isinstance(options, list) and options:
            schemas.refuse(schema, schemas.NARROWING - {"anyOf"}, "an anyOf")
            return self._made(" | ".join(self.value(each, depth - 1) for each in options))
        schemas.refuse(schema, schemas.COMBINED, "a value")
        if "enum" in schema or "const" in schema:
            return self._one_of(schema)
        kinds = schemas.types(schema) or [
            kind for kind, key in (("object", "properties"), ("array", "items")) if key in schema
        ]
        if not kinds:
            schemas.refuse(schema, schemas.NARROWING, "a value without a type")
            return self._anything()
        return self._made(" | ".join(self._of(kind, schema, depth) for kind in kinds))

    def _made(self, body: str) -> str:
        name = self._next()
        self.rules.append(f"{name}: {body}\n")
        return name

    def _next(self) -> str:
        self._count += 1
        return f"{self._rule}_{self._count}"

    def _reference(self, reference: str, depth: int) -> str:
        """The rule of what is referred to, which may refer to itself."""
        if reference not in self._referred:
            target: Any = self._root
            for each in reference.removeprefix("#").split("/")[1:]:
                key = each.replace("~1", "/").replace("~0", "~")
                target = target.get(key) if isinstance(target, Mapping) else None
            if not (reference == "#" or reference.startswith("#/")) or target is None:
                raise Unwritable(f"$ref {reference}")
            name = self._referred[reference] = self._next()
            self.rules.append(f"{name}: {self.value(target, depth - 1)}\n")
        return self._referred[reference]

    def _of(self, kind: str, schema: Mapping[str, Any], depth: int) -> str:
        """A value of one type."""
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "string":
                return self._text(schema)
            case "integer" | "number":
                limits = {key: schema[key] for key in sorted(schemas.NUMBERS & schema.keys())}
                return pieces.value({**limits, "type": kind})
            case _ if kind in _WORDS:
                return _WORDS[kind]
        raise Unwritable(f"the type {kind}")

    def _text(self, schema: Mapping[str, Any]) -> str:
        name, rules = texts.rules(self._next(), schema, QUOTE, self._controls)
        self.rules.append(rules)
        return f"{pieces.mark(QUOTE, self._controls)} {name}"

    def _object(self, schema: Mapping[str, Any], depth: int) -> str:
        members = sorted(schemas.listed(schema), key=lambda member: member[0].lower())
        others = schema.get("additionalProperties", True)
        if not members and others is not False:
            member = self._made(f'{_ANY_KEY} ":" {self.value(others, depth - 1)}')
            return f'"{{" ({member} ("," {member})*)? "}}"'
        items = []
        for key, required in members:
            if not _KEY.fullmatch(key):
                raise Unwritable(f"the name {key}")
            value = self.value(schema["properties"][key], depth - 1)
            items.append((f"{pieces.literal(f'{key}:')} {value}", required))
        name = self._next()
        self.rules.append(pieces.members(name, items, '","'))
        return f'"{{" {name} "}}"'

    def _array(self, schema: Mapping[str, Any], depth: int) -> str:
        schemas.refuse(schema, schemas.ARRAYS, "an array")
        least, most = schema.get("minItems", 0), schema.get("maxItems", "")
        if not isinstance(least, int) or not isinstance(most or 0, int):
            raise Unwritable("a number of items that is no integer")
        if least < 0 or (most != "" and most < least):
            raise Unwritable("minItems above maxItems, or one below 0")
        if most == 0:
            return '"[" "]"'
        item = self.value(schema.get("items", True), depth - 1)
        more = f' ("," {item}){{{max(least - 1, 0)},{most and most - 1}}}'
        inner = item if most == 1 else item + more
        return f'"[" {inner} "]"' if least else f'"[" ({inner})? "]"'

    def _one_of(self, schema: Mapping[str, Any]) -> str:
        """One of the values that a schema names."""
        schemas.refuse(schema, schemas.NARROWING - {"enum", "const", "type"}, "an enum")
        options = schema.get("enum", [schema.get("const")])
        kinds = schemas.types(schema)
        values = [
            each
            for each in (options if isinstance(options, list) else [])
            if ("const" not in schema or each == schema["const"])
            and (not kinds or any(_is(each, kind) for kind in kinds))
        ]
        if not values:
            raise Unwritable("no value is among enum and const")
        return self._made(" | ".join(map(self._literal, values)))

    def _literal(self, value: Any) -> str:
        if isinstance(value, str):
            if QUOTE in value:
                raise Unwritable(f"the text {value}")
            quote = pieces.mark(QUOTE, self._controls)
            return f"{quote} {pieces.literal(value)} {quote}"
        if isinstance(value, list | dict):
            raise Unwritable("an enum of objects or arrays")
        return pieces.literal(json.dumps(value))

    def _anything(self) -> str:
        """Any value."""
        if not self._any:
            name = self._any = self._next()
            text, number = self._text({}), pieces.value({"type": "number"})
            words = " | ".join(_WORDS.values())
            item, member = f'({name} ("," {name})*)?', f'{_ANY_KEY} ":" {name}'
            object_ = f'"{{" ({member} ("," {member})*)? "}}"'
            self.rules.append(f'{name}: {text} | {number} | {words} | "[" {item} "]" | {object_}\n')
        return self._any


def _is(value: Any, kind: str) -> bool:
    """Whether a value of an enum is of a type."""
    match kind:
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, list | dict)
