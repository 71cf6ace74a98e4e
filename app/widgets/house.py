"""The house line: the first row of every place, at every size.

Who is here and on which box, what is live, whether this screen may change anything, what is
broken, and how old the picture is. Nothing else may take its place. Imported by screens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from app import words
from app.snapshot import HouseLine, Node
from app.widgets import ink
from app.widgets.ink import Line, Piece
from app.widgets.lines import Lines

_SECOND_US: Final = 1_000_000
_FRESH_US: Final = 3 * _SECOND_US
_WHOLE: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """How this screen stands to the box."""

    armed_us: int | None = None  # how much longer changes are allowed; None: read-only
    frozen_us: int | None = None  # since when the picture stands still


def age(house: HouseLine) -> str:
    """How old the newest measurement is."""
    if house.as_of_us is None:
        return "nothing measured yet"
    old = house.now_us - house.as_of_us
    if old < -_FRESH_US:
        return f"clock is {words.age(-old)} back"
    return "as of now" if old <= _FRESH_US else f"as of {words.age(old)} ago"


def live(house: HouseLine, room: int) -> str:
    """What answers clients, as much of it as there is room for."""
    if house.node in {Node.DOWN, Node.ABSENT}:
        return "nothing is live"
    if not house.live:
        return "no service yet"
    if len(house.live) > 1:
        return f"LIVE {len(house.live)} services"
    name, arms = house.live[0]
    given = [(f"r{release}", tight(words.weight(bp))) for release, bp in arms if bp]
    if len(given) == 1:
        return f"LIVE {name} {given[0][0]}"
    for shown in (
        " · ".join(" ".join(arm) for arm in given),
        " · ".join(release for release, _ in given),
        f"{len(given)} arms",
    ):
        if words.width(f"LIVE {name} {shown}") <= room:
            return f"LIVE {name} {shown}"
    return f"LIVE {name}"


def tight(text: str) -> str:
    """A percentage without its space: there is no room for manners in this row."""
    return text.replace(" %", "%")


def draw(house: HouseLine, mode: Mode, width: int) -> Line:
    """The line in exactly `width` cells."""
    tone = "ro" if mode.armed_us is None else "rw"
    right = _right(house, mode, tone)
    most = 20 if width >= 100 else 12  # noqa: PLR2004
    host, person = words.safe(house.host), words.safe(house.person.name) or words.UNKNOWN
    who = f" {words.cut(host, most)} · {words.cut(person, most)}"
    left: list[Piece] = [(who, f"{tone}-bold")]
    if house.node is Node.DOWN:
        left += [("  ", tone), (" ▲ NODE DOWN ", f"{tone}-bad")]
    elif house.node is Node.ABSENT:
        left += [("  ", tone), (" no box here ", f"{tone}-bad")]
    elif house.troubles:
        rest = f" +{len(house.troubles) - 1}" if len(house.troubles) > 1 else ""
        name, _, state = house.troubles[0].rpartition(" ")
        trouble = f" ▲ {words.squeeze(name, most)} {state}{rest} "
        left += [(" ", tone), (trouble, f"{tone}-bad")]
    if house.node is Node.ASKING:
        left += [("   reading…", f"{tone}-dim")]
    elif house.node is not Node.ABSENT:
        room = width - ink.length((*left, *right)) - 3
        left += [(f"   {live(house, room)}", tone)]
    return ink.spread(tuple(left), right, width, tone)


def _right(house: HouseLine, mode: Mode, tone: str) -> Line:
    right: list[Piece] = []
    if house.synthetic:
        share = f"{house.synthetic * 100:.0f}%" if house.synthetic >= _WHOLE else "<1%"
        right += [(f"  synthetic {share}", tone)]
    right += [(f"  {permission(mode)}  ", f"{tone}-bold")]
    if mode.frozen_us is not None:
        right += [(f" FROZEN {words.clock(mode.frozen_us)[11:]} ", f"{tone}-bad")]
    else:
        right += [(f"{age(house)} ", f"{tone}-dim")]
    return tuple(right)


def permission(mode: Mode) -> str:
    """RO, or RW with the minutes that are left."""
    if mode.armed_us is None:
        return "RO"
    left = max(mode.armed_us, 0)
    minutes = -(-left // (60 * _SECOND_US))
    return f"RW {minutes} min"


class House(Lines):
    """The first row."""

    DEFAULT_CSS = "House { dock: top; height: 1; width: 1fr; }"

    def show_house(self, house: HouseLine, mode: Mode) -> None:
        """Draw it at the widget's width."""
        if self.size.width:
            self.show([draw(house, mode, self.size.width)])
