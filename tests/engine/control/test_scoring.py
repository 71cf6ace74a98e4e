"""Online scoring: a share of recorded answers is checked once, in bounds, and never unasked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.control import scoring
from engine.control.scoring import Scorer
from engine.judging import online_checks
from storage import errors, online_scores, requests, texts
from storage import store as stores
from storage.home import paths as homes
from storage.home.paths import Home
from storage.requests import Class, Outcome
from storage.store import Session, Store
from storage.texts import Text
from tests.storage import fixtures

LOOP = "the order is late and " * 40


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A furnished store."""
    opened = await stores.open(homes.make(Home(tmp_path / "home")))
    await fixtures.furnish(opened)
    yield opened
    await opened.close()


async def answer(store: Store, number: int, completion: str | None, **changes: object) -> None:
    """A request of the service support that was answered; without a text where it is None."""
    await answers(store, [number], completion, **changes)


async def answers(
    store: Store, numbers: Iterable[int], completion: str | None = "fine", **changes: object
) -> None:
    """Several of them, recorded at once."""
    told = {"service": "support", "release": 1, "finish_reason": "stop", "outcome": Outcome.OK}
    made = [
        msgspec.structs.replace(fixtures.request(number), **told | changes) for number in numbers
    ]

    async def work(s: Session) -> None:
        await requests.record(s, made)
        if completion is not None:
            await texts.record(
                s,
                [
                    Text(request_id=each.id, prompt="?", completion=completion, at_us=1)
                    for each in made
                ],
            )

    await store.write(work)


async def cursor(store: Store) -> int:
    """Up to which request the answers of support are scored."""
    async with store.read() as s:
        found = await online_scores.find(s, "support")
    assert found is not None
    return found.cursor


async def set_(store: Store, share_bp: int) -> None:
    """Score this share of the service support."""
    await store.write(lambda s: online_scores.set(s, "support", share_bp, actor="t", at_us=1))


async def rates(store: Store) -> dict[tuple[int, str], tuple[int, int]]:
    """By release and check: how many passed, of how many."""
    async with store.read() as s:
        found = await online_scores.rates(s, 0, 2**60, "support")
    return {(rate.release, rate.scorer): (rate.passed, rate.scored) for rate in found}


async def test_answers_are_scored_from_when_it_is_switched_on_and_once(store: Store) -> None:
    """By release; what was recorded before, has no text or was not answered is left out."""
    await answer(store, 1, "before")
    assert await Scorer(store).run() == 0
    await set_(store, 10_000)
    await answer(store, 2, "Order 17 is late.")
    await answer(store, 3, "", release=2)
    await answer(store, 4, None)
    await answer(store, 5, "half", outcome=Outcome.FAILED)
    await answer(store, 6, LOOP, finish_reason="length")
    assert await Scorer(store).run() == 3
    assert await Scorer(store).run() == 0
    found = await rates(store)
    assert found == {
        (1, "answered"): (2, 2), (1, "finished"): (1, 2), (1, "varied"): (1, 2),
        (1, "clean"): (2, 2), (2, "answered"): (0, 1), (2, "finished"): (1, 1),
        (2, "varied"): (1, 1), (2, "clean"): (1, 1),
    }  # fmt: skip
    await set_(store, 0)
    await answer(store, 7, "after")
    assert await Scorer(store).run() == 0


async def test_a_run_reaches_the_newest_request_of_a_busy_service(
    store: Store,
) -> None:
    """Answers that are not in the share count for nothing: 700 are passed over in one run."""
    await set_(store, 100)
    await answers(store, range(1, 701))
    chosen = sum(scoring.sampled(fixtures.request(number).id, 100) for number in range(1, 701))
    assert await Scorer(store).run() == chosen > 0
    assert await cursor(store) == 700


async def test_a_run_ends_within_its_bounds_and_the_next_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None is left out, and none scored twice; without texts the cursor advances as well."""
    monkeypatch.setattr(scoring, "PAGE", 4)
    monkeypatch.setattr(scoring, "AT_ONCE", 2)
    monkeypatch.setattr(scoring, "ANSWERS", 3)
    monkeypatch.setattr(scoring, "PAGES", 3)
    await set_(store, 10_000)
    await answers(store, range(1, 6))
    assert [await Scorer(store).run() for _ in range(3)] == [4, 1, 0]
    await answers(store, range(6, 20), completion=None)
    await answers(store, [20])
    assert await Scorer(store).run() == 0
    assert await cursor(store) == 17
    assert await Scorer(store).run() == 1
    assert (await rates(store))[1, "answered"] == (6, 6)


async def test_what_the_box_asks_for_itself_is_not_scored(store: Store) -> None:
    """Guards on requests leave class background out, so those on scores do."""
    await set_(store, 10_000)
    await answers(store, [1], class_=Class.BACKGROUND)
    await answers(store, [2], class_=Class.BATCH)
    assert await Scorer(store).run() == 1


async def test_only_a_service_that_there_is_can_be_scored(store: Store) -> None:
    """A typo scores nothing, so it is refused."""
    with pytest.raises(errors.NotFound):
        await store.write(lambda s: online_scores.set(s, "nosuch", 1, actor="t", at_us=1))


@given(st.text(max_size=40), st.integers(0, 9_999))
def test_a_share_is_the_same_whenever_it_is_asked_and_grows(id: str, share_bp: int) -> None:
    """An answer of a share is in every larger one; all are in the whole, none in nothing."""
    assert scoring.sampled(id, 10_000)
    assert not scoring.sampled(id, 0)
    assert not scoring.sampled(id, share_bp) or scoring.sampled(id, share_bp + 1)


@pytest.mark.parametrize(
    ("completion", "finish_reason", "failed"),
    [
        ("Order 17 is late.", "stop", set()),
        (" \n", "stop", {"answered"}),
        ("Order 17 is", "length", {"finished"}),
        (LOOP, "stop", {"varied"}),
        ("late late late", "stop", set()),
        ("Yes.<|im_end|>", "stop", {"clean"}),
        ("caf\ufffd", None, {"clean"}),
        ("<p>fine</p> a < b | c", "stop", set()),
    ],
)
def test_each_check_finds_what_it_is_for(
    completion: str, finish_reason: str | None, failed: set[str]
) -> None:
    """And nothing else; a short answer may repeat itself."""
    checks = online_checks.CHECKS.items()
    assert failed == {name for name, check in checks if not check(completion, finish_reason)}
