"""Which steps bring only the best candidates of each row to the host, instead of all logits.

On a GPU, copying the logits of a large vocabulary and looking through them takes a good part of a
step. Whether finding the candidates there is faster is measured when a worker starts. On a CPU it
is not: the logits are in the host's memory already, and llama.cpp looks through a row on one core
with a heap, in several times what `sampling.best` takes. Imported by the worker.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np

from engine.serving import errors, sampling
from engine.serving.adapters import Adapters
from engine.serving.generation import Generation, Scoring
from engine.serving.llama import libllama
from engine.serving.llama.context import Context
from engine.serving.llama.top_k import MOST

NEVER, MEASURED, ALWAYS = range(3)
"""Values of the knob `backend_sampling`."""

PATIENCE: Final = 64
"""After so many steps in a row that are better the other way it changes: that builds graphs."""
_STEPS: Final = 10
_WARM: Final = 2
_ROWS: Final = 16
_WORTH: Final = 0.97


class DeviceFilter:
    """The choice for each context of a worker. `pays`: it was measured to be faster."""

    def __init__(self, *, pays: bool) -> None:
        """Nothing is attached yet."""
        self._pays = pays
        self._runs: dict[str, int] = {}

    def set(
        self,
        knob: int,
        adapter: str,
        context: Context,
        works: Iterable[Generation | Scoring],
    ) -> bool:
        """Prepare the next step of a context, in which `works` get logits; whether it filters."""
        top_k = context.top_k
        allowed = knob == ALWAYS or (knob == MEASURED and self._pays)
        if not allowed and not top_k.attached:
            return False
        asked = list(works)
        if not allowed or not all(map(suits, asked)):
            self._runs[adapter] = 0
            top_k.detach()
            return False
        sampled = sum(isinstance(work, Generation) and work.temperature > 0 for work in asked)
        better = knob == ALWAYS or 2 * sampled >= len(asked)
        run = 0 if better == top_k.attached else self._runs.get(adapter, 0) + 1
        self._runs[adapter] = run
        if run >= PATIENCE or (run and knob == ALWAYS):
            self._runs[adapter] = 0
            if better:
                top_k.attach()
            else:
                top_k.detach()
        return top_k.attached


def suits(work: Generation | Scoring) -> bool:
    """Whether the best candidates are enough for a row."""
    return (
        isinstance(work, Generation)
        and work.adjustment is None
        and work.matcher is None
        and work.logprobs < 0
        and (work.temperature <= 0 or 0 < work.top_k <= MOST)
    )


def pays(adapters: Adapters, slots: int, trial: Path) -> bool:
    """Whether steps are faster with the filter, measured on the base before it is used.

    `trial` is a file that is there while it is measured. Where it was left, the measurement ended
    the process, and the same build of libllama does without.

    Raises:
        errors.EngineFault: the base does not compute.
    """
    if adapters.model.devices == ("CPU",):
        return False
    build = libllama.build()
    with contextlib.suppress(FileNotFoundError):
        if trial.read_text() == build:
            _say(f"not measured: it ended a worker; remove {trial} to try again")
            return False
    trial.write_text(build)
    try:
        plain_us, filtered_us = measure(adapters.base, slots)
    finally:
        trial.unlink()
    _say(f"a step takes {plain_us:.0f} us without, {filtered_us:.0f} us with it")
    return filtered_us < _WORTH * plain_us


def beside(socket: Path) -> Path:
    """The file that is there while the worker with this socket measures."""
    return socket.with_name(f"{socket.name}.measuring")


def _say(what: str) -> None:
    sys.stderr.write(f"backend_sampling: {what}\n")
    sys.stderr.flush()


def measure(
    context: Context,
    slots: int,
    *,
    now_us: Callable[[], int] = lambda: time.monotonic_ns() // 1000,
) -> tuple[float, float]:
    """The time of a step with and without all logits, in microseconds, draws included.

    The context is not used otherwise meanwhile, and empty afterwards. The latter is infinite where
    the device has no filter, or fails at it.
    """
    rows = min(slots, _ROWS)
    asked = sampling.Rows(
        temperature=np.full(rows, 0.8, np.float32),
        top_k=np.full(rows, 40, np.int64),
        top_p=np.full(rows, 0.95, np.float32),
        min_p=np.full(rows, 0.05, np.float32),
        seed=np.arange(rows, dtype=np.uint64),
        position=np.zeros(rows, np.uint64),
    )

    def taken(sample: Callable[[], object]) -> float:
        times: list[int] = []
        batch = context.batch
        for step in range(_WARM + _STEPS):
            batch.tokens[:rows] = step
            batch.positions[:rows] = step
            batch.slots[:rows] = np.arange(rows)
            batch.wanted[:rows] = 1
            began = now_us()
            sample()
            times.append(now_us() - began)
        return median(times[_WARM:])

    def clear() -> None:
        for slot in range(rows):
            context.clear(slot)

    plain_us = taken(lambda: sampling.sample(context.decode(rows, rows), asked))
    clear()
    if not context.top_k.attach():
        return plain_us, math.inf
    try:
        filtered_us = taken(lambda: sampling.among(context.decode_best(rows, rows), asked))
    except errors.EngineFault:
        filtered_us = math.inf
    finally:
        context.top_k.detach()
        clear()
    return plain_us, filtered_us
