"""Deposited secrets: one private file each, gone when nothing refers to them."""

from __future__ import annotations

import os
import stat

import pytest

from storage import errors
from storage.home import secrets
from storage.home.paths import Home


def test_a_secret_is_read_back_and_is_its_owners_alone(home: Home) -> None:
    """Without the line break that editors add; other users cannot even list the names."""
    reference = secrets.deposit(home, "sk-abc\n")
    assert secrets.read(home, reference) == "sk-abc"
    assert stat.S_IMODE((home.secrets / reference).stat().st_mode) == 0o600
    assert stat.S_IMODE(home.secrets.stat().st_mode) == 0o700
    assert "sk-abc" not in reference


@pytest.mark.parametrize("bad", ["", "  \n", "a b", "a\nb", "ключ", "x" * (secrets.LIMIT + 1)])
def test_what_no_header_can_carry_is_no_secret(home: Home, bad: str) -> None:
    """It would fail at the first request, far from the person who made the mistake."""
    with pytest.raises(errors.Invalid, match="printable ASCII"):
        secrets.deposit(home, bad)


@pytest.mark.parametrize("reference", ["0" * 32, "../config.toml", "", "node.lock"])
def test_a_reference_leads_nowhere_else(home: Home, reference: str) -> None:
    """A missing file says what to do; a path is no reference."""
    home.config.write_text("x")
    with pytest.raises(errors.NotFound, match="store the key again"):
        secrets.read(home, reference)
    secrets.discard(home, reference)
    assert home.config.exists()


def test_secrets_that_nothing_refers_to_go_after_a_day(home: Home) -> None:
    """Not before, however old: a record is on its way, or another store was restored by mistake."""
    used, again, stale = (secrets.deposit(home, f"sk-{n}") for n in range(3))
    for reference in (used, again, stale):
        os.utime(home.secrets / reference, (1_000, 1_000))
    at_s = 1_000_000.0
    assert secrets.sweep(home, {used}, now_s=at_s) == 0
    assert secrets.sweep(home, {used, again}, now_s=at_s + secrets.KEPT_S - 1) == 0
    assert secrets.sweep(home, {used}, now_s=at_s + secrets.KEPT_S) == 1
    assert secrets.sweep(home, {used}, now_s=at_s + secrets.KEPT_S) == 0
    kept = {path.name for path in home.secrets.iterdir()}
    assert kept == {used, again, f"{again}.unused"}
