"""The releases, newest first: where each is live, and what distinguishes it from another one.

`n` starts a rollout to the one under the cursor, `s` splits by hand, `d` marks what the others are
compared with. Imported by `app.tui`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from app import manifest_effect, snapshot, words
from app.screens import starting
from app.screens.listed import LISTED, Listed
from app.screens.offered import Verb
from app.screens.place import Offer
from app.widgets import palette
from app.widgets.palette import Line, Piece
from app.widgets.table import Column, Row
from storage import release_differences, splits

_DIGITS: Final = 12
_DIFFERENCES: Final = 6
_ROOMY: Final = 30  # rows of a terminal
_DIFFERENCES_ROOMY: Final = 16

COLUMNS: Final = (
    Column(title="RELEASE", width=7),
    Column(title="LIVE", width=20, most=40),
    Column(title="MODEL", width=16, most=32),
    Column(title="PROMPT", width=16, most=32),
    Column(title="DEPLOYMENT", width=14, rank=2, most=24),
    Column(title="CREATED", width=7, right=True),
    Column(title="COMMENT", width=12, rank=1, most=60),
)


def row(release: snapshot.ReleaseRow, now_us: int, marked: int | None) -> Row:
    """One release as a row."""
    live = ", ".join(f"{name} {splits.percent(points)}" for name, points in release.live)
    serves = any(points for _, points in release.live)
    cells: tuple[Piece, ...] = (
        (release.name + ("*" if release.number == marked else ""), "bold"),
        (f"● {live}" if serves else live or words.UNKNOWN, "good" if serves else "dim"),
        (release.model, ""),
        (words.known(release.prompt), ""),
        (release.deployment, "dim"),
        (words.age(max(now_us - release.at_us, 0)), "dim"),
        (release.comment, "dim"),
    )
    return Row(str(release.number), cells)


def other(
    release: snapshot.ReleaseRow, seen: snapshot.Releases, marked: int | None
) -> tuple[snapshot.ReleaseRow | None, str]:
    """What a release is compared with, and why: what is marked, what answers now, the one before.

    None where there is no other one.
    """
    found = {each.number: each for each in seen.rows}
    if marked is not None and marked != release.number and marked in found:
        return found[marked], "marked"
    service = starting.service(release, seen.services)
    if service is not None and service.history:
        heaviest = max(service.history[0].arms, key=lambda arm: arm[1])[0]
        if heaviest != release.number and heaviest in found:
            return found[heaviest], f"answers {service.name}"
    before = next((each for each in seen.rows if each.number < release.number), None)
    return before, "the release before"


def detail(
    release: snapshot.ReleaseRow, seen: snapshot.Releases, marked: int | None, most: int, width: int
) -> list[Line]:
    """Where it is live, and what distinguishes it in at most `most` rows."""
    about = f"{release.sha256[:_DIGITS]}… by {release.by}"
    rows: list[Line] = [palette.rule(width, release.name, about)]
    live = [f"{splits.percent(points)} of {name}" for name, points in release.live]
    rows.append(((" live    ", "dim"), (", ".join([*live, *release.rollouts]) or "nowhere", "")))
    if (waits := seen.waits.get(release.number)) is not None:
        ink = "bad" if waits.refused else "warn"
        rows.append(((" answers ", "dim"), (f"not now: {waits.reason}", ink)))
    compared, why = other(release, seen, marked)
    if compared is not None:
        found = manifest_effect.differing(
            release_differences.between(compared.content, release.content)
        )
        rows.append(((f" {compared.name} → {release.name}", "bold"), (f"  ({why})", "dim")))
        shown = found if len(found) <= most else found[: most - 1]
        rows += [((f"   {line}", ""),) for line in shown]
        if len(shown) < len(found):
            command = f"`paddock releases diff {compared.name} {release.name}`"
            rows.append(((f"   and {len(found) - len(shown)} more: {command}", "dim"),))
    return [palette.cut(each, width) for each in rows]


class Releases(Listed):
    """The list."""

    where: ClassVar[str] = "releases"
    hints: ClassVar = (("n", "rollout"), ("s", "split"), ("d", "compare"))
    acts: ClassVar = ("rollouts.start", "services.split", "look.compare", *LISTED)
    heading: ClassVar[str] = "RELEASES"
    verbs: ClassVar = (
        Verb("rollouts.start", "n", "rollout", "lead it to a service's traffic by steps"),
        Verb("services.split", "s", "split", "set the weights of a service by hand"),
    )

    def __init__(self) -> None:
        super().__init__()
        self._seen: snapshot.Releases | None = None
        self._marked: int | None = None

    def take(self, current: snapshot.Snapshot) -> bool:
        """The releases."""
        if current.releases is None:
            return False
        self._seen = current.releases
        return True

    def columns(self) -> Sequence[Column]:
        """What each is made of, and where it is live."""
        return COLUMNS

    def rows(self) -> Sequence[Row]:
        """One for each release."""
        return [row(each, self.now_us, self._marked) for each in self._every()]

    def _every(self) -> Sequence[snapshot.ReleaseRow]:
        return () if self._seen is None else self._seen.rows

    def caption(self) -> str:
        """How many there are, and what they are compared with."""
        every = self._every()
        live = sum(any(points for _, points in each.live) for each in every)
        marked = "" if self._marked is None else f" · compared with r{self._marked}"
        retired = 0 if self._seen is None else self._seen.retired
        hidden = f", {retired} retired" if retired else ""
        return f"{words.counted(len(every), 'release')}, {live} live{hidden}{marked}"

    def empty(self) -> str:
        """How one is created."""
        return "no releases yet: `paddock releases create --model NAME@1.0.0` makes one"

    def detail(self, width: int) -> list[Line]:
        """Where the release under the cursor is live, and what distinguishes it."""
        release = self._release()
        if release is None or self._seen is None:
            return []
        most = _DIFFERENCES if self.size.height < _ROOMY else _DIFFERENCES_ROOMY
        return detail(release, self._seen, self._marked, most, width)

    def _release(self) -> snapshot.ReleaseRow | None:
        return next((each for each in self._every() if str(each.number) == self.cursor), None)

    def copied(self) -> str:
        """The name of the release under the cursor."""
        release = self._release()
        return "" if release is None else release.name

    def compared(self) -> str:
        """Compare the releases with the one under the cursor from now on, or no longer."""
        release = self._release()
        if release is None:
            return "There is no release under the cursor."
        self._marked = None if release.number == self._marked else release.number
        self.draw_list()
        if self._marked is None:
            return "Releases are compared with what answers now again."
        return f"Releases are compared with {release.name} now; d there again ends that."

    def back(self) -> bool:
        """First the filter goes, then the mark."""
        if super().back():
            return True
        if self._marked is None:
            return False
        self._marked = None
        self.draw_list()
        return True

    def offer(self, name: str, typed: str | None = None) -> Offer | None:
        """Start a rollout to the release under the cursor, or split by hand."""
        if self._seen is None:
            unread = Offer(unable="the releases are not read yet")
            return unread if name in starting.NAMES else None
        return starting.offer(name, self._release(), self._seen, typed)
