"""Whatever a stranger, a tenant or a person of the box does: the other clients do not notice.

Run by `make soak`; the kinds that need no measuring are tests of their rooms.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.acceptance.attacks import attack, trial
from tests.acceptance.attacks.attack import Attack
from tests.acceptance.attacks.box import attacked
from tests.acceptance.attacks.trial import Trials
from tests.acceptance.attacks.victim import Victim

pytestmark = [pytest.mark.soak, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

GROWTH = 2.0
RECOVERED_S = 10.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def trials(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Trials]:
    """A box under attack, and another client that asks all the time."""
    root: Path = tmp_path_factory.mktemp("attacked") / "home"
    async with attacked(root) as (_, target, key), Victim(target.port, key).asking() as victim:
        sys.__stdout__ and print(f"\n{trial.HEAD}", file=sys.__stdout__)
        yield Trials(target, victim)


@pytest.mark.parametrize("tried", attack.every(), ids=lambda each: each.name)
async def test_another_client_does_not_notice(trials: Trials, tried: Attack) -> None:
    """Its p95 grows by less than 2x, none of its answers is cut or refused, and it recovers."""
    row = await trials.run(tried)
    print(trial.line(row), file=sys.__stdout__, flush=True)
    assert (row.cut, row.refused) == ((), ())
    assert row.factor < GROWTH
    assert row.recovered_s < RECOVERED_S
