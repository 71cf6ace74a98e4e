"""The stages of a rollout that several tests walk through.

Imported by tests.
"""

from __future__ import annotations

from typing import Final

from engine.control.rollouts.decide import Do
from tests.engine.control.rollouts.worlds import CANDIDATE, STABLE, World

BEFORE: Final = {STABLE: 10_000, CANDIDATE: 0}
AFTER: Final = {STABLE: 0, CANDIDATE: 10_000}
ENOUGH: Final = 320
"""Requests without an event after which both default gates pass."""


async def smoked(world: World) -> None:
    """The candidate is loaded and has answered its smoke requests."""
    assert await world.settle() == []
    await world.load(CANDIDATE)
    assert [plan.do for plan in await world.settle()] == [Do.SMOKE]
    assert await world.weights() == BEFORE
    await world.smoke()
