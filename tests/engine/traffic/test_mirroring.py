"""Which requests are copied to a shadow: the promises behind its share."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.traffic import mirroring, routing

rollouts = st.integers(1, 2**53)
shares = st.integers(1, 10_000)


@given(rollouts, st.text(), shares)
def test_the_same_unit_is_always_copied_or_never(rollout: int, unit: str, share: int) -> None:
    """Nothing but the rollout, the unit and the share decides."""
    salt = mirroring.salt(rollout)
    first = mirroring.copied(salt, unit, share)
    assert first == mirroring.copied(mirroring.salt(rollout), unit, share)
    assert first == (routing.bucket(salt, unit) < share)


@given(rollouts, st.text(), shares, shares)
def test_a_larger_share_keeps_every_unit_of_a_smaller_one(
    rollout: int, unit: str, one: int, other: int
) -> None:
    """Whoever was copied stays copied."""
    salt, (less, more) = mirroring.salt(rollout), sorted((one, other))
    assert not mirroring.copied(salt, unit, less) or mirroring.copied(salt, unit, more)


@given(rollouts, st.text())
def test_everything_is_copied_at_the_whole_share(rollout: int, unit: str) -> None:
    """10000 basis points copy every unit."""
    assert mirroring.copied(mirroring.salt(rollout), unit, 10_000)


@settings(max_examples=20, deadline=None)
@given(rollouts, st.integers(500, 9500))
def test_the_share_of_units_is_the_share_that_was_set(rollout: int, share: int) -> None:
    """Over many units, within five standard errors."""
    salt, n = mirroring.salt(rollout), 2000
    found = sum(mirroring.copied(salt, f"user-{each}", share) for each in range(n)) / n
    wanted = share / 10_000
    assert abs(found - wanted) <= 5 * (wanted * (1 - wanted) / n) ** 0.5


@settings(max_examples=20, deadline=None)
@given(rollouts, rollouts.map(str))
def test_copies_are_no_particular_arm(rollout: int, salt: str) -> None:
    """The copied half of the users is spread over the buckets of any split alike."""
    own, n = mirroring.salt(rollout), 2000
    units = [f"user-{each}" for each in range(n)]
    both = sum(
        mirroring.copied(own, unit, 5_000) and routing.bucket(salt, unit) < 5_000 for unit in units
    )
    assert abs(both / n - 0.25) <= 5 * (0.25 * 0.75 / n) ** 0.5


def test_another_process_copies_the_same_units() -> None:
    """Python's own hash is salted per process; this one is not."""
    code = (
        "from engine.traffic import mirroring as m\n"
        "print([n for n in range(200) if m.copied(m.salt(7), f'user-{n}', 3000)])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    salt = mirroring.salt(7)
    own = [n for n in range(200) if mirroring.copied(salt, f"user-{n}", 3000)]
    assert printed.decode().strip() == str(own)
