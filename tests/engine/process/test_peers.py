"""Connections to a Unix socket are shared out among users."""

from __future__ import annotations

import os

from engine.process.peers import Limits

ME, SARA, KIM = os.geteuid(), 70_001, 70_002


def limits() -> Limits:
    """Two for each other user, three for all of them, two for the user who runs the box."""
    return Limits("test", per_user=2, others=3, own=2, monotonic_s=lambda: 7.0)


def test_no_user_takes_the_place_of_another() -> None:
    """One user uses up their connections; the next is served; the owner has separate ones."""
    found = limits()
    assert [found.enter(SARA), found.enter(SARA)] == [None, None]
    assert "the most for one user" in (found.enter(SARA) or "")
    assert found.enter(KIM) is None
    assert found.enter(KIM) == "it already has 3 connections"
    assert [found.enter(ME), found.enter(0 if ME else ME)] == [None, None]
    assert found.enter(ME) == "it already has 2 connections"
    assert (found.open, found.refused) == (5, 3)


def test_a_place_is_free_again_when_its_connection_ends() -> None:
    """A refusal takes no place, so it gives none back."""
    found = limits()
    for _ in range(5):
        found.enter(SARA)
    found.leave(SARA)
    assert found.enter(SARA) is None
    for _ in range(2):
        found.leave(SARA)
    assert found.open == 0
