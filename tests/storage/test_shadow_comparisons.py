"""Comparisons of shadows: what is counted, what is summed up, and what is forgotten."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from storage import shadow_comparisons, shadow_figures
from storage.rollout_syntax import parse_guard
from storage.shadow_comparisons import Comparison
from storage.store import Store
from tests.engine.control.rollouts import worlds

GUARDS: Final = tuple(
    parse_guard(each)
    for each in (
        "error_rate<=1%", "latency_p95<=1s", "ttft_p95<=100ms", "slowdown_p95<=2x",
        "agreement>=80%", "thumbs_down<=30%",
    )
)  # fmt: skip


def compared(number: int, **fields: Any) -> Comparison:
    """A copy that was answered as stable answered, in the same time."""
    return Comparison(**{
        "rollout_id": 1, "attempt": 1, "at_us": number, "request_id": f"req_{number}",
        "copy_id": f"req_{number}c", "exact": True, "f1": 1.0, "stable_tokens": 10,
        "candidate_tokens": 10, "stable_us": 400_000, "candidate_us": 400_000,
        "stable_ttft_us": 50_000, "candidate_ttft_us": 50_000, **fields,
    })  # fmt: skip


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A store with rollout 1, a shadow."""
    async with worlds.made(tmp_path) as world:
        await world.start(strategy="shadow")
        yield world.store


async def kept(store: Store) -> list[str]:
    """The copies whose comparisons are there, oldest first."""
    async with store.read() as s:
        return [each.copy_id for each in await shadow_comparisons.tail(s, 1, 1)][::-1]


async def test_each_guard_counts_its_events_among_the_new_copies_of_an_attempt(
    store: Store,
) -> None:
    """A failure is an event of every guard; thumbs are not about copies; a copy counts once."""
    rows = [
        compared(1),
        compared(2, error_code="engine_error", candidate_us=0, candidate_ttft_us=None),
        compared(3, candidate_us=1_000_001),
        compared(4, candidate_us=800_001),
        compared(5, candidate_ttft_us=None),
        compared(6, f1=0.49),
        compared(7, f1=0.5, candidate_us=800_000),
        compared(8, attempt=2, error_code="engine_error"),
        compared(1, error_code="engine_error"),
    ]
    await store.write(lambda s: shadow_comparisons.record(s, rows))
    async with store.read() as s:
        last, n, events = await shadow_comparisons.count(s, 1, 1, after=0, guards=GUARDS)
        assert (n, events) == (7, [1, 2, 2, 3, 2, 0])
        again = await shadow_comparisons.count(s, 1, 1, after=last, guards=GUARDS)
        assert again == (last, 0, [0] * len(GUARDS))


async def test_old_comparisons_are_pruned_and_so_are_more_than_are_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their age and by their number; each call is bounded."""
    rows = [compared(number) for number in range(1, 8)]
    await store.write(lambda s: shadow_comparisons.record(s, rows))
    assert await store.write(lambda s: shadow_comparisons.prune(s, 3, limit=1)) == 1
    assert await store.write(lambda s: shadow_comparisons.prune(s, 3)) == 1
    assert await kept(store) == [f"req_{number}c" for number in range(3, 8)]
    monkeypatch.setattr(shadow_comparisons, "KEPT", 2)
    assert await store.write(lambda s: shadow_comparisons.prune(s, 3)) == 3
    assert await store.write(lambda s: shadow_comparisons.prune(s, 3)) == 0
    assert await kept(store) == ["req_6c", "req_7c"]


def test_the_figures_are_of_copies_that_were_answered_and_failures_never_agree() -> None:
    """Means by answer, the log-probability by token, quantiles by nearest rank."""
    rows = [
        compared(1, scored_tokens=30, logprob=-1.0, top_tokens=20),
        compared(2, scored_tokens=10, logprob=-3.0, top_tokens=5, exact=False, f1=0.5),
        compared(3, exact=False, f1=0.3, candidate_tokens=25, candidate_us=900_000),
        compared(4, error_code="engine_error", exact=False, f1=0.0, candidate_tokens=0),
    ]
    found = shadow_figures.summed(rows)
    assert (found.copies, found.failed, found.agreement) == (4, 1, 0.5)
    assert found.exact == pytest.approx(1 / 3)
    assert found.f1 == pytest.approx(0.6)
    assert (found.logprob, found.scored_tokens, found.unlikely) == (-1.5, 40, 0.375)
    assert (found.stable.p95_us, found.candidate.p95_us) == (400_000, 900_000)
    assert (found.candidate.tokens, found.length_ratio) == (15.0, 1.5)


def test_without_an_answer_there_is_no_figure() -> None:
    """None, never 0."""
    found = shadow_figures.summed([compared(1, error_code="engine_error")])
    assert (found.exact, found.f1, found.logprob, found.unlikely) == (None, None, None, None)
    assert (found.stable.p95_us, found.length_ratio, found.agreement) == (None, None, 0.0)
