"""All that is known to be wrong, the worst first, each in full: what row 1 has a few words for.

Row 1 counts them as `+2 (!)`. Imported by `app.screens.places`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from app import snapshot, words
from app.screens.scrolled import Scrolled
from app.widgets import bar, palette
from app.widgets.palette import Line

_NONE = (
    "Nothing is known to be wrong: node and gateway answer, every service can be answered, the "
    "queue moves, and the error rates of the last seconds are low."
)
_NONE_THEN = "By what is recorded, nothing was wrong at that moment."


def draw(header: snapshot.Header, width: int) -> list[Line]:
    """The rows; of a past moment also what is not known of it."""
    rows = _problems(header, width)
    if header.past and not header.error:
        rows.append(palette.rule(width, "NOT KNOWN", "of that moment"))
        for sentence in header.past:
            rows += bar.saying(sentence, "", width)
    return rows


def _problems(header: snapshot.Header, width: int) -> list[Line]:
    if header.error and not header.troubles:
        return [palette.rule(width, "PROBLEMS"), *bar.saying(f"▲ {header.error}", "bad", width)]
    if not header.troubles:
        none = _NONE if header.past is None else _NONE_THEN
        return [palette.rule(width, "PROBLEMS"), *bar.saying(none, "", width)]
    count = words.counted(len(header.troubles), "problem")
    about = count if len(header.troubles) == 1 else f"{count}, the worst first"
    title = palette.rule(width, "PROBLEMS", about)
    return [title, *_each(header.troubles, width)]


def _each(troubles: Sequence[snapshot.Trouble], width: int) -> list[Line]:
    rows: list[Line] = []
    for each in troubles:
        first, *others = bar.wrapped(words.safe(each.sentence), max(width - 4, 1))
        rows += [((" ▲ ", "bad"), (first, "bold")), *(((f"   {row}", ""),) for row in others)]
    return rows


class Problems(Scrolled):
    """The list."""

    where: ClassVar[str] = "problems"
    acts: ClassVar = ("look.copy",)

    def __init__(self) -> None:
        super().__init__()
        self._troubles: Sequence[snapshot.Trouble] = ()

    def draw(self, current: snapshot.Snapshot) -> None:
        """Draw as much as there is room for."""
        self._troubles = current.header.troubles
        self._rows = draw(current.header, self.size.width)
        self._scroll()

    def copied(self) -> str:
        """All of it, a line each."""
        return "\n".join(words.safe(each.sentence) for each in self._troubles)
