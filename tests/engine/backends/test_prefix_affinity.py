"""The beginnings of prompts are known by their hashes, apart by adapter and by scope."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.backends import prefix_affinity
from engine.backends.prefix_affinity import BLOCK, Affinity, Hashed
from tests.engine.serving import workers

TEXT = "".join(chr(ord("a") + number % 26) for number in range(10 * BLOCK))


def blocks(text: str, **fields: Any) -> tuple[int, ...]:
    """Of a request with this prompt."""
    return prefix_affinity.blocks(workers.order(text, **fields))


def test_the_share_is_how_much_of_the_prompt_was_sent_before() -> None:
    """From its beginning on: what differs there differs in all that follows."""
    affinity = Affinity()
    affinity.sent(blocks(TEXT[: 5 * BLOCK]))
    assert affinity.share(blocks(TEXT)) == 0.5
    assert affinity.share(blocks(TEXT[: 5 * BLOCK])) == 1.0
    assert affinity.share(blocks(f"x{TEXT}")) == 0.0
    assert affinity.share(blocks(TEXT[: BLOCK - 1])) == 0.0


def test_another_adapter_or_scope_has_its_own_memory() -> None:
    """The worker would not reuse it either."""
    affinity = Affinity()
    affinity.sent(blocks(TEXT))
    assert affinity.share(blocks(TEXT, adapter="lora")) == 0.0
    assert affinity.share(blocks(TEXT, scope="tenant:a")) == 0.0


def test_what_was_sent_long_ago_is_forgotten() -> None:
    """The memory is bounded, and the beginning of a prompt outlasts its end."""
    affinity = Affinity()
    affinity.sent(blocks(TEXT))
    for number in range(prefix_affinity._KEPT // 10 - 1):
        affinity.sent(blocks(f"{number} {TEXT}"))
        affinity.sent(blocks(TEXT[:BLOCK]))
    assert affinity.share(blocks(TEXT[:BLOCK])) == 1.0
    for number in range(prefix_affinity._KEPT // 10 + 1):
        affinity.sent(blocks(f"more {number} {TEXT}"))
    assert affinity.share(blocks(TEXT)) == 0.0
    assert len(affinity._sent) == prefix_affinity._KEPT


def test_a_prompt_of_many_choices_is_hashed_once() -> None:
    """Unless it is of another adapter or scope."""
    hashed, one = Hashed(), workers.order(TEXT)
    found = hashed.of(one)
    assert found == blocks(TEXT)
    assert hashed.of(msgspec.structs.replace(one, id=2)) is found
    assert hashed.of(msgspec.structs.replace(one, scope="s")) == blocks(TEXT, scope="s")
    assert hashed.of(workers.order(f"x{TEXT}", scope="s")) == blocks(f"x{TEXT}", scope="s")
