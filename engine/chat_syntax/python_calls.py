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
            sink.arguments(json.dumps(arguments, ensure_ascii=False))


def _calls(text: str) -> list[tuple[str, dict[str, object]]]:
    """The names and arguments; none if the text has another form."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        each = tree.elts if isinstance(tree, ast.List) else [tree]
        return [
            (
                ast.unparse(call.func),
                {kw.arg or "": ast.literal_eval(kw.value) for kw in call.keywords},
            )
            for call in each
            if isinstance(call, ast.Call)
        ]
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return []
