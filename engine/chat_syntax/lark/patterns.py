"""An expression of JSON Schema as one that matches whole texts.

JSON Schema searches a text for ECMAScript's expressions, a grammar matches it from end to end by
Rust's. What means the same in both, or can be written so, is taken; anything else is refused: looks
ahead and behind, references to groups, edges of words, and anchors within. Imported by `texts`.
"""

from __future__ import annotations

import re
from typing import Final

from engine.chat_syntax.lark.pieces import escaped
from engine.chat_syntax.lark.schemas import Unwritable

_PIECE: Final = re.compile(
    r"(?P<set>\[\^?(?:\\.|[^\]\\])+\])|(?P<escape>\\(?:u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|p\{\w{1,2}\}|.))"
    r"|(?P<open>\((?:\?:|(?!\?)))|(?P<close>\))|(?P<or>\|)|(?P<anchor>[\^$])|(?P<dot>\.)"
    r"|(?P<times>[*+?]|\{\d+(?:,\d*)?\})|(?P<char>[^\[\]{}])",
    re.DOTALL,
)
_MEMBER: Final = re.compile(
    r"\\(?:u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|p\{\w{1,2}\}|.)|[^\\]", re.DOTALL
)
_CONTROL: Final = {"t": "\\t", "n": "\\n", "r": "\\r", "f": "\\f", "v": "\\v"}
_CLASSES: Final = {"d": "0-9", "w": "A-Za-z0-9_", "s": " \\t\\n\\r\\f\\v"}
_SPACES: Final = "\\s\\x{FEFF}"
"""All that ECMAScript calls white space, where it must not be matched."""
_DOT: Final = "[^\\n\\r\\x{2028}\\x{2029}]"
_ANY: Final = "(?s:.*)"


def whole(pattern: str) -> str:
    """A regular expression of Lark for the texts in which the pattern is found.

    Raises:
        Unwritable: it has something that the two notations do not share.
    """
    options: list[list[str]] = [[]]
    depth, at, repeats = 0, 0, False
    while at < len(pattern):
        found = _PIECE.match(pattern, at)
        if found is None:
            raise _refused(pattern)
        kind, text, at = str(found.lastgroup), found[0], found.end()
        if kind == "times":
            if repeats and text == "?":  # a lazy one finds the same texts
                continue
            if repeats or not options[-1] or options[-1][-1] in {"^", "(?:"}:
                raise _refused(pattern)
        repeats = kind == "times"
        if kind == "or" and depth == 0:
            options.append([])
            continue
        depth += (kind == "open") - (kind == "close")
        if depth < 0 or (kind == "anchor" and depth):
            raise _refused(pattern)
        options[-1].append("(?:" if kind == "open" else _piece(kind, text, pattern))
    if depth:
        raise _refused(pattern)
    return f"/{'|'.join(_anchored(option, pattern) for option in options)}/"


def _anchored(pieces: list[str], pattern: str) -> str:
    """One alternative, which matches from end to end."""
    start, end = pieces[:1] == ["^"], pieces[-1:] == ["$"]
    inner = pieces[start : len(pieces) - end]
    if "^" in inner or "$" in inner:
        raise _refused(pattern)
    return f"{'' if start else _ANY}(?:{''.join(inner)}){'' if end else _ANY}"


def _piece(kind: str, text: str, pattern: str) -> str:
    match kind:
        case "set":
            return _set(text, pattern)
        case "escape":
            inner = _class(text, negated=False)
            return f"[{inner}]" if inner else _character(text, pattern)
        case "dot":
            return _DOT
        case "char":
            return escaped(text)
        case _:
            return text


def _set(text: str, pattern: str) -> str:
    negated = text.startswith("[^")
    found = _MEMBER.findall(text[2 if negated else 1 : -1])
    classes = [_class(each, negated=negated) for each in found]
    members: list[str] = []
    ranged = -1
    for place, (each, inner) in enumerate(zip(found, classes, strict=True)):
        between = ranged < place - 1 and 0 < place < len(found) - 1
        if each == "-" and between and not (classes[place - 1] or classes[place + 1]):
            ranged = place + 1  # its end begins no other range
            members.append("-")
        elif each.startswith("\\"):
            members.append(inner or _character(each, pattern))
        else:
            members.append(escaped(each))
    return f"[{'^' if negated else ''}{''.join(members)}]"


def _class(text: str, *, negated: bool) -> str:
    """A class of characters within a set, "" where the escape is none."""
    name = text[1:2]
    if name == "s":
        return _SPACES if negated else _CLASSES["s"]
    if name == "S":
        return f"[^{_CLASSES['s'] if negated else _SPACES}]"
    if name in _CLASSES:
        return _CLASSES[name]
    if name.lower() in _CLASSES:
        return f"[^{_CLASSES[name.lower()]}]"
    return text if name == "p" and text.endswith("}") else ""


def _character(text: str, pattern: str) -> str:
    """An escape of one character."""
    name = text[1:]
    if name in _CONTROL:
        return _CONTROL[name]
    if len(name) > 1 and name[0] in "ux":
        return f"\\x{{{name[1:]}}}"
    if len(name) == 1 and not name.isalnum():
        return escaped(name)
    raise _refused(pattern)


def _refused(pattern: str) -> Unwritable:
    return Unwritable(f"the pattern {pattern}")
