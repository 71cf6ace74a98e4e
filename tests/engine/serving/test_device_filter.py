"""The candidates of a step are its largest logits, and steps ask for them when that is right.

The graph is the one that a GPU computes, on the CPU.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.serving import device_filter, errors
from engine.serving.device_filter import ALWAYS, MEASURED, NEVER, PATIENCE, DeviceFilter
from engine.serving.generation import Generation, Scoring
from engine.serving.llama import libllama
from engine.serving.llama.context import Context
from engine.serving.llama.model import Model
from engine.serving.llama.top_k import MOST
from engine.serving.sequences import Class, Sequence
from tests.engine.serving import workers
from tests.home_fixtures import WEIGHTS

SLOTS = 6


@pytest.fixture(scope="module")
def context() -> Iterator[Context]:
    """Of the shipped model, with one thread."""
    made = Context(
        Model(WEIGHTS, gpu_layers=0), sequence_tokens=256, sequences=SLOTS, threads=1
    )  # fmt: skip
    yield made
    made.free()


def fill(context: Context, rows: dict[int, tuple[int, int]]) -> int:
    """Write (first position, tokens) of slots into the batch; the last of each gives logits."""
    at = 0
    for slot, (start, count) in rows.items():
        end = at + count
        context.batch.tokens[at:end] = 40 + 7 * slot + np.arange(start, start + count)
        context.batch.positions[at:end] = np.arange(start, start + count)
        context.batch.slots[at:end] = slot
        context.batch.wanted[at:end] = 0
        context.batch.wanted[end - 1] = 1
        at = end
    return at


def test_a_step_gives_the_largest_logits_of_each_row_in_order(context: Context) -> None:
    """Of prompts beside decoding, of a part of the slots, and between steps with all logits."""
    steps: list[dict[int, tuple[int, int]]] = [
        {slot: (0, 5 + slot) for slot in range(SLOTS)},
        {0: (5, 1), 1: (6, 1), 2: (7, 9), 4: (9, 1)},
        {5: (10, 1)},
        {3: (8, 30), 5: (11, 1)},
    ]
    for rows in steps:
        logits = context.decode(fill(context, rows), len(rows)).copy()
        for slot, (start, _) in rows.items():
            context.move(slot, slot, start)
        assert context.top_k.attach()
        best = context.decode_best(fill(context, rows), len(rows))
        assert best.tokens.shape == (len(rows), MOST)
        order = np.argsort(-best.logits, axis=1)
        found = np.take_along_axis(best.logits, order, 1)
        assert np.array_equal(found, -np.sort(-logits, axis=1)[:, :MOST])
        assert np.array_equal(np.take_along_axis(logits, best.tokens.astype(int), 1), best.logits)
        context.top_k.detach()


def test_a_measurement_leaves_the_context_as_it_was(context: Context) -> None:
    """Empty, and steps give logits; the clock ticks once for each look at it."""
    for slot in range(SLOTS):
        context.clear(slot)
    expected = context.decode(fill(context, {0: (0, 8)}), 1).copy()
    context.clear(0)
    ticks = itertools.count()
    assert device_filter.measure(context, SLOTS, now_us=lambda: next(ticks)) == (1, 1)
    assert not context.top_k.attached
    assert np.array_equal(context.decode(fill(context, {0: (0, 8)}), 1), expected)
    context.clear(0)


def test_a_build_that_died_of_the_measurement_is_not_measured_again(
    context: Context, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of what died only the file is left; another build is measured, and leaves none."""
    adapters: Any = SimpleNamespace(model=SimpleNamespace(devices=("GPU",)), base=context)
    trial = device_filter.beside(tmp_path / "worker")
    trial.write_text(libllama.build())
    assert not device_filter.pays(adapters, SLOTS, trial)
    assert f"remove {trial} to try again" in capfd.readouterr().err
    trial.write_text("another build")
    device_filter.pays(adapters, SLOTS, trial)
    assert not trial.exists()
    assert "a step takes" in capfd.readouterr().err


