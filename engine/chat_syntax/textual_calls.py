"""Calls of earlier turns as a family writes them, for templates that show tools but no calls.

LFM's and Granite's are such: an assistant's call is text of its content to them. Imported by
`engine.prompting`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from engine.chat_syntax.json_calls import JsonCalls
from engine.chat_syntax.python_calls import PythonCalls
from engine.chat_syntax.syntax import Family


class TextualCalls(NamedTuple):
    """Calls in one text, between two marks; `after` is "" where there is none."""

    before: str
    text: str
    after: str


def of(family: Family, calls: Iterable[tuple[str, str]]) -> TextualCalls | None:
    """Calls by name and JSON arguments; None where the family has another form."""
    form = family.calls
    made = [(name, json.loads(arguments)) for name, arguments in calls]
    if isinstance(form, PythonCalls):
        text = ", ".join(f"{name}({_keywords(given)})" for name, given in made)
        return TextualCalls(form.opening, f"[{text}]", form.close)
    if isinstance(form, JsonCalls) and form.opens and not (form.close or form.bare or form.keyed):
        listed = [{form.name_key: name, form.arguments_key: given} for name, given in made]
        return TextualCalls(form.opens[0], json.dumps(listed, ensure_ascii=False), "")
    return None


def _keywords(given: dict[str, object]) -> str:
    return ", ".join(f"{key}={_literal(value)}" for key, value in given.items())


def _literal(value: object) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return repr(value)
