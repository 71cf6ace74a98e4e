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
from tests.engine.serving.constraints import walks

BYTES = LLTokenizer("byte")
CLOSED: dict[str, dict[str, Any]] = {
    name: {**schema, "required": ["city"], "additionalProperties": False}
    for name, schema in TOOLS.items()
}
JSON = sorted(name for name in TWO_CALLS if lazy.of(FAMILIES[name], TOOLS, (), {}) is not None)
WRITTEN = {
    name: text.replace('"{\\"city\\": \\"Rome\\"}"', '{"city": "Rome"}')
    .replace('{"arguments": {"city": "Rome"}, "name": "get_time"}',
             '{"name": "get_time", "arguments": {"city": "Rome"}}')
    for name, text in TWO_CALLS.items()
}  # fmt: skip
"""As models are trained to write them; some other forms are read, too."""
TAGGED = (
    "atem", "deepseek-dsml", "glm", "hunyuan", "kimi-k3", "minicpm", "minimax-m2", "minimax-m3",
    "qwen-xml", "seed",
)  # fmt: skip


def matcher(
    name: str, strict: Collection[str] = CLOSED, after: str = "", opening: str = ""
) -> PartMatcher:
    """That of a family, over single bytes."""
    found = lazy.of(FAMILIES[name], CLOSED, strict, {})
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
    assert lazy.of(FAMILIES[name], CLOSED, (), {}) is None


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
        found = lazy.of(FAMILIES[name], {"f": schema}, ("f",), {})
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


TAGS = {"<|open|>": 5, "<|sep|>": 6, "<|close|>": 7}


def texts(name: str, schema: dict[str, Any], *arguments: str) -> list[bool]:
    """Which of these a family's call of the strict tool `f` may hold, from its first argument."""
    found = lazy.of(FAMILIES[name], {"f": schema}, ("f",), {})
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
    assert "<[5]> " in found.grammar
    grammars.compiled(BYTES, wire.Constraint("grammar", found.trial))
    assert "<[" not in found.trial


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
        {"properties": {"a": {"type": "string", "format": "date"}}},
        {"properties": {"a": {"type": "string", "pattern": "(?<=a)b"}}},
        {"properties": {"a": {"type": "string", "maxLength": 50_000}}},
        {"properties": {"a": {"type": "string", "minLength": "2"}}},
        {"properties": {"a": {"type": "string", "minLength": -1}}},
        {"properties": {"a": {"type": "string", "minLength": 5, "maxLength": 2}}},
        {"properties": {"a": {"type": "string", "enum": "abc"}}},
        {"properties": {"a": {"type": "string", "enum": [1]}}},
        {"properties": {"a": {"type": "string", "enum": ["x", "</parameter>"]}}},
        {"properties": {"a": {"type": "string", "const": "<![CDATA[x"}}},
        {"properties": {"a": False}},
        {"properties": {f"a{place}": {} for place in range(501)}},
    ],
)
def test_a_strict_schema_that_tags_cannot_hold_is_refused(schema: dict[str, Any]) -> None:
    """It is not left free in silence, nor held to less or more than it says."""
    with pytest.raises(lazy.Unwritable) as refused:
        lazy.of(FAMILIES["qwen-xml"], {"ok": CLOSED["get_time"], "bad": schema}, ("ok", "bad"), {})
    assert refused.value.tool == "bad"
    assert lazy.of(FAMILIES["qwen-xml"], {"bad": schema}, (), {}) is None


@pytest.mark.parametrize("name", ["qwen-xml", "gemma", "lfm"])
def test_schemas_that_are_too_large_together_are_refused(name: str) -> None:
    """Before they cost the gateway the time of other requests; each alone would be held."""
    schema = {"properties": {f"a{place}": {"type": "string"} for place in range(400)}}
    tools = {f"f{place}": schema for place in range(20)}
    with pytest.raises(lazy.Unwritable, match="too large together"):
        lazy.of(FAMILIES[name], tools, tuple(tools), {})
    assert lazy.of(FAMILIES[name], tools, ("f0",), {}) is not None
    described = {"description": "Of the call. " * 30, "type": "string"}
    text = {
        "properties": {f"a{place}": described for place in range(10)},
        "$defs": {"b": described},
    }
    many = {f"f{place}": text for place in range(128)}
    found = lazy.of(FAMILIES[name], many, tuple(many), {})
    assert found is not None
    assert "Of the call" not in found.grammar


