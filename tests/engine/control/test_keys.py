"""API keys that are created and revoked."""

from __future__ import annotations

from typing import Any

from storage import keys
from storage.intents import State
from tests.engine.control.desks import Desk


async def test_no_role_grants_more_than_it_has(furnished: Desk) -> None:
    """An operator makes no admin's key, should the table ever let them ask."""
    minted = keys.mint()
    furnished.role = "operator"
    asked: dict[str, Any] = {
        "name": "k",
        "prefix": minted.prefix,
        "sha256": minted.sha256,
        "tenant": "t",
    }
    refused = await furnished.do("keys.add", "k", **asked, role="admin")
    assert refused.state is State.REFUSED
    given = await furnished.do("keys.add", "k", **asked, role="client")
    assert given.state is State.APPLIED
    assert minted.secret not in (given.outcome or "")
    revoked = await furnished.do("keys.revoke", "k")
    assert (revoked.outcome or "").startswith("Revoked key k (pk-")
