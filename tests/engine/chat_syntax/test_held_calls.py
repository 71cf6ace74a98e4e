"""What calls are held to, in every family: the table, and calls drawn at random and read back."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any, Final

import jsonschema
import pytest

from engine.chat_syntax import forced, lazy
from engine.serving import wire
from engine.serving.constraints import grammars
from engine.serving.constraints.begun import PartMatcher
from tests.engine.chat_syntax.answers import Said, parsed
from tests.engine.chat_syntax.test_lazy import WRITTEN
from tests.engine.chat_syntax.test_parser import FAMILIES, SHOWN
from tests.engine.serving.constraints import walks

PLACE: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "at": {"type": "number"},
        "name": {"type": "string", "maxLength": 4},
        "within": {"anyOf": [{"$ref": "#/$defs/place"}, {"type": "null"}]},
    },
    "required": ["at"],
    "additionalProperties": False,
}
RICH: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "pattern": "^[A-Z][^<>]", "minLength": 3, "maxLength": 12},
        "days": {"type": "integer", "minimum": 1, "maximum": 31},
        "unit": {"type": "string", "enum": ["C", "F"]},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 3}, "maxItems": 2},
        "place": {"anyOf": [{"$ref": "#/$defs/place"}, {"type": "null"}]},
        "exact": {"type": ["boolean", "null"]},
    },
    "required": ["city"],
    "additionalProperties": False,
    "$defs": {"place": PLACE},
}
TOOLS: Final = {"get_weather": RICH, "get_time": RICH}
CONTROLS: Final[dict[str, tuple[str, ...]]] = {
    "hermes": ("<tool_call>", "</tool_call>"),
    "mistral": ("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"),
    "glm": (
        "<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>",
    ),
    "deepseek-dsml": ("｜DSML｜",),
    "minimax-m3": ("]<]minimax[>[",),
    "kimi-k3": ("<|open|>", "<|close|>", "<|sep|>"),
    "gemma": ("<|tool_call>", "<tool_call|>", '<|"|>'),
    "lfm": ("<|tool_call_start|>", "<|tool_call_end|>"),
    "harmony": ("<|channel|>", "<|message|>", "<|call|>", "<|start|>", "<|constrain|>"),
}  # fmt: skip
"""Marks that are control tokens of the models, of families in which it makes a difference."""
BOTH_KINDS: Final = [*((name, ()) for name in SHOWN), *CONTROLS.items()]
LISTED: Final = "lfm"
"""Its calls are one list, which is held whole."""


def tokenised(text: str, controls: tuple[str, ...]) -> list[tuple[int, bytes]]:
    """Tokens of a text with their bytes."""
    numbers = walks.ids(controls)
    parts = re.split(f"({'|'.join(map(re.escape, controls))})", text) if controls else [text]
    return [
        token
        for part in parts
        for token in (
            [(numbers[part], part.encode())]
            if part in numbers
            else [(byte, bytes((byte,))) for byte in part.encode()]
        )
    ]


def matchers(name: str, controls: tuple[str, ...]) -> Iterator[PartMatcher]:
    """Matchers of the calls that a family makes by itself, at the beginning of an answer."""
    found = lazy.of(FAMILIES[name], TOOLS, tuple(TOOLS), walks.ids(controls))
    assert found is not None
    tokens = walks.tokens(controls)
    compiled = grammars.compiled(tokens, wire.Constraint("grammar", found.grammar))
    begins = wire.Begins(found.patterns, found.armed, found.begun)
    while True:
        yield PartMatcher(compiled, tokens, begins)


def redrawn(name: str, controls: tuple[str, ...], seed: int) -> str:
    """Two calls as the family writes them, with arguments drawn from what may be written."""
    original, one = (each for each, _ in zip(matchers(name, controls), range(2), strict=False))
    spelled = {number: text.encode() for text, number in walks.ids(controls).items()}
    dice, out = random.Random(seed), b""
    for token, raw in tokenised(WRITTEN[name], controls):
        within = original.active
        original.push(token, raw)
        assert original.fault == ""
        if within:
            continue
        one.push(token, raw)
        out += raw
        assert one.active == original.active
        while one.active:
            next_ = walks.drawn(one.inner, dice)
            text = spelled.get(next_) or bytes((next_,))
            one.push(next_, text)
            assert one.fault == ""
            out += text
    return out.decode()


def check(said: Said, most: int = 2) -> None:
    """Whether what was read is calls alone, with arguments that the schema allows."""
    assert (said.content, said.reasoning) == ("", "")
    assert 1 <= len(said.made) <= most
    for name, arguments in said.made:
        assert name in TOOLS
        jsonschema.validate(arguments, RICH)


@pytest.mark.parametrize(("name", "controls"), BOTH_KINDS)
def test_a_call_that_a_model_makes_by_itself_reads_as_its_strict_schema_allows(
    name: str, controls: tuple[str, ...]
) -> None:
    """Whatever it writes between the marks of its family, which may be control tokens."""
    for seed in range(2):
        text = redrawn(name, controls, seed)
        check(parsed(FAMILIES[name], text, tools=TOOLS), most=99 if name == LISTED else 2)
        one = parsed(FAMILIES[name], text, tools=TOOLS, one=True)
        check(one, most=1)


@pytest.mark.parametrize(("name", "controls"), BOTH_KINDS)
def test_calls_that_have_to_be_made_read_as_their_schemas_allow(
    name: str, controls: tuple[str, ...]
) -> None:
    """One of a named tool, and several of any."""
    for tools, several in (({"get_time": RICH}, False), (TOOLS, True)):
        call = forced.of(
            FAMILIES[name], tools, thinking=False, several=several, controls=walks.ids(controls)
        )
        text = walks.text("grammar", call.grammar, 1, controls=controls)
        said = parsed(call.family, text, tools=tools, begun=call.begun)
        check(said, most=16 if several else 1)


def test_a_control_token_that_shows_where_a_name_ends_is_held_as_one() -> None:
    """Where the name of a lax tool begins with another's, arguments begin behind the token."""
    controls = CONTROLS["glm"]
    tools = {"get": RICH, "get_time": RICH}
    tokens = walks.tokens(controls)
    for strict in (("get",), tuple(tools)):
        found = lazy.of(FAMILIES["glm"], tools, strict, walks.ids(controls))
        assert found is not None
        compiled = grammars.compiled(tokens, wire.Constraint("grammar", found.grammar))
        one = PartMatcher(compiled, tokens, wire.Begins(found.patterns))
        for token, raw in tokenised("<tool_call>get<arg_key>", controls):
            assert one.active == (len(strict) == 2 and raw == b"<arg_key>")
            one.push(token, raw)
        assert one.active


