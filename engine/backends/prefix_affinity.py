"""Which instance has computed how much of a prompt: an estimate, by hashes of its text.

The gateway does not know tokens or what an instance evicted. It remembers which blocks of text it
sent where lately, each hash including all blocks before it, so that equal hashes mean equal
beginnings. A wrong guess costs a prompt that is computed anew. Never keeps text. Imported by
`engine.backends.pool`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice
from typing import Final

from engine.serving import wire

BLOCK: Final = 256
"""Characters of a block; a beginning that is shorter is not worth a choice."""
TOKEN_BLOCK: Final = 64
"""Tokens of a block, where a prompt is given as tokens."""
_BLOCKS_MOST: Final = 512
"""Blocks of a prompt that are looked at: what comes later rarely decides."""
_KEPT: Final = 8192


def blocks(item: wire.Submit | wire.Score) -> tuple[int, ...]:
    """The hashes of a prompt's whole blocks, for its adapter and its scope."""
    given = (token for segment in item.prompt for token in segment.tokens)
    tokens = tuple(islice(given, TOKEN_BLOCK * _BLOCKS_MOST))
    prompt = tokens or "".join(segment.text for segment in item.prompt)
    size = TOKEN_BLOCK if tokens else BLOCK
    found: list[int] = []
    before = hash((item.adapter, item.scope))
    for end in range(size, min(len(prompt), size * _BLOCKS_MOST) + 1, size):
        before = hash((before, prompt[end - size : end]))
        found.append(before)
    return tuple(found)


class Hashed:
    """The blocks of the latest prompt: the choices of a request have the same one."""

    def __init__(self) -> None:
        """None yet."""
        self._item: wire.Submit | wire.Score | None = None
        self._blocks: tuple[int, ...] = ()

    def of(self, item: wire.Submit | wire.Score) -> tuple[int, ...]:
        """The blocks of a request."""
        last = self._item
        if last is None or last.prompt is not item.prompt or _whose(last) != _whose(item):
            self._item, self._blocks = item, blocks(item)
        return self._blocks


def _whose(item: wire.Submit | wire.Score) -> tuple[str, str]:
    return item.adapter, item.scope


class Affinity:
    """What one instance was sent, the latest last."""

    def __init__(self) -> None:
        """Nothing."""
        self._sent: OrderedDict[int, None] = OrderedDict()

    def share(self, blocks: Sequence[int]) -> float:
        """How much of a prompt it was sent before, 0 to 1."""
        if not blocks:
            return 0.0
        known = next((n for n, each in enumerate(blocks) if each not in self._sent), len(blocks))
        return known / len(blocks)

    def sent(self, blocks: Sequence[int]) -> None:
        """A prompt was sent to it."""
        for block in reversed(blocks):  # the beginning is used last, and forgotten last
            self._sent[block] = None
            self._sent.move_to_end(block)
        while len(self._sent) > _KEPT:
            self._sent.popitem(last=False)
