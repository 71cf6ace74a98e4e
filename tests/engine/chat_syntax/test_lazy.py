"""Calls that a model makes by itself: from where their arguments begin they match."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import pytest
from llguidance import LLTokenizer

from engine.chat_syntax import lazy
from engine.serving import wire
from engine.serving.constraints import grammars
from engine.serving.constraints.begun import PartMatcher
from tests.engine.chat_syntax.answers import TOOLS, parsed
from tests.engine.chat_syntax.test_parser import BOTH, FAMILIES, TWO_CALLS

BYTES = LLTokenizer("byte")
CLOSED: dict[str, dict[str, Any]] = {
    name: {**schema, "required": ["city"], "additionalProperties": False}
    for name, schema in TOOLS.items()
}
JSON = sorted(name for name in TWO_CALLS if lazy.of(FAMILIES[name], TOOLS, (), ()) is not None)
WRITTEN = {
    name: text.replace('"{\\"city\\": \\"Rome\\"}"', '{"city": "Rome"}')
    .replace('{"arguments": {"city": "Rome"}, "name": "get_time"}',
             '{"name": "get_time", "arguments": {"city": "Rome"}}')
    for name, text in TWO_CALLS.items()
}  # fmt: skip
"""As models are trained to write them; some other forms are read, too."""
TAGGED = (
    "deepseek-dsml", "glm", "kimi-k3", "minicpm", "minimax-m2", "minimax-m3", "qwen-xml", "seed",
)  # fmt: skip


def matcher(
    name: str, strict: Collection[str] = CLOSED, after: str = "", opening: str = ""
) -> PartMatcher:
    """That of a family, over single bytes."""
    found = lazy.of(FAMILIES[name], CLOSED, strict, ())
    assert found is not None
    compiled = grammars.compiled(BYTES, wire.Constraint("grammar", found.grammar))
    begins = wire.Begins(found.patterns, found.armed, found.begun)
    return PartMatcher(compiled, BYTES, begins, after, opening)


def taken(one: PartMatcher, text: str) -> str:
    """As much of a text as may be written, and the reason in `fault`."""
    for at, byte in enumerate(text.encode()):
        one.push(byte, bytes((byte,)))
        if one.fault:
            return text.encode()[:at].decode()
    return text


def parts(one: PartMatcher, text: str) -> int:
    """How many parts of a text are held."""
    count, before = 0, False
    for byte in text.encode():
        one.push(byte, bytes((byte,)))
        assert one.fault == ""
        count += one.active and not before
        before = one.active
    return count


@pytest.mark.parametrize("name", JSON)
def test_two_calls_as_a_family_writes_them_are_held_one_by_one(name: str) -> None:
    """Each from where its arguments begin; everything around them is free."""
    one = matcher(name)
    assert parts(one, WRITTEN[name]) == 2
    assert not one.active
    assert not one.complete()
    assert parsed(FAMILIES[name], WRITTEN[name]).made == BOTH


@pytest.mark.parametrize("name", JSON)
def test_arguments_that_a_strict_schema_does_not_have_cannot_be_written(name: str) -> None:
    """A key that is not there, and a value of another type; a lax tool's are an object."""
    text = WRITTEN[name]
    for wrong in (text.replace("city", "town"), text.replace("3", '"three"', 1)):
        if wrong != text:
            assert taken(matcher(name), wrong) != wrong
            assert taken(matcher(name, strict=()), wrong) == wrong


@pytest.mark.parametrize("name", TAGGED)
def test_tagged_arguments_of_a_strict_tool_are_held_too(name: str) -> None:
    """In the order of its schema; those of others are what the model writes."""
    text = WRITTEN[name]
    assert parts(matcher(name), text) == 2
    wrong = text.replace("city", "town")
    assert taken(matcher(name), wrong) != wrong
    assert lazy.of(FAMILIES[name], CLOSED, (), ()) is None


