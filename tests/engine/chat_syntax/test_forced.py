"""A call that has to be made."""

from __future__ import annotations

import json
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer

from engine.chat_syntax import forced, parser
from engine.serving import wire
from engine.serving.constraints import grammars
from tests.engine.chat_syntax.answers import TOOLS, parsed
from tests.engine.chat_syntax.test_parser import FAMILIES, SHOWN

BYTES = LLTokenizer("byte")


def holds(schema: str, text: str) -> bool:
    """Whether a text is all of what a schema describes."""
    matcher = LLMatcher(BYTES, LLMatcher.grammar_from_lark(f"start: %json {schema}"), log_level=0)
    return all(map(matcher.consume_token, text.encode())) and matcher.is_accepting()


def one_of(schema: str, name: str, arguments: Any) -> str:
    """The object that a schema describes for a tool."""
    for option in json.loads(schema)["anyOf"]:
        key, of = option["required"]
        if option["properties"][key]["const"] == name:
            return json.dumps({key: name, of: arguments})
    raise AssertionError(name)


@pytest.mark.parametrize("name", SHOWN)
def test_what_a_grammar_holds_a_model_to_is_read_as_a_call(name: str) -> None:
    """In each family, after what the prompt has begun; nothing else can be written."""
    family = FAMILIES[name]
    call = forced.of(family, TOOLS, thinking=False)
    text = one_of(call.schema, "get_weather", {"city": "Rome", "days": 3})
    assert holds(call.schema, text)
    said = parsed(call.family, text, begun=call.begun, one=True)
    assert said.made == [("get_weather", {"city": "Rome", "days": 3})]
    assert (said.content, said.reasoning) == ("", "")
    assert not holds(call.schema, one_of(call.schema, "get_weather", {"city": 5}))
    assert not holds(call.schema, text.replace("get_weather", "other"))
    assert not holds(call.schema, text.replace(": ", " : "))  # it would fill its answer with them
    compiled = grammars.compiled(BYTES, wire.Constraint("grammar", call.grammar))
    assert not all(map(compiled.consume_token, text.replace(": ", " : ").encode()))


def test_a_model_continues_after_its_own_mark() -> None:
    """And with its own names; reasoning that the prompt opened is closed before."""
    hermes = forced.of(FAMILIES["hermes"], TOOLS, thinking=True)
    assert hermes.prefix == "\n</think>\n\n<tool_call>\n"
    assert not parser.opens(FAMILIES["hermes"], "<think>" + hermes.prefix)
    llama = forced.of(FAMILIES["llama"], TOOLS, thinking=False)
    assert llama.prefix == ""
    assert json.loads(llama.schema)["anyOf"][0]["required"] == ["name", "parameters"]


def test_what_a_schema_refers_to_moves_with_it() -> None:
    """`$defs` of a tool's schema are found within the schema of the call."""
    schema = {
        "type": "object",
        "properties": {"at": {"$ref": "#/$defs/place"}, "$ref": {"type": "integer"}},
        "required": ["at"],
        "$defs": {"place": {"type": "object", "properties": {"up": {"$ref": "#/$defs/place"}}}},
    }
    call = forced.of(FAMILIES["hermes"], {"f": {"type": "object"}, "g": schema}, thinking=False)
    assert holds(call.schema, one_of(call.schema, "g", {"at": {"up": {"up": {}}}}))
    assert not holds(call.schema, one_of(call.schema, "g", {"at": {"up": 5}}))
    assert holds(call.schema, one_of(call.schema, "f", {"any": ["thing"]}))


def test_beside_a_schema_of_the_answer_a_call_may_be_made() -> None:
    """The model chooses by how it begins; each is held to its own schema."""
    answer = {
        "type": "object", "properties": {"at": {"$ref": "#/$defs/place"}}, "required": ["at"],
        "$defs": {"place": {"enum": ["Rome", "Oslo"]}},
    }  # fmt: skip
    for name in ("hermes", "mistral", "harmony"):
        both = forced.either(FAMILIES[name], TOOLS, json.dumps(answer))
        assert holds(both.schema, '{"at": "Oslo"}')
        assert not holds(both.schema, '{"at": "Bonn"}')
        call = '{"name": "get_time", "arguments": {"city": "Rome"}}'
        assert holds(both.schema, call)
        assert not holds(both.schema, '{"name": "get_time", "arguments": {"city": 5}}')
        assert parsed(both.family, call).made == [("get_time", {"city": "Rome"})]
        assert parsed(both.family, '{"at": "Oslo"}') == ('{"at": "Oslo"}', "", [])


def test_arguments_are_an_object_where_a_schema_does_not_say_so() -> None:
    """As in `{"properties": …}` alone."""
    call = forced.of(FAMILIES["hermes"], {"f": {"properties": {}}, "g": None}, thinking=False)
    for name in ("f", "g"):
        assert holds(call.schema, one_of(call.schema, name, {}))
        assert not holds(call.schema, one_of(call.schema, name, 5))
