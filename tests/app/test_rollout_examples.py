"""The long examples in docs/rollouts.md are what the commands print, line for line.

A rollout of tests/acceptance/test_readme.py has no traffic yet; these have some, and a clock that
does not run.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from app import rollout_plan, rollout_tree, rollout_view
from engine.control.rollouts import forecast
from engine.control.rollouts.planned import Asked
from storage import rollout_guards, rollout_syntax, samples
from storage.rollout_evidence import Count
from storage.rollout_traffic import HOUR_US, Traffic
from storage.samples import ArmSample
from tests.app import populated_homes
from tests.engine.control.rollouts import worlds
from tests.engine.control.rollouts.worlds import CANDIDATE, STABLE, World

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "rollouts.md"
NOW_US: Final = 20 * 24 * HOUR_US


def shown(command: str) -> list[str]:
    """The lines that the page shows below a command."""
    (block,) = re.findall(
        rf"^\$ {re.escape(command)}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
    return str(block).rstrip("\n").split("\n")


def arm(release: str, requests: int, failed: int = 0) -> tuple[samples.Kind, str, samples.Sample]:
    """One second of an arm."""
    return (
        samples.Kind.ARM,
        f"support/{release}",
        ArmSample(
            requests=requests, ok=requests - failed, failed=failed, refused=0, synthetic=0,
            prompt_tokens=300, completion_tokens=90, busy_us=80_000, latency={}, ttft={},
            thumbs_up=0, thumbs_down=0,
        ),
    )  # fmt: skip


async def measured(world: World, *rows: tuple[samples.Kind, str, samples.Sample]) -> None:
    """Record the arms of this second."""
    at = world.now_us // worlds.SECOND_US
    await world.store.write(lambda s: samples.record(s, at, rows))


def test_the_plan_on_the_page_is_one_that_is_printed() -> None:
    """Of a week in which the nights are quiet, on a canary with too little traffic."""
    hours = range((NOW_US - 7 * 24 * HOUR_US) // HOUR_US, NOW_US // HOUR_US)
    traffic = Traffic(
        begin_us=NOW_US - 7 * 24 * HOUR_US,
        end_us=NOW_US,
        by_hour={hour: 900 if hour % 24 < 12 else 60 for hour in hours},
        stable_n=20_000,
        counts=(Count(20_000, 20), Count(20_000, 100), Count(2_000, 300)),
        latencies_us=tuple(range(200_000, 1_400_000, 5_000)),
    )
    asked = Asked(
        service="support",
        stable=1,
        candidate=2,
        strategy="canary",
        guards=rollout_guards.GUARDS,
        steps=rollout_syntax.parse_steps(["10", "100"]),
        memory="r2 needs 1.21 GB in memory, and 9.80 GB are free: it fits.",
    )
    plan = forecast.plan(asked, traffic, NOW_US + 10 * HOUR_US)
    command = "paddock rollouts plan support --to r2 --steps 10,100"
    assert rollout_plan.lines(plan) == shown(command)


async def test_the_tree_on_the_page_is_one_that_is_printed(tmp_path: Path) -> None:
    """Of a canary at 5 % that has to see more requests."""
    async with worlds.made(tmp_path / "home") as world:
        world.now_us = populated_homes.NOW_US
        await world.start()
        await world.load(CANDIDATE)
        await world.settle()
        await world.smoke()
        await world.settle()
        for second in range(9):
            world.wait(1)
            await world.serve(380, release=STABLE, failed=int(second == 4))
            await world.serve(20)
            await measured(world, arm("r1", 380, failed=int(second == 4)), arm("r2", 20))
        await world.settle()
        async with world.store.read() as s:
            view = await rollout_view.read(s, await world.rollout(), world.now_us)
    assert rollout_tree.lines(view) == shown("paddock rollouts get support")
