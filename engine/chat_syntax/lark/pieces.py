"""What grammars of calls are made of: marks, JSON, and members that may be left out.

Marks that are control tokens of the model are named by their ids, since a text never matches one.
Imported by its neighbours, `forced`, `lazy` and the backends.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from engine.chat_syntax.lark.schemas import Unwritable

Controls = Mapping[str, int]
"""The control tokens of a model by their texts; empty where they have to be matched as text."""

SPACING: Final = {
    "x-guidance": {
        "whitespace_flexible": False, "key_separator": ": ", "item_separator": ", ",
    }
}  # fmt: skip
"""Spaces as models are trained to write them: one that may write others fills its answer with them.
llguidance reads this."""
TERMINALS: Final = 'LINE: "\\n"\nWS: /[ \\n\\t]{1,8}/\n'
_DEFINED: Final = ("$defs", "definitions")
_DESCRIBING: Final = frozenset({"title", "description", "default", "examples"})
_ESCAPES: Final = str.maketrans(
    {"\n": "\\n", **{each: f"\\{each}" for each in "\\.+*?()|[]{}^$#&~/-"}}
)


def literal(text: str) -> str:
    """A text as a literal."""
    return json.dumps(text, ensure_ascii=False)


def escaped(text: str) -> str:
    """A text within a regular expression."""
    return text.translate(_ESCAPES)


def within(marks: Iterable[str], controls: Controls) -> Controls:
    """The control tokens that marks have in them; a vocabulary may have a thousand others."""
    text = "\n".join(marks)
    return {each: id for each, id in controls.items() if each and each in text}


def split(text: str, controls: Controls) -> list[str]:
    """A mark as control tokens and the texts between them."""
    spelled = sorted((each for each in controls if each in text), key=len, reverse=True)
    parts = re.split(f"({'|'.join(map(re.escape, spelled))})", text) if spelled else [text]
    return [each for each in parts if each]


def mark(text: str, controls: Controls) -> str:
    """A mark; its control tokens by their ids."""
    parts = split(text, controls)
    return " ".join(
        f"<[{controls[each]}]>" if each in controls else literal(each) for each in parts
    )


def value(schema: Mapping[str, Any]) -> str:
    """A value as JSON."""
    return f"%json {json.dumps({**schema, **SPACING}, ensure_ascii=False)}"


def arguments(schema: Mapping[str, Any] | None) -> str:
    """The arguments as JSON; without a schema any object."""
    return value({"type": "object", **(schema or {})})


def part(root: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """A value as JSON whose schema is part of another one, with the definitions that it may need.

    Raises:
        Unwritable: it refers to something else.
    """
    held = {key: schema[key] for key in schema if key not in _DESCRIBING}
    if next(_references(held), None) is None:
        return value(held)
    defined = {key: root[key] for key in _DEFINED if key in root}
    held = {**defined, **held}
    within = tuple(f"#/{key}/" for key in defined)
    for each in _references(held):
        if not (within and each.startswith(within)):
            raise Unwritable(f"$ref {each} is not within $defs")
    return value(held)


def _references(schema: Any) -> Iterator[str]:
    """What a schema refers to."""
    waiting = [schema]
    while waiting:
        each = waiting.pop()
        if isinstance(each, Mapping):
            if isinstance(each.get("$ref"), str):
                yield each["$ref"]
            each = list(each.values())
        if isinstance(each, list):
            waiting.extend(each)


def members(rule: str, items: Sequence[tuple[str, bool]], between: str) -> str:
    """The rules for members in this order, the first of them `rule`.

    Each item is a member and whether it has to be there; `between` is what separates two.
    """
    rules: list[str] = []
    after = '""'
    for place in range(len(items) - 1, -1, -1):
        item, required = items[place]
        name = f"{rule}_after_{place}"
        followed = f"{between} {item} {after}"
        rules.append(f"{name}: {followed}\n" if required else f"{name}: {followed} | {after}\n")
        after = name
    starts: list[str] = []
    for place, (item, required) in enumerate(items):
        rest = f" {rule}_after_{place + 1}" if place + 1 < len(items) else ""
        starts.append(f"{item}{rest}")
        if required:
            break
    else:
        starts.append('""')
    return f"{rule}: {' | '.join(starts)}\n" + "".join(rules)
