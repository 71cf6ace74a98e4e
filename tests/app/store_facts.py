"""What a look at a store gives, and facts as it would give them, for the tests of figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from app import reader, recent_samples, snapshot
from app.figures.facts import Facts
from app.recent_samples import Recent
from app.snapshot import Query
from storage import processes
from storage import store as stores
from storage.home.paths import Home
from storage.samples import ArmSample
from storage.tallies import Tally
from tests.app import populated_homes

UP: Final = snapshot.Node.UP
DOWN: Final = snapshot.Node.DOWN


async def look(
    home: Home, query: Query | None = None, now_us: int = populated_homes.NOW_US
) -> snapshot.Snapshot:
    """One look at a home; at its pulse by default."""
    store = await stores.open(home, readonly=True)
    try:
        source = reader.Reader(home, store, now_us=lambda: now_us)
        await source.ask()
        found = await source.read(query or Query())
        await source.close()
        return found
    finally:
        await store.close()


def second(sample: ArmSample) -> Tally:
    """A second of an arm as it is kept in memory."""
    return Tally.of(sample)


def facts(
    node: snapshot.Node = UP,
    *,
    up_s: int = 3_600,
    records: Mapping[str, Any] | None = None,
    **measured: Any,
) -> Facts:
    """A box with these measurements; `records` are other fields of the facts."""
    seconds = [at for subjects in measured.values() for rows in subjects.values() for at in rows]
    return Facts(
        now_us=populated_homes.NOW_US,
        node=node,
        person=snapshot.Person(name="sara", role="operator"),
        host="box01",
        recent=Recent(**measured, newest=max(seconds, default=None)),
        run=processes.NodeRun(
            pid=1, host="box01",
            started_at_us=populated_homes.NOW_US - up_s * populated_homes.SECOND_US,
            version="0.1.0", stopped_at_us=None,
        ),
        **(records or {}),
    )  # fmt: skip


WINDOW_S: Final = recent_samples.WINDOW_US // populated_homes.SECOND_US