def test_nothing_is_held_while_a_model_reasons() -> None:
    """In what the prompt has opened, or the model; nor in what only resembles a call."""
    bad = '<tool_call>{"name": "get_time", "arguments": {"no": 1}}'
    for before, fields in (
        (f"I could write {bad}", {"after": "</think>"}),
        (f"\n<think>I could write {bad}", {"after": "</think>", "opening": "<think>"}),
    ):
        assert taken(matcher("hermes", **fields), before) == before
        closed = f"{before}</think>{bad}"
        assert taken(matcher("hermes", **fields), closed) != closed
    direct = matcher("hermes", after="</think>", opening="<think>")
    assert taken(direct, bad) != bad
    for other in ('{"name": "get_time", "arguments": 5}', "Write <tool_call> first."):
        assert taken(matcher("hermes"), other) == other
    unknown = '<tool_call>{"name": "rm", "arguments": 5}'
    assert taken(matcher("hermes"), unknown) == unknown


def test_a_lax_tool_beside_a_strict_one_keeps_its_freedom() -> None:
    """Each call is held as its own tool is."""
    strict = ("get_weather",)
    lax = '<tool_call>{"name": "get_time", "arguments": {"any": [1]}}</tool_call>'
    assert taken(matcher("hermes", strict), lax) == lax
    held = '<tool_call>{"name": "get_weather", "arguments": {"any": [1]}}</tool_call>'
    assert taken(matcher("hermes", strict), held) != held


def test_what_refers_within_its_schema_is_found() -> None:
    """`$defs` in JSON, and in tagged arguments."""
    schema = {
        "type": "object",
        "properties": {"at": {"$ref": "#/$defs/place"}},
        "required": ["at"],
        "$defs": {"place": {"type": "array", "items": {"type": "integer"}}},
    }
    for name, good in (
        ("hermes", '<tool_call>{"name": "f", "arguments": {"at": [1, 2]}}'),
        (
            "qwen-xml",
            "<tool_call>\n<function=f>\n<parameter=at>\n[1, 2]\n</parameter>\n</function>",
        ),
    ):
        found = lazy.of(FAMILIES[name], {"f": schema}, ("f",), ())
        assert found is not None
        compiled = grammars.compiled(BYTES, wire.Constraint("grammar", found.grammar))
        begins = wire.Begins(found.patterns, found.armed, found.begun)
        for text in (good, good.replace("1", '"x"')):
            whole = taken(PartMatcher(compiled, BYTES, begins), text) == text
            assert whole == (text == good), json.dumps([name, text])


def test_a_call_is_held_whose_object_has_more_than_a_name_and_arguments() -> None:
    """An id before or between them; arguments that come first are read and not held."""
    for name, text in (
        ("hermes", '<tool_call>{"name": "get_time", "id": "1", "arguments": {"no": 1}}'),
        (
            "hermes",
            '<tool_call>{"id": "1", "name": "get_time", "type": "x", "arguments": {"no": 1}}',
        ),
        ("llama", '{"type": "function", "name": "get_time", "index": 0, "parameters": {"no": 1}}'),
    ):
        assert taken(matcher(name), text) != text
        good = text.replace('"no": 1', '"city": "Rome"')
        assert taken(matcher(name), good) == good
    first = '<tool_call>{"arguments": {"no": 1}, "name": "get_time"}'
    assert taken(matcher("hermes"), first) == first


TAGS = ("<|open|>", "<|sep|>", "<|close|>")


def texts(name: str, schema: dict[str, Any], *arguments: str) -> list[bool]:
    """Which of these a family's call of the strict tool `f` may hold, from its first argument."""
    found = lazy.of(FAMILIES[name], {"f": schema}, ("f",), ())
    assert found is not None
    compiled = grammars.compiled(BYTES, wire.Constraint("grammar", found.grammar))
    begins = wire.Begins(found.patterns, found.armed, found.begun)
    begun = {"kimi-k3": '<|open|>call tool="f"<|sep|>', "qwen-xml": "<function=f>"}[name]
    return [
        taken(PartMatcher(compiled, BYTES, begins), begun + text) == begun + text
        for text in arguments
    ]


