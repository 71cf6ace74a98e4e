"""A staging on the screen: whose it is, and what promoting it does."""

from __future__ import annotations

from typing import Any

from app import snapshot
from app.screens import staging
from app.widgets import palette


def service(name: str, arms: dict[int, int], **fields: Any) -> snapshot.Service:
    """A service with that split."""
    split = snapshot.Split(id=1, arms=tuple(arms.items()), set_at_us=1, set_by="sara")
    return snapshot.Service(
        name=name, version=1, record_text=False, requests=0, synthetic=None, arms=(),
        history=(split,), **fields,
    )  # fmt: skip


PRODUCTION = service("support", {1: 10_000})
NEXT = service("support-next", {2: 10_000}, staging_of="support")


def test_both_sides_name_each_other() -> None:
    """The staging says whose it is, production what its staging serves."""
    every = (PRODUCTION, NEXT)
    assert [palette.text(row) for row in staging.said(NEXT, every)] == [" staging of support"]
    (row,) = staging.said(PRODUCTION, every)
    assert palette.text(row) == " staging support-next serves r2"
    assert staging.said(service("chat", {3: 10_000}), every) == []


def test_promoting_a_staging_starts_a_canary_of_its_production() -> None:
    """With the release that it serves."""
    offer = staging.promote(NEXT, (PRODUCTION, NEXT))
    assert (offer.target, offer.unable) == ("support-next", "")
    assert offer.effect == "promote: a canary of support to r2, which support-next serves"


def test_what_cannot_be_promoted_says_why() -> None:
    """No staging, a split one, a production that is frozen, owned, or on that release already."""
    split = service("support-next", {1: 5_000, 2: 5_000}, staging_of="support")
    for found, production, why in (
        (PRODUCTION, PRODUCTION, "support is the staging of no service"),
        (split, PRODUCTION, "support-next is split (r1 50 %, r2 50 %); set it to one release"),
        (NEXT, service("support", {1: 10_000}, frozen="frozen by kim"), "support is frozen by kim"),
        (NEXT, service("support", {1: 10_000}, owner="rollout 3"), "support is owned by rollout 3"),
        (NEXT, service("support", {2: 10_000}), "r2 answers support already"),
    ):
        assert staging.promote(found, (production, found)).unable == why
