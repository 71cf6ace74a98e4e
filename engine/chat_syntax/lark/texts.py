"""A text without quotes in a grammar, up to the mark that ends it.

The mark is part of the lexeme: a text that may hold the beginning of its mark would take that, too.
Where a control token ends it, only what comes before the token is. Imported by its neighbours.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final

from engine.chat_syntax.lark import patterns, pieces, schemas
from engine.chat_syntax.lark.pieces import Controls
from engine.chat_syntax.lark.schemas import Unwritable

_UNHELD: Final = schemas.COMBINED | {"format"}
_ANY: Final = "/(?s:.*)/"
_COUNTED: Final = 4_000
"""Characters that can be counted: each is up to four of the 20,000 states of a lexer."""
_CDATA: Final = "<![CDATA["
_CDATA_END: Final = "]]>"


def rules(
    name: str,
    schema: Mapping[str, Any],
    end: str,
    controls: Controls,
    *,
    alike: bool = True,
    folded: bool = False,
    marked: bool = False,
) -> tuple[str, str]:
    """The rule of a text and its end, and what defines it: `name`, or one for all free texts.

    `alike`: all texts have this end. `folded`: line breaks around the text belong to the marks, and
    are required where the text is held. `marked`: the text may be a CDATA section, as XML has it.
    No part of `end` both begins and ends it.

    Raises:
        Unwritable: the schema says more of the text than can be held.
    """
    held = terminal(schema)
    for each in _named(schema):
        if end in each or (folded and marked and each.startswith(_CDATA)):
            raise Unwritable(f"the text {each}")
    first = pieces.split(end, controls)[0]
    last = "" if first in controls else first
    after = pieces.mark(end[len(last) :], controls)
    name = name if held or not alike else "text"
    return name, _rules(name, held, end, last, after, folded=folded, marked=marked)


@functools.lru_cache(maxsize=256)
def _rules(
    name: str, held: str, end: str, last: str, after: str, *, folded: bool, marked: bool
) -> str:
    """A text, the `last` of its lexeme, which begins the end, and what comes `after` that."""
    fold = "\n" if folded and held else ""
    free = "\\n?" if folded else ""
    unmarked = f" & ~/{free}{pieces.escaped(_CDATA)}(?s:.*)/" if marked else ""
    options = [
        _joined(pieces.literal(fold), _without(end, held) + unmarked, pieces.literal(fold + last))
    ]
    if marked and not fold:
        opening = f"/{free}{pieces.escaped(_CDATA)}/"
        closing = pieces.literal(_CDATA_END + last)
        options.append(_joined(opening, _without(_CDATA_END + end, held), closing))
    return f"{name}: {name.upper()} {after}\n{name.upper()}: {' | '.join(options)}\n"


def _without(end: str, held: str) -> str:
    """The texts that are held and have no end within them."""
    return f"({held or _ANY}) & ~/(?s:.*){pieces.escaped(end)}(?s:.*)/"


def _joined(before: str, text: str, after: str) -> str:
    return " ".join(each for each in (before, f"({text})", after) if each != '""')


def terminal(schema: Mapping[str, Any]) -> str:
    """The texts that a schema allows, as a terminal; "" where it allows all.

    Raises:
        Unwritable: it says more of the text than can be held.
    """
    schemas.refuse(schema, _UNHELD, "a text")
    held: list[str] = []
    if named := _named(schema):
        held.append(f"({' | '.join(map(pieces.literal, named))})")
    least, most = schema.get("minLength", 0), schema.get("maxLength", "")
    if least or most != "":
        if not all(isinstance(each, int) and each <= _COUNTED for each in (least, most or 0)):
            raise Unwritable(f"a length that is no integer up to {_COUNTED}")
        if least < 0 or (most != "" and most < least):
            raise Unwritable("minLength above maxLength, or one below 0")
        held.append(f"/(?s:.){{{least},{most}}}/")
    if "pattern" in schema:
        held.append(patterns.whole(str(schema["pattern"])))
    return " & ".join(held)


def _named(schema: Mapping[str, Any]) -> list[str]:
    """The texts among `enum`, or the one of `const`; none where the schema has neither."""
    if "enum" not in schema and "const" not in schema:
        return []
    options = schema.get("enum", [schema.get("const")])
    texts = [each for each in options if isinstance(each, str)] if isinstance(options, list) else []
    if "const" in schema:
        texts = [each for each in texts if each == schema["const"]]
    if not texts:
        raise Unwritable("no text is among enum and const")
    return texts
