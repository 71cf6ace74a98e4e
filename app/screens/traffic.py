"""Services and their arms: what was set beside what is measured, and the two ways to shift it.

`s` types new weights, `u` puts back the split before, or undoes the service's rollout where there
is one to undo. All are confirmed with their effect in full and carry what was seen. Imported by
`app.tui`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

from textual.widget import Widget

from app import snapshot, words
from app.screens import leading, splitting
from app.screens.place import Offer, Place
from app.widgets import arms, bar, palette
from app.widgets.lines import Lines
from app.widgets.palette import Line
from app.widgets.table import Table
from storage import splits

_SPLITS: Final = 4
_LABELS: Final = {0: ("set now", ""), 1: ("before", "")}


def described(split: snapshot.Split, now_us: int) -> str:
    """A split in words, with who set it and when."""
    given = splits.words(split.arms, " · ")
    ago = words.age(max(now_us - split.set_at_us, 0))
    when = "just now" if ago == "now" else f"{ago} ago"
    why = f"  “{split.reason}”" if split.reason else ""
    return f"{given}   set by {split.set_by} {when}{why}"


def detail(
    service: snapshot.Service, arm: snapshot.Arm | None, now_us: int, width: int
) -> list[Line]:
    """What is known of the service under the cursor, and of its arm."""
    kept = "texts of requests are kept" if service.record_text else "texts are not kept"
    rows: list[Line] = [palette.rule(width, service.name, f"version {service.version} · {kept}")]
    if service.frozen:
        rows.append(((f" ▲ {service.frozen}", "warn"),))
    if service.owner:
        rows.append(((f" {service.owner} owns the split", "warn"),))
    if arm is not None:
        with_prompt = f" with {arm.prompt}" if arm.prompt else ""
        counts = {"failed": arm.failed, "refused": arm.refused, "cancelled": arm.cancelled}
        ended = "".join(f", {words.count(count)} {how}" for how, count in counts.items())
        asked = f": {words.counted(arm.requests, 'request')}{ended}"
        is_ = f" is {arm.model or 'unknown'}{with_prompt}"
        is_ += ", which has left the split" * arm.departed
        rows.append(((f" r{arm.release}", "bold"), (is_ + asked, "")))
        rows.append(((f" {_more(arm)}", ""),))
        if arm.between is not None:
            low, high = (words.percent(each).removesuffix(" %") for each in arm.between)
            part = f"{words.count(arm.requests)} of {words.count(service.requests)}"
            said = f" actual {words.percent(arm.actual)}, {part}: {low} to {high} % at 95 %"
            rows.append(((said, ""),))
    for number, split in enumerate(service.history[:_SPLITS]):
        label, ink = _LABELS.get(number, ("", "dim"))
        rows.append(((f" {label:<8}", "dim"), (described(split, now_us), ink)))
    return [palette.cut(row, width) for row in rows]


def _more(arm: snapshot.Arm) -> str:
    """What a narrow table has no columns for."""
    return "   ".join(
        (
            f"p50 {words.duration(arm.p50_us)}",
            f"ttft p95 {words.duration(arm.ttft_p95_us)}",
            f"queue p95 {words.duration(arm.queue_p95_us)}",
            words.rate(arm.tokens_per_s, "tok"),
            f"synthetic {words.percent(arm.synthetic)}",
        )
    )


class Traffic(Place):
    """Services and their arms."""

    where: ClassVar[str] = "traffic"
    hints: ClassVar = (("s", "split"), ("u", "undo"))

    def __init__(self) -> None:
        super().__init__()
        self._seen: snapshot.Traffic | None = None
        self._latest: Sequence[snapshot.RolloutRow] = ()
        self._now_us = 0

    def body(self) -> Iterable[Widget]:
        """The arms, and what is known of the one under the cursor."""
        yield Lines(id="title", grows=True)
        yield Table(id="arms")
        yield Lines(id="detail", grows=True)

    def draw(self, current: snapshot.Snapshot) -> None:
        """Draw the body."""
        self._now_us = current.header.now_us
        if current.traffic is None:
            said = current.header.error or ("" if self._seen else "reading the store…")
            if said:
                self.query_one("#title", Lines).show(bar.saying(said, "bold", self.size.width))
            return
        self._seen, self._latest = current.traffic, current.latest
        seen, width = current.traffic, self.size.width
        about = arms.about(seen.window)
        self.query_one("#title", Lines).show([palette.rule(width, "SERVICES", about)])
        self.query_one(Table).show_table(
            arms.columns(seen.window, seen.services),
            arms.rows(seen.services, seen.window),
            "no service yet: `paddock services create NAME --release r1` makes one",
        )
        self._detail()

    def _detail(self) -> None:
        service, width = self.service(), self.size.width
        rows: list[Line] = []
        if service is not None:
            cursor = self.query_one(Table).cursor
            arm = next((each for each in service.arms if each.key == cursor), None)
            rows += detail(service, arm, self._now_us, width)
        rows.append(())
        undo = "services.undo" if self.offer("rollouts.undo") is None else "rollouts.undo"
        for name, key, word in (("services.split", "s", "split"), (undo, "u", "undo")):
            offer = self.offer(name)
            why = self.program.refusal(name, offer)
            effect = (
                offer.effect.removeprefix("undo: ").rpartition("): ")[2]
                if offer is not None and name == undo
                else ""
            )
            rows.append(
                (
                    (f" {key} ", "dim" if why else "key"),
                    (f"{word:<6}", "dim" if why else ""),
                    (why or effect or "set other weights for the arms", "dim"),
                )
            )
        self.query_one("#detail", Lines).show([palette.cut(row, width) for row in rows])

    def service(self) -> snapshot.Service | None:
        """The service under the cursor."""
        cursor = self.query_one(Table).cursor
        if self._seen is None or cursor is None:
            return None
        return next(
            (
                service
                for service in self._seen.services
                if any(arm.key == cursor for arm in service.arms)
            ),
            None,
        )

    def moved(self, key: str) -> bool:
        """Move the cursor."""
        if not self.query_one(Table).key(key):
            return False
        self._detail()
        return True

    def copied(self) -> str:
        """The arm under the cursor."""
        return self.query_one(Table).cursor or ""

    def offer(self, name: str, typed: str | None = None) -> Offer | None:
        """Shift the split of the service under the cursor, or put back the one before.

        While its newest rollout can be undone, that is what an undo means.
        """
        if name not in {"services.split", "services.undo", "rollouts.undo"}:
            return None
        service = self.service()
        rolled = None if service is None else leading.undo(self._latest, service.name)
        if name == "rollouts.undo":
            return rolled
        if name == "services.undo" and rolled is not None:
            return None
        if service is None or self._seen is None:
            return Offer(unable="there is no service under the cursor")
        waits = self._seen.waits
        return (
            splitting.undo(service, waits)
            if name == "services.undo"
            else splitting.split(service, typed, waits)
        )