@dataclass
class Chains:
    """Stands in for `TopK`; counts how often something was attached."""

    attached: bool = False
    times: int = 0

    def attach(self) -> bool:
        """Attach."""
        self.attached = True
        self.times += 1
        return True

    def detach(self) -> None:
        """Detach."""
        self.attached = False


def generation(**fields: Any) -> Generation:
    """One that is sampled as releases do by default."""
    given = {"temperature": 0.8, "top_k": 40, "top_p": 0.95} | fields
    return Generation(sequence(), workers.order("", **given), [1])


def sequence() -> Sequence:
    """Any."""
    return Sequence(
        id=1, adapter="", class_=Class.INTERACTIVE, tenant="t", prompt_tokens=1, max_tokens=9,
        arrived_us=0, deadline_us=9,
    )  # fmt: skip


def kinds() -> dict[str, Generation | Scoring]:
    """Rows by whether their candidates are enough."""
    return {
        "default": generation(),
        "greedy": generation(temperature=0.0, top_k=0),
        "large top-k": generation(top_k=MOST + 1),
        "no top-k": generation(top_k=0),
        "logprobs": generation(logprobs=2),
        "penalty": generation(presence_penalty=0.5),
        "bias": generation(logit_bias=((3, 1.0),)),
        "scored": Scoring(sequence(), [1], [2]),
    }


def test_candidates_are_enough_where_the_rest_of_the_logits_changes_nothing() -> None:
    """Logprobs need their sum, penalties may raise any of them."""
    found = [name for name, work in kinds().items() if device_filter.suits(work)]
    assert found == ["default", "greedy"]


def filtered(choice: DeviceFilter, knob: int, chains: Chains, *works: Generation | Scoring) -> bool:
    """Whether the next step is filtered."""
    context: Any = SimpleNamespace(top_k=chains)
    return choice.set(knob, "", context, works)


def test_steps_are_filtered_after_some_that_would_have_gained_by_it() -> None:
    """One row that needs all logits ends that at once, and the count begins anew."""
    choice, chains, rows = DeviceFilter(pays=True), Chains(), kinds()
    plain, other = rows["default"], rows["logprobs"]
    found = [filtered(choice, MEASURED, chains, plain, plain) for _ in range(PATIENCE)]
    assert found == [False] * (PATIENCE - 1) + [True]
    assert not filtered(choice, MEASURED, chains, plain, other)
    found = [filtered(choice, MEASURED, chains, plain) for _ in range(PATIENCE)]
    assert found == [False] * (PATIENCE - 1) + [True]
    assert chains.times == 2


def test_greedy_steps_end_it_after_some_of_them() -> None:
    """The largest logit alone is found as fast on the host."""
    choice, chains, rows = DeviceFilter(pays=True), Chains(attached=True), kinds()
    found = [filtered(choice, MEASURED, chains, rows["greedy"]) for _ in range(PATIENCE)]
    assert found == [True] * (PATIENCE - 1) + [False]


@pytest.mark.parametrize(
    ("knob", "pays", "expected"), [(NEVER, True, 0), (MEASURED, False, 0), (ALWAYS, False, 9)]
)
def test_the_knob_decides_before_what_was_measured(knob: int, *, pays: bool, expected: int) -> None:
    """Always means from the first step on; set back, it ends with the next step."""
    choice, chains, plain = DeviceFilter(pays=pays), Chains(), kinds()["default"]
    assert sum(filtered(choice, knob, chains, plain) for _ in range(9)) == expected
    assert not filtered(choice, NEVER, chains, plain)
    assert not chains.attached


def test_a_device_without_the_filter_is_not_asked_again(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Libllama leaves the filter out then; its candidates are the whole vocabulary."""
    chains = context.top_k
    monkeypatch.setattr(chains, "_most", MOST + 1)  # as if it had given another number
    monkeypatch.setattr(chains, "_able", True)
    assert chains.attach()
    monkeypatch.setattr(chains, "_most", MOST)
    with pytest.raises(errors.FilterMissing):
        context.decode_best(fill(context, {0: (0, 3)}), 1)
    assert not chains.attached
    assert not chains.attach()
    context.clear(0)
