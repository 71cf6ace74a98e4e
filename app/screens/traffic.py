"""Services and their arms: what was set beside what is measured, and the two ways to shift it.

`s` types new weights, `u` puts back the split before, or undoes the service's rollout where there
is one to undo; `f` promotes what a staging serves. All are confirmed with their effect in full and
carry what was seen. Imported by `app.screens.places`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from app import snapshot, words
from app.screens import leading, splitting, staging
from app.screens.listed import LISTED, Listed
from app.screens.offered import Verb
from app.screens.place import Offer
from app.widgets import arms, palette
from app.widgets.palette import Line
from app.widgets.table import Column, Row
from storage import splits

_SPLITS: Final = 4
_SPLITS_ROOMY: Final = 8
_ROOMY: Final = 30  # rows of a terminal
_LABELS: Final = {0: ("set now", ""), 1: ("before", "")}


def described(split: snapshot.Split, now_us: int) -> str:
    """A split in words, with who set it and when."""
    given = splits.words(split.arms, " · ")
    ago = words.age(max(now_us - split.set_at_us, 0))
    when = "just now" if ago == "now" else f"{ago} ago"
    why = f"  “{split.reason}”" if split.reason else ""
    return f"{given}   set by {split.set_by} {when}{why}"


def detail(
    service: snapshot.Service, arm: snapshot.Arm | None, now_us: int, most: int, width: int
) -> list[Line]:
    """What is known of the service under the cursor, with `most` of its splits, and of its arm."""
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
        if arm.cached:
            rows.append(((f" {words.percent(arm.cached)} of the prompt tokens were cached", ""),))
        if arm.between is not None:
            low, high = (words.percent(each).removesuffix(" %") for each in arm.between)
            part = f"{words.count(arm.requests)} of {words.count(service.requests)}"
            said = f" actual {words.percent(arm.actual)}, {part}: {low} to {high} % at 95 %"
            rows.append(((said, ""),))
    for number, split in enumerate(service.history[:most]):
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


class Traffic(Listed):
    """Services and their arms."""

    where: ClassVar[str] = "traffic"
    hints: ClassVar = (("s", "split"), ("u", "undo"))
    acts: ClassVar = (
        "services.split", "services.undo", "rollouts.undo", "services.promote", *LISTED,
    )  # fmt: skip
    heading: ClassVar[str] = "SERVICES"

    def __init__(self) -> None:
        super().__init__()
        self._seen: snapshot.Traffic | None = None
        self._latest: Sequence[snapshot.RolloutRow] = ()

    def take(self, current: snapshot.Snapshot) -> bool:
        """The services."""
        self._latest = current.latest
        if current.traffic is None:
            return False
        self._seen = current.traffic
        return True

    def columns(self) -> Sequence[Column]:
        """What was set beside what is measured."""
        seen = self._seen
        return [] if seen is None else arms.columns(seen.window, seen.services)

    def rows(self) -> Sequence[Row]:
        """One for each arm of each service."""
        seen = self._seen
        return [] if seen is None else arms.rows(seen.services, seen.window)

    def caption(self) -> str:
        """What the figures are of."""
        return "" if self._seen is None else arms.about(self._seen.window)

    def empty(self) -> str:
        """How a service is created."""
        return "no service yet: `paddock services create NAME --release r1` makes one"

    def detail(self, width: int) -> list[Line]:
        """The service under the cursor, and its arm."""
        service = self.service()
        if service is None or self._seen is None:
            return []
        arm = next((each for each in service.arms if each.key == self.cursor), None)
        most = _SPLITS if self.size.height < _ROOMY else _SPLITS_ROOMY
        rows = detail(service, arm, self.now_us, most, width)
        return [*rows, *staging.said(service, self._seen.services), ()]

    def offers(self) -> Sequence[Verb]:
        """The undo is that of a rollout where there is one; a staging can be promoted."""
        undo = "services.undo" if self.offer("rollouts.undo") is None else "rollouts.undo"
        found = [
            Verb("services.split", "s", "split", "set other weights for the arms"),
            Verb(undo, "u", "undo"),
        ]
        service = self.service()
        if service is not None and service.staging_of:
            found.append(Verb("services.promote", "f", "promote"))
        return found

    def service(self) -> snapshot.Service | None:
        """The service under the cursor."""
        services = () if self._seen is None else self._seen.services
        return next(
            (
                service
                for service in services
                if any(arm.key == self.cursor for arm in service.arms)
            ),
            None,
        )

    def offer(self, name: str, typed: str | None = None) -> Offer | None:
        """Shift the split of the service under the cursor, or put back the one before.

        While its newest rollout can be undone, that is what an undo means.
        """
        if name not in {"services.split", "services.undo", "rollouts.undo", "services.promote"}:
            return None
        service = self.service()
        rolled = None if service is None else leading.undo(self._latest, service.name)
        if name == "rollouts.undo":
            return rolled
        if name == "services.undo" and rolled is not None:
            return None
        if service is None or self._seen is None:
            return Offer(unable="there is no service under the cursor")
        if name == "services.promote":
            return staging.promote(service, self._seen.services)
        waits = self._seen.waits
        return (
            splitting.undo(service, waits)
            if name == "services.undo"
            else splitting.split(service, typed, waits)
        )