def test_a_text_is_one_of_those_that_its_schema_names() -> None:
    """By `enum`, of which only texts count, and by `const`."""
    one = {"type": "object", "properties": {"a": {"type": "string", "enum": ["x", 1]}}}
    said = [f"<parameter=a>\n{text}\n</parameter></function>" for text in ("x", "1", "y")]
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
        lazy.of(FAMILIES["kimi-k3"], {"f": endless}, ("f",), {})
    with pytest.raises(lazy.Unwritable):
        lazy.of(FAMILIES["kimi-k3"], {"f": {"properties": {"a": {}}}}, ("f",), {})


@pytest.mark.parametrize(
    ("name", "begun", "token"),
    [
        ("glm", "<tool_call>get_weather", "</tool_call>"),
        ("qwen-xml", "<function=get_weather", "></"),
        ("minimax-m2", '<invoke name="get_weather', '"></'),
        ("gemma", "<|tool_call>call:get_weather", "{}"),
        ("mistral", "[TOOL_CALLS]get_weather[ARGS]", "{}"),
        ("kimi", "<|tool_call_begin|>get_weather:0<|tool_call_argument_begin|>", "{}"),
        ("deepseek", "<｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>", "{}"),
        ("deepseek", "<｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json", "\n{}"),
        ("solar", "<|tool_call:begin|>1<|tool_call:name|>get_weather<|tool_call:args|>", "{}"),
        ("functionary-v3.1", "<function=get_weather>", "{}"),
        ("functionary-v3.2", ">>>get_weather\n", "{}"),
    ],
)
def test_a_token_that_begins_the_arguments_and_ends_them_is_held_too(
    name: str, begun: str, token: str
) -> None:
    """Vocabularies have such: a call without what its schema requires would be free."""
    tokens = walks.tokens(others=(token,))
    found = lazy.of(FAMILIES[name], CLOSED, tuple(CLOSED), {})
    assert found is not None
    compiled = grammars.compiled(tokens, wire.Constraint("grammar", found.grammar))
    one = PartMatcher(compiled, tokens, wire.Begins(found.patterns, found.armed, found.begun))
    assert taken(one, begun) == begun
    assert one.active
    one.push(walks.FIRST, token.encode())
    assert one.fault


def test_a_name_that_another_one_continues_is_not_taken_for_it() -> None:
    """The name is known once something follows it."""
    tools = {"get": CLOSED["get_weather"], "get_time": {"type": "object", "properties": {}}}
    for name, text in (
        ("gemma", "<|tool_call>call:get_time{}"),
        ("glm", "<tool_call>get_time</tool_call>"),
        ("qwen-xml", "<function=get_time>\n</function>"),
    ):
        for strict in (("get",), tuple(tools)):
            found = lazy.of(FAMILIES[name], tools, strict, {})
            assert found is not None
            compiled = grammars.compiled(BYTES, wire.Constraint("grammar", found.grammar))
            begins = wire.Begins(found.patterns, found.armed, found.begun)
            assert taken(PartMatcher(compiled, BYTES, begins), text) == text
            short = text.replace("_time", "")
            assert taken(PartMatcher(compiled, BYTES, begins), short) != short


