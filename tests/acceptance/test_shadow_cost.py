"""What a shadow costs the users, run by `make soak`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import pytest

from tests.bench import shadow_cost

PAIRS: Final = 40
SECONDS: Final = 2.5
ALLOWED: Final = 1.05


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_copies_do_not_slow_down_the_users(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The p95 of interleaved windows is not shown to be more than 5 % higher with copies.

    A tenth of the requests is copied to a candidate on stable's own worker, which answers as
    stable does: its first choice are stable's tokens.
    """
    cost = await shadow_cost.measure(tmp_path, pairs=PAIRS, seconds=SECONDS, apart=False)
    with capsys.disabled():
        sys.stdout.write(f"\n{cost.sentence}\n")
    assert cost.failed == 0
    assert cost.interval[0] <= ALLOWED, cost.sentence
    figures = cost.figures
    assert figures is not None
    assert (figures.failed, figures.exact) == (0, 1.0)
    assert figures.logprob is not None
    assert figures.logprob > -0.1
    assert figures.unlikely == pytest.approx(0.0, abs=0.05)
