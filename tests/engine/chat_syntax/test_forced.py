"""A call that has to be made."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer

from engine.chat_syntax import forced, parser
from engine.chat_syntax.json_calls import JsonCalls
from engine.chat_syntax.lark import pieces
from engine.serving import wire
from engine.serving.constraints import grammars
from tests.engine.chat_syntax.answers import TOOLS, parsed
from tests.engine.chat_syntax.test_parser import FAMILIES, SHOWN

BYTES = LLTokenizer("byte")


def schema(call: forced.Forced) -> str:
    """That of one call, as JSON."""
    return call.grammar.rpartition("\ncall: %json ")[2]


def holds(call: forced.Forced, text: str) -> bool:
    """Whether a text is one call."""
    lark = f"start: %json {schema(call)}"
    matcher = LLMatcher(BYTES, LLMatcher.grammar_from_lark(lark), log_level=0)
    return all(map(matcher.consume_token, text.encode())) and matcher.is_accepting()


def one_of(call: forced.Forced, name: str, arguments: Any) -> str:
    """The object that calls a tool."""
    for option in json.loads(schema(call))["anyOf"]:
        key, of = option["required"]
        if option["properties"][key]["const"] == name:
            return json.dumps({key: name, of: arguments})
    raise AssertionError(name)


@pytest.mark.parametrize("name", SHOWN)
def test_what_a_grammar_holds_a_model_to_is_read_as_a_call(name: str) -> None:
    """In each family, after what the prompt has begun; nothing else can be written."""
    family = FAMILIES[name]
    call = forced.of(family, TOOLS, thinking=False)
    text = one_of(call, "get_weather", {"city": "Rome", "days": 3})
    assert holds(call, text)
    said = parsed(call.family, text, begun=call.begun, one=True)
    assert said.made == [("get_weather", {"city": "Rome", "days": 3})]
    assert (said.content, said.reasoning) == ("", "")
    assert not holds(call, one_of(call, "get_weather", {"city": 5}))
    assert not holds(call, text.replace("get_weather", "other"))
    assert not holds(call, text.replace(": ", " : "))  # it would fill its answer with them
    compiled = grammars.compiled(BYTES, wire.Constraint("grammar", call.grammar))
    assert not all(map(compiled.consume_token, text.replace(": ", " : ").encode()))


def test_a_model_continues_after_its_own_mark() -> None:
    """And with its own names; reasoning that the prompt opened is closed before."""
    hermes = forced.of(FAMILIES["hermes"], TOOLS, thinking=True)
    assert hermes.prefix == "\n</think>\n\n<tool_call>\n"
    assert not parser.opens(FAMILIES["hermes"], "<think>" + hermes.prefix)
    llama = forced.of(FAMILIES["llama"], TOOLS, thinking=False)
    assert llama.prefix == ""
    assert json.loads(schema(llama))["anyOf"][0]["required"] == ["name", "parameters"]


def test_what_a_schema_refers_to_moves_with_it() -> None:
    """`$defs` of a tool's schema are found within the schema of the call."""
    tool = {
        "type": "object",
        "properties": {"at": {"$ref": "#/$defs/place"}, "$ref": {"type": "integer"}},
        "required": ["at"],
        "$defs": {"place": {"type": "object", "properties": {"up": {"$ref": "#/$defs/place"}}}},
    }
    call = forced.of(FAMILIES["hermes"], {"f": {"type": "object"}, "g": tool}, thinking=False)
    assert holds(call, one_of(call, "g", {"at": {"up": {"up": {}}}}))
    assert not holds(call, one_of(call, "g", {"at": {"up": 5}}))
    assert holds(call, one_of(call, "f", {"any": ["thing"]}))


def accepts(grammar: wire.Constraint, text: str) -> bool:
    """Whether a text is all of what a grammar describes."""
    matcher = grammars.compiled(BYTES, grammar)
    return all(map(matcher.consume_token, text.encode())) and matcher.is_accepting()


