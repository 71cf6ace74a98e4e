"""The contexts of one model: the base's, and one for each adapter, all on the same weights.

An adapter that cannot be loaded does not affect the others. Never decides whose turn it is.
Imported by the worker.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from engine.serving import errors, llama


class Adapters:
    """Adapters by name; "" is the base without any adapter."""

    def __init__(
        self, model: llama.Model, *, sequence_tokens: int, sequences: int, threads: int
    ) -> None:
        """Make the base's context and compute a token in it."""
        self.model = model
        self._sequence_tokens = sequence_tokens
        self._sequences = sequences
        self._threads = threads
        self.contexts: dict[str, llama.Context] = {"": self._context(())}

    def open(self, adapter: str, path: Path, sha256: str) -> None:
        """Load an adapter and compute a token with it; an adapter that is open stays as it is."""
        if adapter in self.contexts:
            return
        llama.check("adapter", path)
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise errors.FileAway(f"{path} cannot be read: {error.strerror}") from error
        if found != sha256:
            raise errors.AdapterBroken(
                f"{path} is not the file that was registered: its SHA-256 is {found}"
            )
        self.contexts[adapter] = self._context((self.model.adapter(path),))

    def close(self, adapter: str) -> None:
        """Give an adapter's memory back."""
        self.contexts.pop(adapter).free()

    def _context(self, adapters: tuple[object, ...]) -> llama.Context:
        context = llama.Context(
            self.model,
            sequence_tokens=self._sequence_tokens,
            sequences=self._sequences,
            threads=self._threads,
            adapters=adapters,
        )
        try:
            context.warm()
        except errors.EngineFault:
            context.free()
            raise
        return context
