"""What one look at the store gave, and the window that the figures of lately are of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from app import recent, snapshot
from app.recent import Recent
from storage import intents, ledger, processes, services, splits

SECOND_US: Final = 1_000_000
LEAST_TOP: Final = 10.0


@dataclass(slots=True, kw_only=True)
class Facts:
    """What is known after a look."""

    now_us: int
    node: snapshot.Node
    person: snapshot.Person
    host: str
    recent: Recent
    driver: bool = False
    unwritten: bool = False  # the box cannot write down what happens
    run: processes.Node | None = None
    services: Sequence[services.Service] = ()
    histories: Mapping[str, Sequence[splits.Split]] = field(default_factory=dict)
    models: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    """By release: the names of its model version and of its prompt version."""
    processes: Sequence[processes.Process] = ()
    intents: Sequence[intents.Intent] = ()
    entries: Sequence[ledger.Entry] = ()
    gpu_hour_micro: int | None = None
    currency: str = "USD"
    top: float = LEAST_TOP  # of the chart of tokens, as it stood before

    @property
    def end(self) -> int:
        """The last second that is looked at: now, or the last that was measured."""
        newest = self.recent.newest
        if newest is not None and self.node is not snapshot.Node.UP:
            return newest
        return self.now_us // SECOND_US

    @property
    def begin_us(self) -> int:
        """Where the window of the traffic figures begins."""
        begin = (self.end + 1) * SECOND_US - recent.WINDOW_US
        if self.run is None or self.node is not snapshot.Node.UP:
            return begin
        if self.run.started_at_us > self.now_us:  # the clock went back: nobody knows since when
            return begin
        return max(begin, self.run.started_at_us)

    @property
    def window_us(self) -> int:
        """How long that window is."""
        return max((self.end + 1) * SECOND_US - self.begin_us, SECOND_US)


def lately(facts: Facts) -> snapshot.Lately:
    """The window and the price of the traffic figures."""
    return snapshot.Lately(
        window_us=facts.window_us,
        currency=facts.currency,
        priced=facts.gpu_hour_micro is not None,
        until_us=None if facts.node is snapshot.Node.UP else (facts.end + 1) * SECOND_US,
    )


def window(facts: Facts) -> Iterable[tuple[str, recent.Second]]:
    """The measured seconds of that window, with the key of their arm."""
    begin = facts.begin_us // SECOND_US
    for name, seconds in facts.recent.arms.items():
        for at, second in seconds.items():
            if begin <= at <= facts.end:
                yield name, second
