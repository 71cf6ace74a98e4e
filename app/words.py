"""How quantities and foreign text are written: one way, on screens and the command line alike.

Every figure carries its unit; what is not known is written as a dash, never as a zero. Text that
came from clients, models or files passes through `safe` before it meets a terminal. It never
reads the store, the clock or the locale. Imported by everything in `app`.
"""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

from rich import cells

UNKNOWN: Final = "–"
_SECOND: Final = 1_000_000
_MINUTE: Final = 60 * _SECOND
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_MICRO: Final = 1_000_000
_SURE: Final = 0.025  # a share known to this much is one figure
# Joiners and drawing styles: they show nothing by themselves, and terminals disagree about the
# width of what they join, which would tear a row.
_DROPPED: Final = frozenset(
    {0x200C, 0x200D, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0), *range(0x1F3FB, 0x1F400)}
)
# Categories that move the cursor, hide or reorder text, or that no font agrees about.
_PATH: Final = re.compile(r"[^\s/“”\"'`]*/[^\s“”\"'`]*[^\s“”\"'`.,:;)]")
_UNSAFE: Final = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})


def _visible(character: str) -> str:
    code = ord(character)
    if code in _DROPPED:
        return ""
    if code < 0x20:  # noqa: PLR2004 the control pictures of Unicode have the same order
        return chr(0x2400 + code)
    category = unicodedata.category(character)
    if category == "Zs":
        return " "
    if category not in _UNSAFE:
        return character
    if code <= 0xFF:  # noqa: PLR2004
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004


def safe(text: str, *, lines: bool = False) -> str:
    """The text with controls, escapes, bidirectional marks and surrogates made visible.

    With `lines`, line feeds stay and tabs become four spaces; otherwise both are drawn.
    """
    if text.isascii() and text.isprintable():
        return text
    if lines:
        return "\n".join(safe(line.replace("\t", "    ")) for line in text.split("\n"))
    return "".join(map(_visible, text))


def width(text: str) -> int:
    """The terminal cells that the text takes, as the screen counts them."""
    return len(text) if text.isascii() and text.isprintable() else cells.cell_len(text)


def cut(text: str, limit: int) -> str:
    """The text in at most `limit` cells, with an ellipsis where something is missing."""
    if width(text) <= limit:
        return text
    if limit <= 0:
        return ""
    kept, room = 0, limit - 1
    for _start, end, taken in cells.split_graphemes(text)[0]:
        room -= taken
        if room < 0:
            break
        kept = end
    return text[:kept] + "…"