def test_what_is_tried_names_no_control_token() -> None:
    """The process that tries grammars has a vocabulary without the model's own."""
    found = lazy.of(FAMILIES["kimi-k3"], CLOSED, tuple(CLOSED), TAGS)
    assert found is not None
    assert "<|open|> " in found.grammar
    grammars.compiled(BYTES, wire.Constraint("grammar", found.trial))
    with pytest.raises(grammars.Unholdable, match="unknown special token"):
        grammars.compiled(BYTES, wire.Constraint("grammar", found.grammar))


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/all", "$defs": {"all": {"type": "object"}}},
        {"anyOf": [{"properties": {"a": {"type": "integer"}}}]},
        {"properties": {}, "required": ["a"]},
        {"additionalProperties": {"type": "string"}},
        {"properties": {"a<b": {"type": "string"}}},
        {"properties": {"a": {"$ref": "#/properties/b"}, "b": {}}},
        {"properties": {"a": {"$ref": "#"}}, "$defs": {}},
        {"properties": {"a": {"type": "string", "pattern": "x"}}},
        {"properties": {"a": {"type": "string", "minLength": 2}}},
        {"properties": {"a": {"type": "string", "enum": "abc"}}},
        {"properties": {"a": {"type": "string", "enum": [1]}}},
        {"properties": {"a": False}},
    ],
)
def test_a_strict_schema_that_tags_cannot_hold_is_refused(schema: dict[str, Any]) -> None:
    """It is not left free in silence, nor held to less or more than it says."""
    with pytest.raises(lazy.Unwritable) as refused:
        lazy.of(FAMILIES["qwen-xml"], {"ok": CLOSED["get_time"], "bad": schema}, ("ok", "bad"), ())
    assert refused.value.tool == "bad"
    assert lazy.of(FAMILIES["qwen-xml"], {"bad": schema}, (), ()) is None


def test_a_control_token_that_no_grammar_can_name_is_no_reason_to_leave_a_tool_free() -> None:
    """Such as DeepSeek's and MiniMax's."""
    for name, token in (("deepseek-dsml", "｜DSML｜"), ("minimax-m3", "]<]minimax[>[")):
        with pytest.raises(lazy.Unwritable):
            lazy.of(FAMILIES[name], CLOSED, tuple(CLOSED), (token,))


def test_a_text_is_one_of_those_that_its_schema_names() -> None:
    """By `enum`, of which only texts count, and by `const`."""
    one = {"type": "object", "properties": {"a": {"type": "string", "enum": ["x", 1]}}}
    said = [f"<parameter=a>{text}</parameter></function>" for text in ("x", "1", "y")]
    assert texts("qwen-xml", one, *said) == [True, False, False]
    one["properties"] = {"a": {"type": "string", "const": "y"}}
    assert texts("qwen-xml", one, *said) == [False, False, True]


def test_a_tag_that_says_the_type_says_one_of_those_of_the_schema() -> None:
    """A model is not made to write a list of types, and may write null where the schema does."""
    schema = {"properties": {"a": {"type": ["string", "null"], "enum": ["x", None]}}}
    said = [
        f'<|open|>argument key="a" type="{kind}"<|sep|>{value}<|close|>argument<|sep|>'
        for kind, value in (
            ("string", "x"), ("null", "null"), ("string", "null"), ("number", "1"),
            ("['string', 'null']", "x"), ("", "x"),
        )
    ]  # fmt: skip
    assert texts("kimi-k3", schema, *said) == [True, True, False, False, False, False]
    optional = {
        "properties": {"a": {"anyOf": [{"$ref": "#/$defs/b"}, {"type": "null"}], "default": None}},
        "$defs": {"b": {"enum": ["x"], "type": "string"}, "loop": {"$ref": "#/$defs/loop"}},
    }
    assert texts("kimi-k3", optional, *said) == [True, True, False, False, False, False]
    endless = {**optional, "properties": {"a": {"$ref": "#/$defs/loop"}}}
    with pytest.raises(lazy.Unwritable):
        lazy.of(FAMILIES["kimi-k3"], {"f": endless}, ("f",), ())
    with pytest.raises(lazy.Unwritable):
        lazy.of(FAMILIES["kimi-k3"], {"f": {"properties": {"a": {}}}}, ("f",), ())