def test_a_list_of_calls_holds_each_by_its_own_tool() -> None:
    """Those of a lax tool are Python's values; a name that is none cannot be called."""
    strict = ("get_weather",)
    for good in (
        "[get_weather(city='Rome', days=3)]", '[get_weather(city="Ro\\"me")]',
        "[get_time(any=[1, {'a': (None, true)}], b='\\'')]",
        "[get_time(), get_weather(city='Rome')]",
    ):  # fmt: skip
        text = f"<|tool_call_start|>{good}<|tool_call_end|>"
        assert taken(matcher("lfm", strict), text) == text
        assert len(parsed(FAMILIES["lfm"], text).calls) == good.count("get_")
    for bad in (
        "[get_weather(days=3)]", "[get_weather(city=3)]", "[get_weather(city='Rome', no=1)]",
        "[get_weather('Rome')]", "[rm(a=1)]", "get_weather(city='Rome')",
        "[get_weather(city='Rome')] and more",
    ):  # fmt: skip
        text = f"<|tool_call_start|>{bad}<|tool_call_end|>"
        assert taken(matcher("lfm", strict), text) != text
    with pytest.raises(lazy.Unwritable, match="none in Python"):
        lazy.of(FAMILIES["lfm"], {"get-time": CLOSED["get_time"]}, ("get-time",), {})


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"enum": ["x", 1, None]}, ['<|"|>x<|"|>', "1", "null"], ["x", "2", '<|"|>1<|"|>']),
        ({"const": True}, ["true"], ["false", '<|"|>true<|"|>']),
        ({"type": ["integer", "string"]}, ["5", '<|"|>a, b<|"|>'], ["5.5", "true"]),
        ({"type": "integer", "enum": [1, "x", 2.5]}, ["1"], ["2.5"]),
        ({"type": "number", "maximum": 3}, ["-2.5"], ["4"]),
        ({"type": "array", "minItems": 1, "maxItems": 2}, ["[1]", "[{},[]]"], ["[]", "[1,2,3]"]),
        ({"type": "array", "items": {"type": "null"}}, ["[]", "[null,null]"], ["[1]"]),
        ({"type": "array", "maxItems": 0}, ["[]"], ["[1]"]),
        ({"type": "array", "minItems": 1, "maxItems": 1}, ["[1]"], ["[]", "[1,1]"]),
        (
            {"additionalProperties": {"type": "integer"}, "type": "object"},
            ["{}", "{k:1}"],
            ["{k:x}"],
        ),
        ({"type": "object", "additionalProperties": False}, ["{}"], ["{k:1}"]),
        ({"properties": {"b": {}, "A": {}}}, ["{A:1,b:2}", "{b:2}", "{}"], ["{b:2,A:1}"]),
        ({"$ref": "#/properties/b"}, ["null"], ["1"]),
        ({"allOf": [{}]}, None, None),
        ({"type": "string", "format": "date"}, None, None),
        ({"properties": {"a:b": {}}}, None, None),
        ({"$ref": "#/$defs/none"}, None, None),
        ({"anyOf": [{}, {"$ref": ""}]}, None, None),
        ({"$ref": "#anchor"}, None, None),
        ({"enum": [[1]]}, None, None),
        ({"type": "date"}, None, None),
        ({"minLength": 2}, None, None),
        ({"type": "array", "minItems": 2, "maxItems": 1}, None, None),
        ({"type": "array", "maxItems": -1}, None, None),
        ({"type": "array", "minItems": 1, "maxItems": 0}, None, None),
        ({"$ref": "#/properties/b", "enum": [1]}, None, None),
        ({"type": "object", "properties": {"c": {}}, "required": True}, None, None),
    ],
)
def test_a_value_is_held_in_gemmas_own_form(
    schema: dict[str, Any], good: list[str] | None, bad: list[str]
) -> None:
    """At any depth, with keys in the order of the alphabet, or it is refused."""
    root = {"properties": {"a": schema, "b": {"type": "null"}}, "required": ["a"]}
    if good is None:
        with pytest.raises(lazy.Unwritable):
            lazy.of(FAMILIES["gemma"], {"f": root}, ("f",), {})
        return
    found = lazy.of(FAMILIES["gemma"], {"f": root}, ("f",), {})
    assert found is not None
    compiled = grammars.compiled(BYTES, wire.Constraint("grammar", found.grammar))
    for value in (*good, *bad):
        one = PartMatcher(compiled, BYTES, wire.Begins(found.patterns, found.armed, found.begun))
        text = f"<|tool_call>call:f{{a:{value}}}<tool_call|>"
        assert (taken(one, text) == text) == (value in good), value
