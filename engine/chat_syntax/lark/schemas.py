"""What a JSON schema says of a value, as far as a grammar of calls has to know.

Never says how a value is written. Imported by its neighbours and `lazy`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

COMBINED: Final = frozenset(
    {"$ref", "$dynamicRef", "anyOf", "oneOf", "allOf", "not", "if", "then", "else"}
)
"""What makes a schema of others."""
_OBJECTS: Final = frozenset(
    {
        "patternProperties", "propertyNames", "minProperties", "maxProperties", "dependencies",
        "dependentRequired", "dependentSchemas", "unevaluatedProperties",
    }
)  # fmt: skip
"""What says more of an object than a list of its members does."""
ARRAYS: Final = frozenset(
    {
        "prefixItems", "additionalItems", "unevaluatedItems", "uniqueItems", "contains",
        "minContains", "maxContains",
    }
)  # fmt: skip
"""What says more of an array than what its items are and how many."""
NUMBERS: Final = frozenset(
    {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
)
NARROWING: Final = COMBINED | _OBJECTS | ARRAYS | NUMBERS | {
    "type", "enum", "const", "properties", "required", "additionalProperties", "items", "minItems",
    "maxItems", "pattern", "format", "minLength", "maxLength",
}  # fmt: skip
"""What narrows the values that a schema allows; anything else only describes them."""
_MEMBERS: Final = 500
"""Members of one object: each is a rule that the one before it leads to."""
_OPTIONS: Final = 32
"""Schemas that are looked at for the types of one argument."""


class Unwritable(Exception):
    """A schema that cannot be held in the syntax of a family; the message is the reason."""


def listed(schema: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """The members of an object in their order, and whether each has to be there.

    Raises:
        Unwritable: the schema is of no object, or says more than which members it has.
    """
    kind, properties = schema.get("type", "object"), schema.get("properties", {})
    required = schema.get("required", ())
    if "object" not in (kind if isinstance(kind, list) else [kind]):
        raise Unwritable("arguments that are no object")
    refuse(schema, COMBINED | _OBJECTS | {"const", "enum"}, "an object")
    if not isinstance(properties, Mapping) or not isinstance(required, list | tuple):
        raise Unwritable("properties or required of another form")
    if len(properties) > _MEMBERS:
        raise Unwritable(f"more than {_MEMBERS} members of an object")
    if not all(key in properties for key in required):
        raise Unwritable("required members that properties does not list")
    return [(key, key in required) for key in properties]


def named(schema: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """The arguments as `listed`, where they have to have names that the schema lists.

    Raises:
        Unwritable: as `listed`, or they have none.
    """
    found = listed(schema)
    if not found and schema.get("additionalProperties"):
        raise Unwritable("arguments of any name")
    return found


def refuse(schema: Mapping[str, Any], keys: Collection[str], what: str) -> None:
    """Refuse a schema that has one of these keys.

    Raises:
        Unwritable: it has.
    """
    found = sorted(schema.keys() & set(keys))
    if found:
        raise Unwritable(f"{', '.join(found)} of {what}")


def typed(root: Mapping[str, Any], schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A schema as several of one type each; empty where one of them names none."""
    found: list[Mapping[str, Any]] = []
    waiting: list[Any] = [schema]
    for _ in range(_OPTIONS):
        if not waiting:
            return found
        each = waiting.pop()
        says = each.keys() & NARROWING if isinstance(each, Mapping) else set()
        if says == {"$ref"}:
            defined = root.get("$defs")
            name = str(each["$ref"]).removeprefix("#/$defs/")
            waiting.append(defined.get(name) if isinstance(defined, Mapping) else None)
        elif says == {"anyOf"} and isinstance(each["anyOf"], list):
            waiting.extend(each["anyOf"])
        else:
            kinds = types(each) if says else []
            if not kinds:
                break
            found.extend({**each, "type": kind} for kind in kinds)
    return []


def types(schema: Mapping[str, Any]) -> list[str]:
    """The types that a schema names, by `type` or by texts alone in its `enum`."""
    kinds = schema.get("type")
    if kinds is None:
        options = schema.get("enum")
        texts = isinstance(options, list) and all(isinstance(each, str) for each in options)
        return ["string"] if texts else []
    kinds = kinds if isinstance(kinds, list) else [kinds]
    return kinds if all(isinstance(each, str) for each in kinds) else []
