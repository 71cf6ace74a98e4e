"""A/B tests on the screen: the list, the verdicts of the one under the cursor, and hostile text."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from storage import ab_test_evidence, ab_test_looks, ab_tests, services
from storage.ab_test_goals import parse
from storage.ab_test_looks import Kind, Look, Verdict
from storage.ab_tests import Arm, State, Why
from storage.home.paths import Home
from storage.store import Session, Store
from tests.app import pilot, populated_homes
from tests.storage import fixtures

pytestmark = pytest.mark.usefixtures("node")


def look(
    kind: Kind, name: str, release: int, verdict: Verdict, effect: float | None = None
) -> Look:
    """A verdict with an interval around its effect."""
    low, high = (None, None) if effect is None else (effect - 0.02, effect + 0.02)
    return Look(
        kind=kind, name=name, release=release, at_us=9, n=812, effect=effect, low=low, high=high,
        needed=140, verdict=verdict, sentence=f"{name}: r{release} {verdict.value}",
    )  # fmt: skip


async def scene(store: Store) -> None:
    """A test that harm ended, and one that is running."""
    records = await fixtures.furnish(store)
    stable, candidate = records.stable.number, records.candidate.number

    async def begun(s: Session, at_us: int, sentence: str) -> ab_tests.AbTest:
        service = await services.find(s, "support")
        return await ab_tests.add(
            s, service="support", control=stable,
            arms=(Arm(release=stable, weight_bp=5_000), Arm(release=candidate, weight_bp=5_000)),
            goals=(parse("thumbs_up"), parse("latency")), guards=(), least_units=200,
            at_most_s=86_400, load_timeout_s=60, promotes=False, label=None, salt="s",
            base_split_id=service.split.id, sentence=sentence, actor="kim", at_us=at_us,
        )  # fmt: skip

    async def work(s: Session) -> None:
        await populated_homes.node(s)
        first = await begun(s, 10**15, "It began.")
        said = f"error_rate<=1%: more than is allowed {populated_homes.HOSTILE}"
        await ab_tests.move(s, first, State.ENDED, Why.HARM, said, actor="control", at_us=10**15)
        second = await begun(s, 10**15 + 1, "It began.")
        evidence = ab_test_evidence.begin([stable, candidate], 2, 0, request=0, rating=0)
        arms = tuple(
            msgspec.structs.replace(arm, units=units, requests=3 * units)
            for arm, units in zip(evidence.arms, (412, 400), strict=True)
        )
        evidence = msgspec.structs.replace(evidence, arms=arms)
        await ab_tests.move(
            s, second, State.RUNNING, Why.LOADED, "It runs.", actor="control", at_us=10**15,
            exposed_at_us=10**15, evidence=ab_test_evidence.encode(evidence),
        )  # fmt: skip
        looks = [
            look(Kind.GOAL, "thumbs_up", candidate, Verdict.RUNNING, 0.031),
            look(Kind.GUARD, "error_rate<=1%", candidate, Verdict.HOLDS, 0.0),
            look(Kind.SPLIT, "split", 0, Verdict.HOLDS),
        ]
        await ab_test_looks.record(s, second.id, looks)

    await store.write(work)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A box with those tests."""
    return populated_homes.make(tmp_path / "home", scene)


@pytest.fixture
def bare(tmp_path: Path) -> Home:
    """A box on which nothing was compared."""

    async def empty(store: Store) -> None:
        await store.write(populated_homes.node)

    return populated_homes.make(tmp_path / "home", empty)


async def test_the_newest_test_is_shown_in_full_and_the_cursor_shows_another(home: Home) -> None:
    """At 80 columns: n, effect, interval, verdict and what is needed; then how the other ended."""
    async with pilot.at(pilot.program(home)) as screen:
        await screen.go("b")
        rows = screen.text.split("\n")
        assert "1 under way" in rows[1]
        assert rows[3].startswith("▸")
        assert "● running" in rows[3]
        assert "▲ harm" in rows[4]
        text = screen.text
        assert "r1   control    50 %    412  50.7 %" in text
        assert "thumbs_up  r2   812  +3.1 points  +1.1 to +5.1 points  running     140" in text
        assert "latency    r2     –  –" in text
        assert "thumbs_up: r2 running." in text
        assert max(len(row) for row in rows) <= 80
        await screen.press("down")
        await screen.until(lambda: "more than is allowed" in screen.text)
        assert "allowed ␛]0;owned" in screen.text


async def test_a_running_test_is_stopped_by_x_after_a_question(home: Home) -> None:
    """One that has ended is not, and says how it did; nothing is promoted without a winner."""
    async with pilot.at(pilot.program(home)) as screen:
        await screen.go("b")
        offer = screen.place.offer("ab_tests.stop")
        assert offer is not None
        assert (offer.target, offer.arguments) == ("support", {"ab_test": 2})
        assert offer.effect == "stop A/B test 2 of support: all traffic back to r1"
        promoted = screen.place.offer("ab_tests.promote")
        assert promoted is not None
        assert "has no winner to promote" in promoted.unable
        await screen.press("down")
        ended = screen.place.offer("ab_tests.stop")
        assert ended is not None
        assert ended.unable == "A/B test 1 of support has ended: harm"


async def test_a_box_without_tests_says_how_to_start_one(bare: Home) -> None:
    """With the command."""
    async with pilot.at(pilot.program(bare)) as screen:
        await screen.go("b")
        assert "no A/B tests yet: `paddock ab-tests start SERVICE" in screen.text
