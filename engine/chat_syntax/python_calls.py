"""Calls as a list in Python's form: `[weather(city='Rome', days=3), clock()]`, as LFM2 writes.

Read once they are complete: what a keyword holds is known only then. Imported by `families`.
"""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from typing import Final

from engine.chat_syntax.source import Reading, Source
from engine.chat_syntax.syntax import Sink

_LONGEST: Final = 100_000
_WORDS: Final = {"true": True, "false": False, "null": None}


@dataclass(frozen=True, slots=True)
class PythonCalls:
    """The marks around the list."""

    opening: str
    close: str
    bare: bool = False

    @property
    def starts(self) -> tuple[str, ...]:
        """The mark before."""
        return (self.opening,)

    @property
    def marks(self) -> tuple[str, ...]:
        """Both marks."""
        return (self.opening, self.close)

    def read(self, source: Source, sink: Sink) -> Reading[None]:
        """The list, up to the first call that cannot be made."""
        yield from source.take(self.opening)
        text = yield from source.until(self.close, _LONGEST)
        if text is None and source.ended:
            text, source.at = source.text[source.at :], len(source.text)
        for name, arguments in _calls(text or ""):
            if not sink.begin(source, name):
                return
            sink.arguments(arguments)


class _Words(ast.NodeTransformer):
    """JSON's words as Python's: models write them within objects."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(_WORDS[node.id]) if node.id in _WORDS else node


def _calls(text: str) -> list[tuple[str, str]]:
    """The names and arguments; none if the text has another form, or values that JSON has not."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        each = tree.elts if isinstance(tree, ast.List) else [tree]
        return [
            (ast.unparse(call.func), _arguments(call))
            for call in each
            if isinstance(call, ast.Call)
        ]
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return []


def _arguments(call: ast.Call) -> str:
    """The arguments as JSON.

    Raises:
        ValueError, TypeError: they are not all named, or JSON has no such value.
    """
    if call.args or not all(each.arg for each in call.keywords):
        raise ValueError("an argument without a name")
    words = _Words()
    named = {str(each.arg): ast.literal_eval(words.visit(each.value)) for each in call.keywords}
    text = json.dumps(named, ensure_ascii=False, allow_nan=False)
    if any("\ud800" <= each <= "\udfff" for each in text):  # half a character, which UTF-8 has not
        return json.dumps(named, allow_nan=False)
    return text
