"""The header: the first row of every place, at every size.

Who is here and on which box, what is live, whether this screen may change anything, what is
broken, and how old the snapshot is. Nothing else may take its place. Imported by screens.
"""

from __future__ import annotations

from dataclasses import dataclass
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


def age(header: Header) -> str:
    """How old the newest measurement is."""
    if header.back_us > _FRESH_US:
        return f"clock is {words.age(header.back_us)} back"
    if header.as_of_us is None:
        return "age unknown" if header.error else "nothing measured yet"
    old = header.now_us - header.as_of_us
    return "as of now" if old <= _FRESH_US else f"as of {words.age(old)} ago"


def live(header: Header, room: int) -> str:
    """What answers clients, as much of it as there is room for."""
    if header.node in {Node.DOWN, Node.ABSENT}:
        return "nothing is live"
    if not header.live:
        return "no service yet"
    if len(header.live) > 1:
        return f"LIVE {len(header.live)} services"
    name, arms = header.live[0]
    given = [(f"r{release}", tight(splits.percent(bp))) for release, bp in arms if bp]
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


def draw(header: Header, mode: Mode, width: int) -> Line:
    """The line in exactly `width` cells.

    Where there is little room, what is live gets shorter first, then the share of synthetic load
    goes and the names are cut; trouble, RO or RW and the age of the snapshot stay.
    """
    tone = "ro" if mode.armed_us is None else "rw"
    most = 20 if width >= 100 else 12  # noqa: PLR2004
    host, person = words.safe(header.host), words.safe(header.person.name) or words.UNKNOWN
    who = f" {words.cut(host, most)} · {words.cut(person, most)}"
    trouble, end = _trouble(header, tone, most), _end(header, mode, tone)
    synthetic: Line = ()
    if header.synthetic:
        share = f"{header.synthetic * 100:.0f}%" if header.synthetic >= _WHOLE else "<1%"
        synthetic = ((f"  synthetic {share}", tone),)
    room = width - palette.length((*trouble, *end))
    if room < words.width(who) + palette.length(synthetic):
        synthetic = ()
    left = ((words.cut(who, room), f"{tone}-bold"), *trouble)
    right = (*synthetic, *end)
    if header.error:
        pass  # what is live is unknown
    elif header.node is Node.ASKING:
        left = (*left, ("   reading…", f"{tone}-dim"))
    elif header.node is not Node.ABSENT:
        gap = "  " if trouble else "   "
        room = width - palette.length((*left, *right)) - len(gap)
        left = (*left, (f"{gap}{live(header, room)}", tone))
    return palette.spread(left, right, width, tone)


def _trouble(header: Header, tone: str, most: int) -> Line:
    if header.node is Node.DOWN:
        said = "▲ NODE DOWN"
    elif header.node is Node.ABSENT:
        said = "no box here"
    elif header.error:
        said = "▲ store unreadable"
    elif header.troubles:
        name, _, state = header.troubles[0].rpartition(" ")
        more = f" +{len(header.troubles) - 1}" if len(header.troubles) > 1 else ""
        said = f"▲ {words.squeeze(name, most)} {state}{more}"
    else:
        return ()
    return ((f" {said} ", f"{tone}-bad"),)


def _end(header: Header, mode: Mode, tone: str) -> Line:
    allowed: Piece = (f"  {permission(mode)}  ", f"{tone}-bold")
    if mode.frozen_us is not None:
        return (allowed, (f" FROZEN {words.clock(mode.frozen_us)[11:]} ", f"{tone}-bad"))
    return (allowed, (f"{age(header)} ", f"{tone}-dim"))


def permission(mode: Mode) -> str:
    """RO, or RW with the minutes that are left."""
    if mode.armed_us is None:
        return "RO"
    left = max(mode.armed_us, 0)
    minutes = -(-left // (60 * _SECOND_US))
    return f"RW {minutes} min"


class HeaderRow(Lines):
    """The first row."""

    DEFAULT_CSS = "HeaderRow { dock: top; height: 1; width: 1fr; }"

    def show_header(self, header: Header, mode: Mode) -> None:
        """Draw it at the widget's width."""
        if self.size.width:
            self.show([draw(header, mode, self.size.width)])
