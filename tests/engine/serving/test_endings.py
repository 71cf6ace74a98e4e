"""Where a generation ends, with models whose every next token is known."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from engine.serving import wire
from tests.engine.serving import tiny_gguf, workers
from tests.engine.serving.tiny_gguf import CONTROL, NORMAL
from tests.engine.serving.workers import Gateway, order

TOKENS = (
    ("<|endoftext|>", CONTROL),
    ("<|im_end|>", NORMAL),
    ("<|mark|>", CONTROL),
    *((letter, NORMAL) for letter in "abcdefgh"),
)
A, B, C, D, E, F, G, H = range(3, 11)
FOLLOWS = {A: B, B: 1, 1: C, C: D, D: 2, 2: E, E: F, F: F}
"""a b <|im_end|> …; c d <|mark|> e f f f …"""


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the one worker of this module listens."""
    folder = tmp_path_factory.mktemp("run")
    tiny_gguf.chain(folder / "chain.gguf", TOKENS, follows=FOLLOWS, eos=0)
    with workers.running(folder / "worker.sock", model=folder / "chain.gguf", sequences=4):
        yield folder / "worker.sock"


@pytest.fixture
async def gateway(socket: Path) -> AsyncIterator[Gateway]:
    """Connected."""
    async with workers.connected(socket) as one:
        yield one


async def test_a_token_that_ends_for_libllama_ends_whatever_its_type(gateway: Gateway) -> None:
    """`<|im_end|>` is marked NORMAL in many files, beside another eos."""
    heard = gateway.ask(order("a"))
    end = await heard.finish()
    assert (heard.text, end.reason, end.completion_tokens) == ("b", "stop", 2)


async def test_a_stop_string_that_is_a_control_token_ends_on_it(gateway: Gateway) -> None:
    """Control tokens have no text, so that no text could match; nothing of it is shown."""
    plain = gateway.ask(order("c", max_tokens=6))
    assert (await plain.finish()).reason == "length"
    assert plain.text == "defff"
    heard = gateway.ask(order("c", max_tokens=6, stop=("never", "<|mark|>"), logprobs=0))
    end = await heard.finish()
    assert (heard.text, end.reason, end.completion_tokens) == ("d", "stop", 2)
    assert [one.chosen.raw for delta in heard.deltas for one in delta.logprobs] == [b"d"]


async def test_what_a_stop_string_held_back_is_shown_before_a_control_token(
    gateway: Gateway,
) -> None:
    """`d` might have begun the stop string `dx`; the control token decides that it does not."""
    heard = gateway.ask(order("c", max_tokens=6, stop=("dx", "<|mark|>")))
    end = await heard.finish()
    assert (heard.text, end.reason) == ("d", "stop")


async def test_a_control_token_that_belongs_to_the_format_is_text(gateway: Gateway) -> None:
    """As a mark, or as part of one; what ends an answer is none of its text."""
    for shown in (("<|mark|>",), ("<|mark|>thought\n", "unknown")):
        heard = gateway.ask(order("c", max_tokens=4, shown=shown))
        await heard.finish()
        assert heard.text == "d<|mark|>ef"
    heard = gateway.ask(order("a", shown=("<|im_end|>",)))
    assert (await heard.finish()).reason == "stop"
    assert heard.text == "b"


async def test_reasoning_ends_when_its_budget_is_used_up(gateway: Gateway) -> None:
    """The mark is written in the model's place, and it goes on from there."""
    limit = wire.Thinking(2, opening="<|mark|>", closing="b", forced="ba", inside=False)
    heard = gateway.ask(order("d", max_tokens=6, shown=("<|mark|>",), thinking=limit))
    end = await heard.finish()
    assert heard.text == "<|mark|>efbab"
    assert (end.reason, end.completion_tokens) == ("length", 6)
    inside = wire.Thinking(1, opening="<|mark|>", closing="c", forced="c", inside=True)
    heard = gateway.ask(order("e", max_tokens=5, thinking=inside))
    await heard.finish()
    assert heard.text == "fcde"