def squeeze(text: str, limit: int) -> str:
    """A name in at most `limit` cells, its middle left out: the version is at the end."""
    if width(text) <= limit or not text.isascii():
        return cut(text, limit)
    tail = min(8, limit // 2)
    return cut(text, limit - tail) + text[len(text) - tail :]


def shorten_paths(text: str, limit: int) -> str:
    """The text with its paths as short as `limit` cells demand; it may still be longer.

    A path keeps its beginning and the name of its file.
    """
    while (over := width(text) - limit) > 0:
        paths = [found for found in _PATH.finditer(text) if _shortest(found[0]) < width(found[0])]
        if not paths:
            break
        longest = max(paths, key=lambda found: width(found[0]) - _shortest(found[0]))
        path = longest[0]
        room = max(width(path) - over, _shortest(path))
        name = path[path.rindex("/") :]
        text = (
            text[: longest.start()] + cut(path, room - width(name)) + name + text[longest.end() :]
        )
    return text


def _shortest(path: str) -> int:
    """The cells of an ellipsis and the name of the file."""
    return 1 + width(path[path.rindex("/") :])


def pad(text: str, limit: int, *, right: bool = False) -> str:
    """The text cut and filled to exactly `limit` cells; `right` aligns it right, for figures."""
    short = cut(text, limit)
    space = " " * (limit - width(short))
    return space + short if right else short + space


def table(rows: Sequence[Sequence[str]], *, right: Iterable[int] = ()) -> list[str]:
    """Lines of aligned columns, two spaces apart; the columns in `right` are aligned right.

    Every cell is made `safe`: a row is one line, whatever a name or a path holds.
    """
    if not rows:
        return []
    figures = frozenset(right)
    rows = [[safe(cell) for cell in row] for row in rows]
    taken = [[width(cell) for cell in row] for row in rows]
    widths = [max(column) for column in zip(*taken, strict=True)]
    spaces = [
        [" " * (most - each) for each, most in zip(row, widths, strict=True)] for row in taken
    ]
    return [
        "  ".join(
            space + cell if n in figures else cell + space
            for n, (cell, space) in enumerate(zip(row, beside, strict=True))
        ).rstrip()
        for row, beside in zip(rows, spaces, strict=True)
    ]


def _three(value: float) -> str:
    """About three figures, without a trailing zero that was never measured."""
    if value >= 100:  # noqa: PLR2004
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"  # noqa: PLR2004


def duration(us: float | None) -> str:
    """A latency or a span: 412 µs, 12 ms, 1.90 s, 4 min 12 s, 2 h 5 min, 3 d 4 h."""
    if us is None:
        return UNKNOWN
    if us < 0:
        return "-" + duration(-us)
    if us < 1_000:  # noqa: PLR2004
        return f"{us:.0f} µs"
    if us < 999_500:  # noqa: PLR2004 what rounds to a thousand is a second
        return f"{us / 1_000:.0f} ms"
    if us < _MINUTE:
        seconds = us / _SECOND
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"  # noqa: PLR2004
    for big, small, names in (
        (_DAY, _HOUR, ("d", "h")),
        (_HOUR, _MINUTE, ("h", "min")),
        (_MINUTE, _SECOND, ("min", "s")),
    ):
        if us >= big:
            rest = int(us % big // small)
            whole = f"{int(us // big)} {names[0]}"
            return f"{whole} {rest} {names[1]}" if rest else whole
    raise AssertionError(us)  # pragma: no cover


def brief(us: float | None) -> str:
    """A duration in seven cells: as `duration` below a minute, then 4.2 min, 12 min, 3.1 h."""
    if us is None or us < _MINUTE:
        return duration(us)
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if us >= unit:
            value = us / unit
            return f"{value:.1f} {name}" if value < 9.95 else f"{value:.0f} {name}"  # noqa: PLR2004
    raise AssertionError(us)  # pragma: no cover


def age(us: float | None) -> str:
    """How long ago, coarsely: now, 42 s, 4 min, 2 h, 3 d."""
    if us is None:
        return UNKNOWN
    if us < _SECOND:
        return "now"
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if us >= unit:
            return f"{int(us // unit)} {name}"
    return f"{int(us // _SECOND)} s"


def size(count: float | None) -> str:
    """Bytes in powers of 1000, as disks and models are sold: 627 kB, 1.94 MB, 80.0 GB."""
    if count is None:
        return UNKNOWN
    if count < 1000:  # noqa: PLR2004
        return f"{count:.0f} B"
    value = count
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 999.5:  # noqa: PLR2004
            return f"{_three(value)} {unit}"
    return f"{_three(value / 1000)} PB"


def whole(number: int | None) -> str:
    """A number, or a dash where it is unknown."""
    return UNKNOWN if number is None else str(number)


def known(text: str | None) -> str:
    """A text, or a dash where there is none."""
    return text or UNKNOWN


def setting(value: object) -> str:
    """A setting of a release or a deployment; a dash where it has none."""
    match value:
        case None:
            return UNKNOWN
        case float():
            return f"{value:g}"
        case tuple():
            return safe(" ".join(map(str, value)))
        case dict():
            return safe(" ".join(f"{name}={each}" for name, each in value.items()) or "none")
    return safe(str(value))


def watts(milliwatts: int | None) -> str:
    """Whole watts without their unit, or a dash."""
    return UNKNOWN if milliwatts is None else f"{milliwatts / 1000:.0f}"


def percent(fraction: float | None) -> str:
    """A fraction of one: 90 %, 90.2 %; what is not quite nothing or all says so: <0.1 %."""
    if fraction is None:
        return UNKNOWN
    text = f"{fraction * 100:.1f}".removesuffix(".0")
    if text == "0" and fraction > 0:
        return "<0.1 %"
    if text == "100" and fraction < 1:
        return ">99.9 %"
    return f"{text} %"


def share(fraction: float | None, between: tuple[float, float] | None) -> str:
    """A share as it was measured, as a range where so few were counted that it says no more.

    `between` is its 95 % interval: 8–27 % of 57 requests, 10.1 % of 2000.
    """
    if fraction is None or between is None or (between[1] - between[0]) / 2 <= _SURE:
        return percent(fraction)
    return f"{between[0] * 100:.0f}–{between[1] * 100:.0f} %"


def rate(per_second: float | None, unit: str = "") -> str:
    """So many a second: 31.0/s, 512 tok/s."""
    if per_second is None:
        return f"{UNKNOWN} {unit}/s" if unit else UNKNOWN
    return f"{_three(per_second)} {unit}/s" if unit else f"{_three(per_second)}/s"


def count(number: float | None) -> str:
    """A count, in thin groups of three: 12 345."""
    return UNKNOWN if number is None else f"{number:,.0f}".replace(",", " ")


def counted(number: int, noun: str, many: str = "") -> str:
    """A count with its noun, in the right number: 1 request, 12 345 requests, 2 entries."""
    return f"{count(number)} {noun if number == 1 else many or f'{noun}s'}"


def money(micro: int | None, currency: str) -> str:
    """Micro-units of a currency: 0.0213 USD, 12.40 USD. None: no price is set."""
    if micro is None:
        return "no price set"
    value = micro / _MICRO
    return f"{value:.2f} {currency}" if abs(value) >= 1 else f"{value:.4f} {currency}"


def clock(us: int | None) -> str:
    """A moment as UTC wall clock to the second, 2026-11-24 14:48:07Z, or a dash for none."""
    if us is None:
        return UNKNOWN
    moment = dt.datetime.fromtimestamp(us / _MICRO, tz=dt.UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%SZ")


def one_of(names: Iterable[str], *, limit: int = 8) -> str:
    """A list of names for an error message, long ones shortened."""
    known = sorted(names)
    shown = ", ".join(known[:limit])
    return f"{shown} and {len(known) - limit} more" if len(known) > limit else shown or "none yet"
