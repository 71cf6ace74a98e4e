"""Calls that a model makes by itself: where their arguments begin, and what these have to match.

A tool that is `strict` has its arguments held to its schema. Those of any other are an object where
the family writes JSON, which is the same grammar for all tools, and free elsewhere. Imported by the
backends.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from engine.chat_syntax.gemma_calls import GemmaCalls
from engine.chat_syntax.headed_calls import HeadedCalls
from engine.chat_syntax.json_calls import JsonCalls
from engine.chat_syntax.lark import gemma, keywords, pieces, schemas, tagged
from engine.chat_syntax.lark.pieces import Controls
from engine.chat_syntax.python_calls import PythonCalls
from engine.chat_syntax.syntax import Family, Schemas
from engine.chat_syntax.tagged_calls import TaggedCalls

_WORD: Final = r"[\w.-]{1,128}"
_END: Final = r"(?![\w.-])"
_NAME: Final = rf'"(?P<name>{_WORD})"\s*'
_BESIDES: Final = (
    r'(?:,\s*"(?:id|type|tool_call_id|index)"\s*:\s*(?:"[^"\\]{0,128}"|\d{1,9}|null)\s*){0,4}'
)
_OBJECT: Final = (
    r'"(?:name|tool_name|function)"\s*:\s*' + _NAME + _BESIDES
    + r',\s*"(?:arguments|parameters)"\s*:\s*'
)  # fmt: skip
_KEYED: Final = r"\{\s*" + _NAME + r":\s*"
_CHANNEL: Final = (
    r"to=(?:functions\.)?(?P<name>[\w.-]+)(?:(?!<\|(?:message|end|start)\|>).){0,200}"
    r"<\|message\|>\s*"
)


_LONGEST: Final = 400_000
"""Characters of a grammar, which the gateway writes while its streams wait."""
_Own = TaggedCalls | GemmaCalls | PythonCalls
"""Forms whose arguments are no JSON."""


@dataclass(frozen=True, slots=True)
class Lazy:
    """`patterns`, `armed` and `begun` say where arguments begin, `grammar` what follows.

    As `engine.serving.wire.Begins` has it: the grammar begins with the name of the tool. `trial` is
    the same for a vocabulary without the model's control tokens.
    """

    patterns: tuple[str, ...]
    armed: tuple[str, ...]
    begun: str
    grammar: str
    trial: str


class Unwritable(Exception):
    """The arguments of a strict tool cannot be held to its schema in this syntax; `reason`: why."""

    def __init__(self, tool: str, reason: str) -> None:
        super().__init__(f"{tool}: {reason}")
        self.tool = tool
        self.reason = reason


def of(family: Family, tools: Schemas, strict: Collection[str], controls: Controls) -> Lazy | None:
    """How calls of these tools are held; None where nothing can be.

    `strict` are the tools that are held to their schemas, `controls` the model's control tokens.

    Raises:
        Unwritable: one of `strict` cannot be.
    """
    calls = family.calls
    if family.channels:
        return _json((_CHANNEL,), (), "", tools, strict)
    if isinstance(calls, JsonCalls):
        pattern = _KEYED if calls.keyed else _OBJECT
        return _json((pattern,), () if calls.bare else calls.opens, "", tools, strict)
    if isinstance(calls, HeadedCalls):
        ends = "".join(f"|(?<={re.escape(end)})" for end in calls.ends)
        headed = f"{re.escape(calls.call)}{calls.head.pattern}(?:(?=\\{{){ends})"
        patterns = (headed,) if calls.json is None else (headed, _OBJECT)
        armed = () if calls.json is None else (calls.call,)
        return _json(patterns, armed, family.given, tools, strict)
    if not strict or not isinstance(calls, _Own):
        return None
    near = pieces.within(calls.marks, controls)
    grammar = _grammar(calls, tools, strict, near)
    trial = _grammar(calls, tools, strict, {}) if near else grammar
    return Lazy(_begins(calls, tools, strict), (), "", grammar, trial)


def _json(
    patterns: tuple[str, ...],
    armed: tuple[str, ...],
    begun: str,
    tools: Schemas,
    strict: Collection[str],
) -> Lazy:
    """Arguments that are JSON, whose grammar names no control tokens."""
    held = [name for name in tools if name in strict]
    options = [f"t{place}" for place in range(len(held))]
    lines = [
        f"t{place}: {pieces.literal(name)} LINE WS? {pieces.arguments(tools[name])}\n"
        for place, name in enumerate(held)
    ]
    if len(held) < len(tools):
        options.append("any")
        names = "|".join(map(pieces.escaped, held))
        other = f"/[^\\n]+/ & ~/({names})/" if held else "/[^\\n]+/"
        lines.append(f"any: OTHER LINE WS? {pieces.arguments(None)}\nOTHER: {other}\n")
    grammar = f"start: {' | '.join(options)}\n{''.join(lines)}{pieces.TERMINALS}"
    return Lazy(patterns, armed, begun, grammar, grammar)


def _begins(calls: _Own, tools: Schemas, strict: Collection[str]) -> tuple[str, ...]:
    """The patterns of what comes before arguments that are no JSON.

    They begin with the name of the tool: a token may hold the tag after it and more.
    """
    if isinstance(calls, PythonCalls):
        return (re.escape(calls.opening) + "(?P<name>)",)  # the names are held, too
    start = re.escape(calls.starts[-1])  # behind a section, if there are any
    if isinstance(calls, TaggedCalls) and not calls.plain:
        return (start + calls.name.pattern + re.escape(calls.call_end),)
    start += r"\s*call:" if isinstance(calls, GemmaCalls) else r"\s*"
    late = [
        re.escape(name)
        for name in tools
        if name in strict and not all(each in strict for each in _longer(name, tools))
    ]
    if not late:
        return (f"{start}(?P<name>{_WORD}){_END}",)
    names = f"(?:{'|'.join(late)})"  # where the text ends with one, another may still be written
    return (
        f"{start}(?!{names}{_END})(?P<name>{_WORD}){_END}",
        f"{start}(?P<name>{names})(?=[^\\w.-])",
    )


def _longer(name: str, tools: Collection[str]) -> list[str]:
    """The tools whose names begin with this one."""
    return [each for each in tools if each != name and each.startswith(name)]


def _grammar(calls: _Own, tools: Schemas, strict: Collection[str], controls: Controls) -> str:
    """What follows the beginning of calls that are no JSON."""
    held = {name: schema for name, schema in tools.items() if name in strict}
    rules = _rules(calls, held, controls)
    named = {name: f"t{place}" for place, name in enumerate(held)}
    if isinstance(calls, PythonCalls):
        free = {name: "free" for name in tools if name not in held and keywords.nameable(name)}
        options = [f"{pieces.literal(name)} {rule}" for name, rule in (named | free).items()]
        close = pieces.mark(calls.close, controls)
        return f"start: LINE WS? calls\n{rules}{keywords.calls(options, close)}{pieces.TERMINALS}"
    options = [f"{pieces.literal(name)} LINE {rule}" for name, rule in named.items()]
    options += [
        f"{pieces.literal(name)} LINE {pieces.literal(each[len(name) :])} {named[each]}"
        for name in held
        for each in _longer(name, held)
    ]
    return f"start: {' | '.join(options)}\n{rules}{pieces.TERMINALS}"


def _rules(calls: _Own, held: Schemas, controls: Controls) -> str:
    """The rules of the arguments of all tools that are held, `t0` for the first."""
    rules: dict[str, None] = {}  # some are of several tools
    room = _LONGEST
    for place, (name, schema) in enumerate(held.items()):
        try:
            lines = _arguments(calls, f"t{place}", name, schema, controls).split("\n")
        except schemas.Unwritable as error:
            raise Unwritable(name, str(error)) from error
        room -= sum(len(line) for line in lines if line not in rules)
        rules.update(dict.fromkeys(lines))
        if room < 0:
            raise Unwritable(name, "the schemas of all strict tools are too large together")
    return "\n".join(rules) + "\n"


def _arguments(
    calls: _Own, rule: str, name: str, schema: Mapping[str, Any] | None, controls: Controls
) -> str:
    """The rules of the arguments of one tool, the first of them `rule`."""
    match calls:
        case TaggedCalls():
            return tagged.rules(calls, rule, schema, controls)
        case GemmaCalls():
            return gemma.rules(rule, schema, controls)
        case PythonCalls():
            return keywords.rules(rule, name, schema)
