"""One controller that acts on a store turn by turn, without the loop of control.

Imported by tests.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from engine.control.reconcile import Controller
from storage.store import Session, Store

P = TypeVar("P")

_MOST = 50


async def take(store: Store, controller: Controller[Any], plan: type[P], now_us: int) -> P | None:
    """Decide once, and act if there is a plan of this type to act on; the plan."""

    async def work(s: Session) -> P | None:
        decision = controller.decide(await controller.observe(s, now_us), now_us)
        if decision.plan is None:
            return None
        await controller.act(s, decision, now_us)
        assert isinstance(decision.plan, plan)
        return decision.plan

    return await store.write(work)


async def settle(turn: Callable[[], Awaitable[P | None]]) -> list[P]:
    """Take turns until there is nothing to do; the plans."""
    done: list[P] = []
    while (plan := await turn()) is not None:
        done.append(plan)
        assert len(done) < _MOST, "the controller does not settle"
    return done
