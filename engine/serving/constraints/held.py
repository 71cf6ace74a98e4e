"""The constraints of a worker: what is compiled, who waits for it, and the masks of a step.

A sequence whose constraint is not compiled yet is held back until it is; nothing else waits. Called
by the loop's thread alone. Imported by the worker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import llguidance
import msgspec

from engine.serving import wire
from engine.serving.constraints import grammars
from engine.serving.constraints.begun import PartMatcher
from engine.serving.constraints.compiler import Compiler
from engine.serving.constraints.masks import Masks, Matcher


class Constraints:
    """All that a worker does for constraints; costs nothing while there are none."""

    def __init__(
        self,
        tokenizer: Callable[[], llguidance.LLTokenizer],
        vocabulary: int,
        sequences: int,
        now_us: Callable[[], int],
        on_done: Callable[[], None],
    ) -> None:
        """`vocabulary` is the width of the logits; `on_done` is called to wake the loop."""
        self._compiler = Compiler(tokenizer, on_done)
        self._vocabulary = vocabulary
        self._sequences = sequences
        self._now_us = now_us
        self._held: dict[int, tuple[wire.Submit, int]] = {}
        self._masks: Masks | None = None

    @property
    def waiting(self) -> bool:
        """Whether a sequence is held back."""
        return bool(self._held)

    def hold(self, submit: wire.Submit | wire.Score) -> bool:
        """Hold a sequence back if its constraint is not compiled yet."""
        if not isinstance(submit, wire.Submit) or submit.constraint is None:
            return False
        if self._compiler.find(submit.constraint) is not None:
            return False
        self._held[submit.id] = (submit, self._now_us())
        return True

    def released(self) -> list[wire.Submit]:
        """Those whose constraint was compiled meanwhile, with what is left of their wait."""
        if not self._held or not self._compiler.done():
            return []
        held, self._held = self._held, {}
        free: list[wire.Submit] = []
        for id, (submit, since_us) in held.items():
            if submit.constraint is not None and self._compiler.find(submit.constraint) is None:
                self._held[id] = (submit, since_us)
                continue
            left_us = max(submit.queue_us - (self._now_us() - since_us), 1)
            free.append(msgspec.structs.replace(submit, queue_us=left_us))
        return free

    def drop(self, id: int) -> bool:
        """Forget a sequence that is held back; whether it was."""
        return self._held.pop(id, None) is not None

    def forget(self) -> None:
        """Forget all that are held back."""
        self._held.clear()

    def matcher(self, submit: wire.Submit, opening: int | None = None) -> Matcher | None:
        """At the beginning of a compiled constraint, as `Matcher`; None without a constraint.

        `opening` is the token of the submit's, None where it is none.

        Raises:
            Unholdable: it could not be compiled.
        """
        if submit.constraint is None:
            return None
        compiled, tokenizer = self._compiler.find(submit.constraint), self._compiler.tokenizer
        if isinstance(compiled, llguidance.LLMatcher):
            if submit.begins is None or tokenizer is None:
                after = "" if submit.opening and opening is None else submit.after
                return Matcher(compiled, after, opening)
            return PartMatcher(compiled, tokenizer, submit.begins, submit.after, submit.opening)
        raise grammars.Unholdable(compiled or "it was dropped while it waited; send it again")

    def begin(self, matchers: Sequence[Matcher]) -> Masks | None:
        """Begin to compute the masks of a step; None where it has none."""
        if not matchers:
            return None
        if self._masks is None:
            self._masks = Masks(self._vocabulary, self._sequences)
        self._masks.begin(matchers)
        return self._masks
