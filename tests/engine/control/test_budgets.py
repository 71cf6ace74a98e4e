"""Budgets as people set and remove them."""

from __future__ import annotations

import msgspec
import pytest

from engine.control import budgets
from storage import budgets as kept
from storage import errors, intents
from storage.budgets import Budget, Period, Scope
from storage.control_socket import verbs
from storage.store import Session, Store


async def test_a_tenant_is_named_as_it_was_typed(store: Store) -> None:
    """Tenant names are case-sensitive; another spelling would be another budget."""
    arguments = verbs.budgets.Set(limit_micro=10_000_000)

    async def work(s: Session) -> tuple[str, list[str]]:
        id = await intents.accept(
            s, actor="kim", role="operator", verb="budgets.set", target="tenant/ACME-Corp",
            arguments=msgspec.to_builtins(arguments), at_us=1,
        )  # fmt: skip
        decision = await budgets.set(s, await intents.find(s, id), arguments, 2)
        return decision.sentence, [each.subject for each in await kept.every(s)]

    said, subjects = await store.write(work)
    assert said == "The daily budget of tenant ACME-Corp is 10; then requests are refused."
    assert subjects == ["ACME-Corp"]


@pytest.mark.parametrize("tenant", ["a\nb", "a\x1b[2J", "a\u202eb", "t" * 65])
async def test_a_budget_of_a_name_that_no_terminal_shows_is_refused(
    store: Store, tenant: str
) -> None:
    """Lists and refusals would print it."""
    wrong = Budget(scope=Scope.TENANT, subject=tenant, period=Period.DAY, limit_micro=1)
    with pytest.raises(errors.Invalid, match="printable characters"):
        await store.write(lambda s: kept.set(s, wrong, actor="t", at_us=1))
