"""Compiles constraints in a thread beside the loop, and keeps the compiled ones.

Its tokenizer is made at once, while nothing waits: for 150,000 tokens that takes a second, half of
it with the GIL. Least recently used ones are dropped. Never tries what `check` has not tried: the
gateway sees to that. Imported by the worker.
"""

from __future__ import annotations

import os
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import llguidance

from engine.serving import wire
from engine.serving.constraints import grammars

KEPT: Final = 64
_LOW: Final = 10
_STACK: Final = 64 * 1024 * 1024
"""Bytes, of which only what is touched takes memory; `check` tries with a quarter of it."""

Compiled = llguidance.LLMatcher | str
"""A matcher at the beginning of the text, or why there is none."""


class Compiler:
    """All methods are called by the loop's thread; `on_done` by the other, to wake the loop.

    `tokenizer` is that of the model, None where it cannot be made.
    """

    def __init__(
        self,
        tokenizer: Callable[[], llguidance.LLTokenizer],
        on_done: Callable[[], None] = lambda: None,
    ) -> None:
        """`tokenizer` is called once, now."""
        self.tokenizer: llguidance.LLTokenizer | None = None
        self._fault = ""
        try:
            self.tokenizer = tokenizer()
        except ValueError as error:
            self._fault = f"the model's vocabulary cannot be constrained: {error}"
        self._on_done = on_done
        self._kept: OrderedDict[wire.Constraint, Compiled] = OrderedDict()
        self._under_way: set[wire.Constraint] = set()
        self._tasks: queue.SimpleQueue[wire.Constraint] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[tuple[wire.Constraint, Compiled]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def find(self, constraint: wire.Constraint) -> Compiled | None:
        """What was made of it; None while it is being compiled, which this begins."""
        found = self._kept.get(constraint)
        if found is not None:
            self._kept.move_to_end(constraint)
        elif constraint not in self._under_way:
            self._under_way.add(constraint)
            self._start()
            self._tasks.put(constraint)
        return found

    def done(self) -> bool:
        """Keep what was compiled since the last call; whether there was anything."""
        any_ = False
        while not self._results.empty():
            constraint, compiled = self._results.get()
            self._under_way.discard(constraint)
            self._kept[constraint] = compiled
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            any_ = True
        return any_

    def _start(self) -> None:
        if self._thread is not None:
            return
        before = threading.stack_size(_STACK)
        self._thread = threading.Thread(target=self._work, name="constraints", daemon=True)
        self._thread.start()
        threading.stack_size(before)

    # in the thread

    def _work(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOW)  # of this thread alone
        while True:
            constraint = self._tasks.get()
            self._results.put((constraint, self._compile(constraint)))
            self._on_done()

    def _compile(self, constraint: wire.Constraint) -> Compiled:
        if self.tokenizer is None:
            return self._fault
        try:
            return grammars.compiled(self.tokenizer, constraint)
        except grammars.Unholdable as error:
            return str(error)
        except (MemoryError, ValueError) as error:
            return f"it cannot be compiled: {error}"
