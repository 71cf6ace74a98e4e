"""What is accepted is held to the letter; what cannot be held is refused with its reason."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import jsonschema
import pytest

from tests.engine.serving.constraints import walks

_ADDRESS: Final = {
    "type": "object",
    "properties": {"street": {"type": "string", "minLength": 1}, "zip": {"pattern": "^[0-9]{5}$"}},
    "required": ["street"],
}
SCHEMAS: Final[list[dict[str, Any]]] = [
    {},
    {"type": "object"},
    {"type": ["integer", "null"]},
    {"type": "integer", "minimum": -3, "exclusiveMaximum": 40, "multipleOf": 4},
    {"type": "number", "minimum": 0.5, "maximum": 1.25},
    {"type": "string", "minLength": 2, "maxLength": 5},
    {"type": "string", "pattern": "^(ab|c{2,3})+x?$"},
    {"type": "string", "format": "date-time"},
    {"enum": ["a", 1, None, True, {"b": [2]}]},
    {"const": {"deep": ["value", 1.5]}},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 4},
    {"type": "array", "prefixItems": [{"type": "integer"}, {"enum": ["x"]}], "items": False},
    {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "required": ["a"],
     "$defs": {"a": _ADDRESS}},
    {"type": "object", "properties": {"next": {"$ref": "#"}, "value": {"type": "integer"}},
     "required": ["value"], "additionalProperties": False},
    {"type": "object", "patternProperties": {"^x-[a-z]+$": {"type": "integer"}},
     "additionalProperties": False},
    {"type": "object", "additionalProperties": {"type": "integer"}, "properties": {
        "name": {"type": "string"}}},
    {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}}]},
    {"allOf": [{"type": "object", "required": ["a"]}, {"properties": {"a": {"enum": [1, 2]}}}]},
    {"oneOf": [
        {"type": "object", "properties": {"kind": {"const": "a"}, "n": {"type": "integer"}},
         "required": ["kind", "n"], "additionalProperties": False},
        {"type": "object", "properties": {"kind": {"const": "b"}},
         "required": ["kind"], "additionalProperties": False}]},
]  # fmt: skip


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
def test_every_text_that_a_schema_allows_is_a_valid_document(schema: dict[str, Any]) -> None:
    """Random walks over the masks, judged by an independent implementation of the standard."""
    validator = jsonschema.Draft202012Validator(schema)
    assert walks.fault("json_schema", schema) is None
    for seed in range(8):
        validator.validate(json.loads(walks.text("json_schema", schema, seed)))


def test_json_has_a_space_after_a_comma_or_a_colon_at_most() -> None:
    """Unless the request or the schema says otherwise: a weak model fills its answer with it."""
    schema = {
        "type": "object", "properties": {"a": {"type": "integer"}, "b": {"enum": [[1, 2]]}},
        "required": ["a", "b"], "additionalProperties": False,
    }  # fmt: skip
    tight = re.compile(r'\{"a": ?-?[0-9]+, ?"b": ?\[1, ?2\]\}')
    loose = re.compile(r'\{\n?"a"\n?:\n?-?[0-9]+\n?,\n?"b"\n?:\n?\[\n?1\n?,\n?2\n?\]\n?\}')
    own = {**schema, "x-guidance": {"whitespace_flexible": False, "key_separator": "~:~"}}
    for seed in range(8):
        assert tight.fullmatch(walks.text("json_schema", schema, seed))
        asked = walks.text("json_schema", schema, seed, spacing=r"\n?")
        assert loose.fullmatch(asked)
    assert '"a"~:~' in walks.text("json_schema", own, 0)


@pytest.mark.parametrize(
    ("kind", "source", "pattern"),
    [
        ("regex", "[a-c]{2}[0-9]+", "[a-c]{2}[0-9]+"),
        ("choice", ["yes", "no", "may.*be"], r"yes|no|may\.\*be"),
        ("choice", ["a", "ab", "ü|\n[x]"], r"a|ab|ü\|\n\[x\]"),
        ("grammar", 'root ::= "a" (" " [b-d]+)*\n', "a( [b-d]+)*"),
        ("grammar", 'start: /x+/ y\ny: "1" | "2"', "x+[12]"),
    ],
)  # fmt: skip
def test_other_constraints_are_held_too(kind: str, source: object, pattern: str) -> None:
    """Expressions, choices, and grammars in either notation."""
    assert walks.fault(kind, source) is None
    for seed in range(8):
        assert re.fullmatch(pattern, walks.text(kind, source, seed))


@pytest.mark.parametrize(
    ("kind", "source", "reason"),
    [
        ("json_schema", {"not": {"type": "string"}}, "Unimplemented keys"),
        ("json_schema", {"uniqueItems": True, "type": "array"}, "Unimplemented keys"),
        ("json_schema", {"$ref": "#"}, "no text matches it"),
        ("json_schema", {"$ref": "#/$defs/none"}, "none"),
        ("json_schema", {"$ref": "file:///etc/passwd"}, "does not fetch"),
        ("json_schema", {"type": "nonsense"}, "type"),
        ("json_schema", "{", "EOF"),
        ("json_schema", {"type": "object", "properties": {
            f"p{n}": {"type": "string"} for n in range(2_500)}}, "items"),
        ("json_schema", {"allOf": [{"anyOf": [{"properties": {f"p{n}{k}": {}}} for k in range(4)]}
                                   for n in range(12)]}, "too large"),
        ("json_schema", '{"a":' * 500 + "1" + "}" * 500, "recursion"),
        ("regex", "(a", "unclosed"),
        ("regex", "(" * 400 + "a" + ")*" * 400, "invalid regex"),
        ("grammar", "root ::= [a-", "end of input"),
        ("grammar", 'start: "a" start', "Too many items"),
        ("grammar", 'start: a\na: "x" a | a "x" | a a | "x"', "Too many items"),
        ("regex", "(\\w+\\s?){1,50}(\\d{1,30}|\\p{L}{1,40}){1,30}", "too many"),
        ("grammar", "start: start", "no text matches it"),
        ("grammar", "start: " + "(" * 5_000 + '"a"' + ")" * 5_000, "nested"),
        ("xml", "<a/>", "no constraint of the kind"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_what_cannot_be_held_is_refused_with_a_reason(
    kind: str, source: object, reason: str
) -> None:
    """Before any token: cycles, absurd sizes, endless and malformed grammars."""
    said = walks.fault(kind, source)
    assert said is not None
    assert reason in said
    assert len(said) <= 300
    assert "\n" not in said
