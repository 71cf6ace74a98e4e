"""Calls that a model makes by itself: where their arguments begin, and what these have to match.

A tool that is `strict` has its arguments held to its schema. Those of any other are an object where
the family writes JSON, which is the same grammar for all tools. Imported by the backends.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from engine.chat_syntax import written
from engine.chat_syntax.headed_calls import HeadedCalls
from engine.chat_syntax.json_calls import JsonCalls
from engine.chat_syntax.syntax import Family, Schemas
from engine.chat_syntax.tagged_calls import NEXT_TAG, TaggedCalls

_NAME: Final = r'"(?P<name>[\w.-]{1,128})"\s*'
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
_BRACE: Final = r"(?=\{)"


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
    """The arguments of a strict tool cannot be held to its schema in this syntax."""

    def __init__(self, tool: str) -> None:
        super().__init__(tool)
        self.tool = tool


def of(
    family: Family, tools: Schemas, strict: Collection[str], controls: Collection[str]
) -> Lazy | None:
    """How calls of these tools are held; None where nothing can be.

    `strict` are the tools that are held to their schemas, `controls` the model's control tokens.

    Raises:
        Unwritable: one of `strict` cannot be.
    """
    calls = family.calls
    if family.channels:
        return _alike((_CHANNEL,), (), "", _json(tools, strict))
    if isinstance(calls, JsonCalls):
        pattern = _KEYED if calls.keyed else _OBJECT
        return _alike((pattern,), () if calls.bare else calls.opens, "", _json(tools, strict))
    if isinstance(calls, HeadedCalls):
        headed = re.escape(calls.call) + calls.head.pattern + _BRACE
        patterns = (headed,) if calls.json is None else (headed, _OBJECT)
        return _alike(
            patterns,
            () if calls.json is None else (calls.call,),
            family.given,
            _json(tools, strict),
        )
    if isinstance(calls, TaggedCalls) and strict:
        grammar, trial = (_tagged(calls, tools, strict, known) for known in (controls, ()))
        end = _BRACE.replace(r"\{", NEXT_TAG) if calls.call_end == NEXT_TAG else calls.call_end
        end = end if calls.call_end == NEXT_TAG else re.escape(end)
        pattern = re.escape(calls.call) + calls.name.pattern + end
        return Lazy((pattern,), (), "", grammar, trial)
    return None


def _alike(patterns: tuple[str, ...], armed: tuple[str, ...], begun: str, grammar: str) -> Lazy:
    """With a grammar that names no control tokens."""
    return Lazy(patterns, armed, begun, grammar, grammar)


def _json(tools: Schemas, strict: Collection[str]) -> str:
    held = [name for name in tools if name in strict]
    lines = [
        f"t{place}: {json.dumps(name)} LINE WS? {written.arguments(tools[name], strict=True)}\n"
        for place, name in enumerate(held)
    ]
    if len(held) < len(tools):
        lines.append(f"any: OTHER LINE WS? {written.arguments(None, strict=False)}\n")
    options = [f"t{place}" for place in range(len(held))]
    options += ["any"] if len(held) < len(tools) else []
    names = "|".join(re.escape(name).replace("/", r"\/") for name in held)
    other = f"/[^\\n]+/ & ~/({names})/" if held else "/[^\\n]+/"
    terminals = f'LINE: "\\n"\nOTHER: {other}\n' if "any" in options else 'LINE: "\\n"\n'
    return f"start: {' | '.join(options)}\n{''.join(lines)}{terminals}{written.TERMINALS}"


def _tagged(
    form: TaggedCalls, tools: Schemas, strict: Collection[str], controls: Collection[str]
) -> str:
    lines, options = [], []
    for place, name in enumerate(name for name in tools if name in strict):
        rules = written.tagged(form, f"t{place}", tools[name], controls)
        if rules is None:
            raise Unwritable(name)
        options.append(f"{json.dumps(name)} LINE t{place}")
        lines.append(rules)
    start = f'start: {" | ".join(options)}\nLINE: "\\n"\n'
    return start + "".join(lines) + written.TERMINALS