@pytest.mark.parametrize("name", SHOWN)
def test_several_calls_may_be_made_one_after_the_other(name: str) -> None:
    """Between the marks of the family, or as objects alone; all of them are read."""
    call = forced.of(FAMILIES[name], TOOLS, thinking=False, several=True)
    grammar = wire.Constraint("grammar", call.grammar)
    first = one_of(call, "get_weather", {"city": "Rome", "days": 3})
    second = one_of(call, "get_time", {"city": "Oslo"})
    own = call.family.calls
    assert isinstance(own, JsonCalls)
    marked = f"\n{own.close}\n{own.opens[0]}\n" if own.close and call.begun else "\n"
    assert accepts(grammar, first)
    assert accepts(grammar, first + marked + second)
    assert not accepts(grammar, first + " and then")
    said = parsed(call.family, first + marked + second, begun=call.begun)
    assert said.made == [
        ("get_weather", {"city": "Rome", "days": 3}),
        ("get_time", {"city": "Oslo"}),
    ]
    assert said.content == ""


def test_a_mark_that_is_a_control_token_is_named_as_one() -> None:
    """By its id, whatever its text; what is tried without the model's tokens has it as text."""
    marks = {"<tool_call>": 7, "</tool_call>": 8}
    call = forced.of(FAMILIES["hermes"], TOOLS, thinking=False, several=True, controls=marks)
    assert "<[8]> " in call.grammar
    assert '"</tool_call>"' in call.trial
    assert grammars.compiled(BYTES, wire.Constraint("grammar", call.trial))
    assert pieces.mark("]<]x[>[<b>", {"]<]x[>[": 5}) == '<[5]> "<b>"'
    assert pieces.mark("a<b>c", {}) == '"a<b>c"'


def test_beside_a_constraint_on_the_answer_calls_may_be_made() -> None:
    """The model chooses by how it begins; each is held to its own."""
    answer = {
        "type": "object", "properties": {"at": {"$ref": "#/$defs/place"}}, "required": ["at"],
        "$defs": {"place": {"enum": ["Rome", "Oslo"]}},
    }  # fmt: skip
    answers = [
        ("json_schema", json.dumps(answer), '{"at": "Oslo"}', '{"at": "Bonn"}'),
        ("regex", "[ab]{2}", "ab", "abc"),
        ("choice", '["yes","no"]', "no", "maybe"),
        ("grammar", 'root ::= "x" [0-9]+', "x12", "x"),
    ]
    for name, (kind, source, good, bad) in itertools.product(("hermes", "glm", "harmony"), answers):
        both = forced.either(FAMILIES[name], TOOLS, several=True, controls={})
        whole = json.dumps({"calls": both.grammar, "answer": [kind, source, ""]})
        constraint = wire.Constraint("either", whole)
        assert accepts(constraint, good)
        assert not accepts(constraint, bad)
        call = '{"name": "get_time", "arguments": {"city": "Rome"}}'
        assert accepts(constraint, call)
        assert not accepts(constraint, '{"name": "get_time", "arguments": {"city": 5}}')
        assert parsed(both.family, call).made == [("get_time", {"city": "Rome"})]
        assert parsed(both.family, good) == (good, "", [])
    own = "<tool_call>\n" + call + "\n</tool_call>"
    both = forced.either(FAMILIES["hermes"], TOOLS, several=False, controls={})
    assert accepts(wire.Constraint("grammar", both.grammar), own)
    assert not accepts(wire.Constraint("grammar", both.grammar), own + "\n" + own)
    assert parsed(both.family, own).made == [("get_time", {"city": "Rome"})]


def test_arguments_are_an_object_where_a_schema_does_not_say_so() -> None:
    """As in `{"properties": …}` alone."""
    call = forced.of(FAMILIES["hermes"], {"f": {"properties": {}}, "g": None}, thinking=False)
    for name in ("f", "g"):
        assert holds(call, one_of(call, name, {}))
        assert not holds(call, one_of(call, name, 5))
