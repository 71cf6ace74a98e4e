"""The header: the first row of every place, at every size.

Who is here and on which box, the worst that is wrong, what is live, whether this screen may change
anything, and how old the figures are. It stays current while the rest of the screen is frozen.
Nothing else may take its place. Imported by screens.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from app import words
from app.snapshot import Header, Node
from app.widgets import palette
from app.widgets.lines import Lines
from app.widgets.palette import Line, Piece
from storage import splits

_SECOND_US: Final = 1_000_000
_FRESH_US: Final = 3 * _SECOND_US
_WHOLE: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """The mode of this screen."""

    armed_us: int | None = None  # how much longer changes are allowed; None: read-only
    frozen_us: int | None = None  # since when the snapshot is frozen


class Step(IntEnum):
    """What a row that is too narrow gives up, one after the other; each keeps those before."""

    NOTHING = 0
    SYNTHETIC = 1  # the share of synthetic load
    SENTENCE = 2  # the worst trouble in a few words
    NAMES = 3  # long names of host and person are cut
    LABELS = 4  # LIVE, and the points between arms
    UNITS = 5  # as of 4 s ago -> 4 s old, RW 15 min -> RW 15m
    PERSON = 6
    TROUBLE = 7  # long names in the trouble lose their middle
    SERVICE = 8  # a long name of the service is cut
    HOST = 9
    WEIGHTS = 10
    RELEASES = 11  # the arms are counted
    LIVE = 12
    AGE = 13


_NAME: Final = 20
_SHORT: Final = 12
_SHORTEST: Final = 8
_TROUBLE: Final = 24


def draw(header: Header, mode: Mode, width: int) -> Line:
    """The line in exactly `width` cells.

    Where there is little room it gives up what `Step` lists; trouble, and whether this screen may
    change anything, stay.
    """
    tone = "ro" if mode.armed_us is None else "rw"
    left, right = _halves(header, mode, tone, Step.NOTHING)
    for step in Step:
        left, right = _halves(header, mode, tone, step)
        if palette.length(left) + palette.length(right) <= width:
            break
    return palette.spread(left, right, width, tone)


def _halves(header: Header, mode: Mode, tone: str, step: Step) -> tuple[Line, Line]:
    left = [(f" {who}", f"{tone}-bold")] if (who := _who(header, step)) else []
    if opened := _incident(header, step):
        left.append((f" {opened}", f"{tone}-bad"))
    if said := _trouble(header, step):
        left.append((f" {said} ", f"{tone}-bad"))
    if shown := _live(header, step):
        gap = "   " if step < Step.LABELS else " " if said else "  "
        left.append((f"{gap}{shown}", tone))
    end: list[Piece] = []
    if header.synthetic and step < Step.SYNTHETIC:
        share = f"{header.synthetic * 100:.0f}%" if header.synthetic >= _WHOLE else "<1%"
        end.append((f"  synthetic {share}", tone))
    if header.past is not None:
        end.append((f"  {_past(header.now_us, short=step >= Step.UNITS)} ", f"{tone}-bad"))
    else:
        end.append((f"  {permission(mode, short=step >= Step.UNITS)}  ", f"{tone}-bold"))
    if mode.frozen_us is not None:
        at = " " + words.clock(mode.frozen_us)[11:]
        at = "" if step >= Step.AGE else at.rstrip("Z") if step >= Step.UNITS else at
        end.append((f" FROZEN{at} ", f"{tone}-bad"))
    elif step < Step.AGE and header.past is None:
        end.append((f"{age(header, short=step >= Step.UNITS)} ", f"{tone}-dim"))
    return tuple(left), tuple(end)


def _past(at_us: int, *, short: bool) -> str:
    """The moment that is shown: PAST 2026-11-27 03:12Z."""
    at = words.clock(at_us).replace(":00Z", "Z")
    return f"PAST {at[11:].rstrip('Z') if short else at}"


def _who(header: Header, step: Step) -> str:
    most = _NAME if step < Step.NAMES else _SHORT if step < Step.PERSON else _SHORTEST
    host = words.cut(words.safe(header.host), most)
    if step >= Step.HOST:
        return ""
    if step >= Step.PERSON:
        return host
    return f"{host} · {words.cut(words.safe(header.person.name) or words.UNKNOWN, most)}"


def _trouble(header: Header, step: Step) -> str:
    """The worst that is known to be wrong, and how much more is."""
    if header.node is Node.ABSENT:
        return "no box here"
    if header.error:
        return "▲ NODE DOWN" if header.node is Node.DOWN else "▲ store unreadable"
    if not header.troubles:
        return ""
    worst, more = header.troubles[0], len(header.troubles) - 1
    said = words.safe(worst.sentence.rstrip(".") if step < Step.SENTENCE else worst.brief)
    if step >= Step.TROUBLE:
        said = words.squeeze(said, _TROUBLE)
    where = " (!)" if step < Step.PERSON else ""  # the key that shows them
    return f"▲ {said}{f' +{more}{where}' if more else ''}"


def _incident(header: Header, step: Step) -> str:
    """The active incident, and for how long."""
    if header.incident is None or header.error:
        return ""
    number, began_us = header.incident
    lasted = "" if step >= Step.UNITS else f" {words.brief(max(header.now_us - began_us, 0))}"
    return f"INC-{number}{lasted}{' (i)' if step < Step.PERSON else ''}"


def _live(header: Header, step: Step) -> str:
    """What answers clients."""
    if header.error or step >= Step.LIVE:
        return ""  # unknown, or no room
    states = {Node.ABSENT: "", Node.ASKING: "reading…", Node.DOWN: "nothing is live"}
    if header.node in states or not header.live:
        return states.get(header.node, "no service yet")
    return _split(header, step)


def _split(header: Header, step: Step) -> str:
    """The services, or the arms of the one there is; LIVE while all of them can be answered."""
    live = not any(trouble.unanswered for trouble in header.troubles)
    label = "LIVE " if live and step < Step.LABELS else ""
    if len(header.live) > 1:
        return f"{label}{len(header.live)} services"
    name, arms = header.live[0]
    if step >= Step.SERVICE:
        name = words.cut(name, _SHORTEST)
    given = [(f"r{release}", splits.percent(bp).replace(" ", "")) for release, bp in arms if bp]
    between = " · " if step < Step.LABELS else " "
    if len(given) == 1:
        return f"{label}{name} {given[0][0]}"
    if step >= Step.RELEASES:
        return f"{label}{name} {len(given)} arms"
    shown = [release if step >= Step.WEIGHTS else f"{release} {share}" for release, share in given]
    return f"{label}{name} {between.join(shown)}"


def age(header: Header, *, short: bool = False) -> str:
    """How old the newest measurement is."""
    if header.back_us > _FRESH_US:
        return f"clock is {words.age(header.back_us)} back"
    if header.as_of_us is None:
        unknown = "age unknown" if header.error else "nothing measured yet"
        return words.UNKNOWN if short else unknown
    old = header.now_us - header.as_of_us
    if old <= _FRESH_US:
        return "now" if short else "as of now"
    return f"{words.age(old)} old" if short else f"as of {words.age(old)} ago"


def permission(mode: Mode, *, short: bool = False) -> str:
    """RO, or RW with the minutes that are left."""
    if mode.armed_us is None:
        return "RO"
    left = max(mode.armed_us, 0)
    minutes = -(-left // (60 * _SECOND_US))
    return f"RW {minutes}m" if short else f"RW {minutes} min"


class HeaderRow(Lines):
    """The first row."""

    DEFAULT_CSS = "HeaderRow { dock: top; height: 1; width: 1fr; }"

    def show_header(self, header: Header, mode: Mode) -> None:
        """Draw it at the widget's width."""
        if self.size.width:
            self.show([draw(header, mode, self.size.width)])
