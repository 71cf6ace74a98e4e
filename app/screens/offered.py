"""The keys with which a place changes something: the effect of each, or why it cannot be used now.

It asks the place what it offers and the program whether that is allowed, and changes nothing.
Imported by the places.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from app.screens.place import Offer, Program
from app.widgets import palette
from app.widgets.palette import Line

_MANY: Final = 3


@dataclass(frozen=True, slots=True)
class Verb:
    """An action, its key, a word for it; `effect` where the effect depends on what is typed."""

    name: str
    key: str
    word: str
    effect: str = ""


def rows(
    program: Program, verbs: Sequence[Verb], offer: Callable[[str], Offer | None], width: int
) -> list[Line]:
    """A row for each; one for all where they have the same reason."""
    found = []
    for verb in verbs:
        offered = offer(verb.name)
        why = program.refusal(verb.name, offered)
        effect = verb.effect or ("" if offered is None else _brief(offered.effect))
        found.append((verb, why, effect))
    reasons = {why for _, why, _ in found}
    if len(found) > 1 and len(reasons) == 1 and "" not in reasons:
        return [_together(verbs, reasons.pop(), width)]
    wide = max((len(verb.word) for verb in verbs), default=0) + 1
    return [
        palette.cut(
            (
                (f" {verb.key} ", "dim" if why else "key"),
                (f"{verb.word:<{wide}}", "dim" if why else ""),
                (why or effect, "dim"),
            ),
            width,
        )
        for verb, why, effect in found
    ]


def brief(
    program: Program, verbs: Sequence[Verb], offer: Callable[[str], Offer | None], width: int
) -> list[Line]:
    """The first with its effect, the others by their words in one row."""
    found = rows(program, verbs, offer, width)
    if len(found) < _MANY:
        return found
    named: list[tuple[str, str]] = []
    for verb in verbs[1:]:
        ink = "dim" if program.refusal(verb.name, offer(verb.name)) else "key"
        named += [(f" {verb.key} ", ink), (f"{verb.word} ", "dim" if ink == "dim" else "")]
    return [found[0], palette.cut(tuple(named), width)]


def _together(verbs: Sequence[Verb], why: str, width: int) -> Line:
    named = "  ".join(f"{verb.key} {verb.word}" for verb in verbs)
    if len(named) + len(why) + 4 > width:
        named = " ".join(verb.key for verb in verbs)
    return palette.cut(((f" {named} ", "dim"), (f" {why}", "dim")), width)


def _brief(effect: str) -> str:
    """The effect without the name of the verb and of what it is done to, which are beside it."""
    _, parted, tail = effect.partition("): ")
    return tail if parted else effect.partition(": ")[2] or effect
