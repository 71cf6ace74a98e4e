"""Budgets: set and removed by people. Imported by `engine.control.handlers`."""

from __future__ import annotations

from engine.control.decisions import Decision, Reason, Refusal
from engine.control.handlers import handles
from storage import budgets, costs
from storage.budgets import Budget, Scope
from storage.control_socket import verbs
from storage.intents import Intent
from storage.store import Session


@handles("budgets.set")
async def set(s: Session, intent: Intent, arguments: verbs.budgets.Set, at_us: int) -> Decision:
    """Set a budget; it counts what was spent since its day or month began."""
    scope, subject = _target(intent.target)
    budget = Budget(
        scope=scope,
        subject=subject,
        period=arguments.period,
        limit_micro=arguments.limit_micro,
        warn_percent=arguments.warn_percent,
        refuse=arguments.refuse,
    )
    before = await budgets.set(s, budget, actor=intent.actor, at_us=at_us, intent_id=intent.id)
    then = "then requests are refused" if budget.refuse else "then it only warns"
    said = (
        f"{budget.words[0].upper()}{budget.words[1:]} is {costs.amount(budget.limit_micro)}; {then}"
    )
    if before is not None:
        said += f" (before: {costs.amount(before.limit_micro)})"
    return Decision(Reason.APPLIED, f"{said}.", budget)


@handles("budgets.remove")
async def remove(
    s: Session, intent: Intent, arguments: verbs.budgets.Remove, at_us: int
) -> Decision:
    """Remove a budget."""
    scope, subject = _target(intent.target)
    before = await budgets.remove(
        s, scope, subject, arguments.period, actor=intent.actor, at_us=at_us, intent_id=intent.id
    )
    said = f"Removed {before.words}; it was {costs.amount(before.limit_micro)}."
    return Decision(Reason.APPLIED, said, before)


def _target(target: str) -> tuple[Scope, str]:
    scope, _, subject = target.partition("/")
    if scope not in _SCOPES or not subject:
        raise Refusal(
            Reason.INVALID, f"{target!r} has no budget: name key/NAME, service/NAME or tenant/NAME."
        )
    return Scope(scope), subject


_SCOPES = {scope.value for scope in Scope}
