"""The contexts of one model: the base's and one per loaded adapter, all on the same weights.

Adapters are hashed, loaded and freed in a thread of their own, one after the other, while the loop
computes; libllama and hashlib release the GIL. An adapter that cannot be loaded does not affect the
others. Never decides whose turn it is. Imported by the worker.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.serving import errors, probe
from engine.serving.llama import libllama
from engine.serving.llama.context import Context
from engine.serving.llama.model import Model


@dataclass(frozen=True, slots=True)
class Loaded:
    """The adapter's context has passed its probe."""

    adapter: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The adapter was not loaded; `broken` blames the file itself."""

    adapter: str
    reason: str
    broken: bool


@dataclass(frozen=True, slots=True)
class Unloaded:
    """The adapter's memory was freed."""

    adapter: str


Outcome = Loaded | Failed | Unloaded


@dataclass(frozen=True, slots=True)
class _Resident:
    context: Context
    handle: Any


class Adapters:
    """Contexts by adapter name; "" is the base.

    All methods are called by the loop's thread. `on_load` is called by the loading thread before it
    touches a file, with the adapter's name; `on_done` after each outcome, to wake the loop.
    """

    def __init__(
        self,
        model: Model,
        *,
        sequence_tokens: int,
        sequences: int,
        threads: int,
        kv_cache_type: str = "f16",
        on_load: Callable[[str], None] = lambda _: None,
        on_done: Callable[[Outcome], None] = lambda _: None,
    ) -> None:
        """Make the base's context; `prove` it before it is used.

        Raises:
            errors.EngineFault: there is no memory for it, or the model cannot generate text.
        """
        self.model = model
        self._sequence_tokens = sequence_tokens
        self._sequences = sequences
        self._threads = threads
        self._kv_cache_type = kv_cache_type
        self._on_load = on_load
        self._on_done = on_done
        self._tasks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[tuple[Outcome, _Resident | None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loading: set[str] = set()
        self._discarded: set[str] = set()
        self._resident: dict[str, _Resident] = {}
        self.base = self._context(())

    def prove(self) -> None:
        """Probe the base, so that the first request finds everything allocated and working.

        Raises:
            errors.EngineFault: it does not compute, or not numbers.
        """
        if (wrong := self._probe(self.base)) is not None:
            raise errors.ModelBroken(f"{wrong}; the weights are damaged")

    @property
    def names(self) -> tuple[str, ...]:
        """What is loaded, "" included."""
        return ("", *self._resident)

    def context(self, adapter: str) -> Context:
        """The context of a loaded adapter."""
        return self._resident[adapter].context if adapter else self.base

    def load(self, adapter: str, path: Path, sha256: str) -> None:
        """Load an adapter in the background; nothing when it is loaded or being loaded."""
        self._discarded.discard(adapter)
        if adapter and adapter not in self._resident and adapter not in self._loading:
            self._loading.add(adapter)
            self._run(lambda: self._load(adapter, path, sha256))

    def unload(self, adapter: str) -> None:
        """Free an adapter and its context in the background; the base stays."""
        if adapter in self._loading:
            self._discarded.add(adapter)
        elif adapter in self._resident:
            resident = self._resident.pop(adapter)
            self._run(lambda: self._free(adapter, resident))

    def outcomes(self) -> list[Outcome]:
        """What happened since the last call, in order."""
        found: list[Outcome] = []
        while not self._outcomes.empty():
            outcome, resident = self._outcomes.get()
            if resident is not None:
                self._resident[outcome.adapter] = resident
            if not isinstance(outcome, Unloaded):
                self._loading.discard(outcome.adapter)
                if outcome.adapter in self._discarded:
                    self._discarded.discard(outcome.adapter)
                    self.unload(outcome.adapter)
                    continue
            found.append(outcome)
        return found

    def _run(self, task: Callable[[], None]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="adapters", daemon=True)
            self._thread.start()
        self._tasks.put(task)

    # in the loading thread

    def _work(self) -> None:
        while True:
            self._tasks.get()()

    def _load(self, adapter: str, path: Path, sha256: str) -> None:
        self._on_load(adapter)
        try:
            _verify(path, sha256)
            handle = self.model.load_adapter(path)
            try:
                context = self._proved(handle)
            except (errors.EngineFault, MemoryError):
                self.model.free_adapter(handle)
                raise
        except MemoryError:
            self._done(Failed(adapter, "there is not enough memory for its context", broken=False))
        except errors.EngineFault as fault:
            self._done(Failed(adapter, str(fault), isinstance(fault, errors.BROKEN)))
        else:
            self._done(Loaded(adapter, sha256), _Resident(context, handle))

    def _free(self, adapter: str, resident: _Resident) -> None:
        resident.context.free()
        self.model.free_adapter(resident.handle)
        self._done(Unloaded(adapter))

    def _done(self, outcome: Outcome, resident: _Resident | None = None) -> None:
        self._outcomes.put((outcome, resident))
        self._on_done(outcome)

    def _context(self, handles: tuple[Any, ...]) -> Context:
        return Context(
            self.model,
            sequence_tokens=self._sequence_tokens,
            sequences=self._sequences,
            threads=self._threads,
            kv_cache_type=self._kv_cache_type,
            adapters=handles,
        )

    def _proved(self, handle: Any) -> Context:
        """A context with an adapter that has passed its probe."""
        context = self._context((handle,))
        try:
            wrong = self._probe(context)
            if wrong is not None:
                raise errors.AdapterBroken(f"{wrong}; the adapter is damaged, or its scale absurd")
        except errors.EngineFault:
            context.free()
            raise
        return context

    def _probe(self, context: Context) -> str | None:
        vocabulary = self.model.vocabulary
        wrong = probe.fault(
            context, lambda text: vocabulary.tokenise([(text, False)]), max(vocabulary.bos, 0)
        )
        context.clear(0)
        return wrong


def _verify(path: Path, sha256: str) -> None:
    libllama.check_readable("adapter", path)
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise errors.FileUnavailable(f"{path} cannot be read: {error.strerror}") from error
    if found != sha256:
        raise errors.AdapterBroken(
            f"{path} is not the file that was registered: its SHA-256 is {found}"
        )