FEATURES: Final[dict[str, dict[str, Any]]] = {
    "a format": {"properties": {"a": {"type": "string", "format": "date"}}},
    "a pattern that looks ahead": {"properties": {"a": {"type": "string", "pattern": "(?=x)x"}}},
    "any value": {"properties": {"a": {}}},
    "unique items": {"properties": {"a": {"type": "array", "prefixItems": [{"type": "integer"}]}}},
    "alternatives at the root": {"anyOf": [{"properties": {"a": {"type": "integer"}}}]},
    "any names": {"additionalProperties": {"type": "integer"}},
    "a name with a dash": {"properties": {"a-b": {"type": "integer"}}},
}
TAGGED: Final = {
    "a format": "format of a text",
    "a pattern that looks ahead": "the pattern",
    "alternatives at the root": "anyOf of an object",
    "any names": "arguments of any name",
}
REFUSED: Final[dict[str, dict[str, str]]] = {
    **dict.fromkeys(
        ("atem", "deepseek-dsml", "glm", "hunyuan", "minicpm", "minimax-m2", "minimax-m3",
         "qwen-xml", "seed"),
        TAGGED,
    ),
    "kimi-k3": {**TAGGED, "any value": "no type of a"},
    "gemma": {
        "a format": "format of a text",
        "a pattern that looks ahead": "the pattern",
        "unique items": "prefixItems of an array",
        "alternatives at the root": "anyOf of an object",
    },
    "lfm": {
        "alternatives at the root": "anyOf of an object",
        "any names": "arguments of any name",
        "a name with a dash": "the name a-b",
    },
}  # fmt: skip
"""What a strict tool is refused for where the model calls by itself; everything else is held."""


@pytest.mark.parametrize("name", SHOWN)
def test_what_a_family_cannot_hold_is_refused_with_its_reason(name: str) -> None:
    """Where the model calls by itself; a call that has to be made is JSON in every family."""
    for feature, schema in FEATURES.items():
        tools = {"f": {"type": "object", **schema}}
        reason = REFUSED.get(name, {}).get(feature)
        if reason is None:
            found = lazy.of(FAMILIES[name], tools, ("f",), {})
            assert found is not None
            trial = found.trial
        else:
            with pytest.raises(lazy.Unwritable, match=re.escape(reason)):
                lazy.of(FAMILIES[name], tools, ("f",), {})
            trial = forced.of(FAMILIES[name], tools, thinking=False).trial
        if feature != "a pattern that looks ahead":  # which no grammar holds
            grammars.compiled(walks.tokens(), wire.Constraint("grammar", trial), trial=True)
