"""A list of calls in a grammar, as LFM writes it in Python's form: `[weather(city='Rome')]`.

The whole list is held, since what follows a call is known only there. A text is in single quotes,
as the models are trained to write it, or a string of JSON, which means the same in Python; any
other value is JSON, but for Python's own words. Imported by `lazy`.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from engine.chat_syntax.lark import pieces, schemas, texts
from engine.chat_syntax.lark.schemas import Unwritable

_NAME: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_BETWEEN: Final = '"," " "?'
_WORDS: Final = {"boolean": '"True" | "False"', "null": '"None"'}
_FREE: Final = r"""
free: "(" (keyword ("," " "? keyword)*)? ")"
keyword: KEY "=" literal
literal: QUOTED | NUMBER | WORD | list | tuple | dict
list: "[" (literal ("," " "? literal)*)? "]"
tuple: "(" literal ("," " "? literal)* ","? ")"
dict: "{" (entry ("," " "? entry)*)? "}"
entry: literal ":" " "? literal
KEY: /[A-Za-z_][A-Za-z0-9_]*/
NUMBER: /-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,18})?/
WORD: "True" | "False" | "None" | "true" | "false" | "null"
QUOTED: /"([^"\\\x00-\x1f]|\\["'\\nrt])*"/ | /'([^'\\\x00-\x1f]|\\["'\\nrt])*'/
"""
"""The arguments of a tool that is not held to its schema."""
_INNER: Final = r"/[^'\\\x00-\x1f\x7f]*/"


def nameable(name: str) -> bool:
    """Whether a tool of this name can be called: those of other names are not."""
    return _NAME.fullmatch(name) is not None and not any(map(keyword.iskeyword, name.split(".")))


def calls(options: Sequence[str], close: str) -> str:
    """The rules of the list, the first of them `calls`, with any arguments as `free`.

    `options` are the calls that it may have, `close` is the mark after it.
    """
    option = f"({' | '.join(options)})"
    return f'calls: "[" {option} ({_BETWEEN} {option})* "]" {close}\n{_FREE}'


def rules(rule: str, tool: str, schema: Mapping[str, Any] | None) -> str:
    """The rules of the arguments of a tool in their brackets, the first of them `rule`.

    Raises:
        Unwritable: they cannot be held, or the tool cannot be named.
    """
    if not nameable(tool):
        raise Unwritable("its name is none in Python")
    root = schema or {}
    items, made = [], []
    for place, (key, required) in enumerate(schemas.named(root)):
        if not _NAME.fullmatch(key) or keyword.iskeyword(key) or "." in key:
            raise Unwritable(f"the name {key}, which is none in Python")
        name, value = _value(f"{rule}_{place}", root, root["properties"][key])
        items.append((f"{pieces.literal(f'{key}=')} {name}", required))
        made.append(value)
    inner = pieces.members(f"{rule}_all", items, _BETWEEN)
    return f'{rule}: "(" {rule}_all ")"\n{inner}{"".join(made)}'


def _value(name: str, root: Mapping[str, Any], schema: Any) -> tuple[str, str]:
    """The rule of one value and what defines it: `name`, or one for all free texts."""
    schema = {} if schema is True else schema
    if not isinstance(schema, Mapping):
        raise Unwritable("a schema that is no object")
    if schema.get("type") == "string" and schema.keys() & schemas.NARROWING == {"type"}:
        name, schema = "text", {"type": "string"}
    options, terminals = [pieces.part(root, schema)], ""
    for each in schemas.typed(root, schema):
        if each["type"] in _WORDS and not each.keys() & {"enum", "const"}:
            options.append(_WORDS[each["type"]])
        elif each["type"] == "string" and (inner := _unescaped(each)):
            options.append(f"{name.upper()}_{len(options)}")
            terminals += f'{options[-1]}: "\'" ({inner}) "\'"\n'
    return name, f"{name}: {' | '.join(options)}\n{terminals}"


def _unescaped(schema: Mapping[str, Any]) -> str:
    """A text within single quotes as a terminal; "" where only JSON can hold it."""
    try:
        held = texts.terminal(schema)
    except Unwritable:
        return ""
    return f"{_INNER} & {held}" if held else _INNER
