"""Facts as a look at the store would give them, for the tests of figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from app import recent, snapshot
from app.figures.facts import Facts
from app.recent import Recent
from storage import processes
from storage.samples import ArmSample
from storage.tallies import Tally
from tests.app import scenes

UP: Final = snapshot.Node.UP
DOWN: Final = snapshot.Node.DOWN


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
    """A box that was measured as told; `records` are other fields of the facts."""
    seconds = [at for subjects in measured.values() for rows in subjects.values() for at in rows]
    return Facts(
        now_us=scenes.NOW_US,
        node=node,
        person=snapshot.Person(name="sara", role="operator"),
        host="box01",
        recent=Recent(**measured, newest=max(seconds, default=None)),
        run=processes.NodeRun(
            pid=1, started_at_us=scenes.NOW_US - up_s * scenes.SECOND_US, host="box01",
            version="0.1.0", stopped_at_us=None,
        ),
        **(records or {}),
    )  # fmt: skip


WINDOW_S: Final = recent.WINDOW_US // scenes.SECOND_US
