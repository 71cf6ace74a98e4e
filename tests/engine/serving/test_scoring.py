"""Scoring gives the log-probabilities that decoding the same tokens one by one gives."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.backends.worker_client import Refusal
from engine.serving import sampling, wire
from engine.serving.llama.context import Context
from engine.serving.llama.model import Model
from tests.engine.serving import workers
from tests.engine.serving.workers import Gateway, order, score
from tests.home_fixtures import WEIGHTS

EQUAL = 0.001
ROUNDING = 0.5
"""Of the same tokens in large batches, where libllama computes with other kernels: up to 0.27 was
measured for tokens of probability exp(-20), one by one and all at once."""

ANSWER = " The order ships to Vilnius on Friday, and nobody has paid for it yet. Shall I cancel it?"


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the one worker of this module listens."""
    path = tmp_path_factory.mktemp("run") / "worker.sock"
    with workers.running(path):
        yield path


@pytest.fixture
async def gateway(socket: Path) -> AsyncIterator[Gateway]:
    """Connected; prompts are read in chunks so small that all are computed with one kernel."""
    async with workers.connected(socket) as one:
        one.client.want_knobs(
            {"max_running": 16, "prefill_ms": 0, "prefill_budget": 16, "queue_limit": 256}
        )
        yield one


@pytest.fixture(scope="module")
def model() -> Model:
    """The shipped model in this process."""
    return Model(WEIGHTS, gpu_layers=0)


def decoded(model: Model, prompt: str, continuation: str) -> list[float]:
    """Each token's log-probability when it is fed after the ones before, one decode each."""
    context = Context(model, sequence_tokens=512, sequences=1, threads=1)
    tokens = model.vocabulary.tokenise([(prompt, True)])
    forced = model.vocabulary.tokenise_continuation(continuation)
    batch, found = context.batch, list[float]()
    for position, token in enumerate(tokens + forced[:-1]):
        batch.tokens[0], batch.positions[0], batch.slots[0] = token, position, 0
        batch.wanted[0] = 1
        logits = context.decode(1, 1)
        if position >= len(tokens) - 1:
            target = forced[position - len(tokens) + 1]
            found.append(sampling.likely(logits[0], target, 0).chosen)
    context.free()
    return found


def forced(model: Model, tokens: list[int], top: int) -> list[sampling.Likely]:
    """Of each token after the first, when they are fed one by one."""
    context = Context(model, sequence_tokens=512, sequences=1, threads=1)
    batch, found = context.batch, list[sampling.Likely]()
    for position, (token, target) in enumerate(itertools.pairwise(tokens)):
        batch.tokens[0], batch.positions[0], batch.slots[0] = token, position, 0
        batch.wanted[0] = 1
        found.append(sampling.likely(context.decode(1, 1)[0], target, top))
    context.free()
    return found


def whole(text: str = "", *, tokens: tuple[int, ...] = (), **fields: Any) -> wire.Score:
    """The scoring of a prompt, as text or as tokens."""
    segment = wire.Segment(text, special=False, tokens=tokens)
    asked = score("", "")
    return msgspec.structs.replace(asked, prompt=(segment,), whole=True, **fields)


def close(scored: wire.Scored, others: list[float], within: float = EQUAL) -> bool:
    """Whether the log-probabilities are these."""
    pairs = zip(logprobs(scored), others, strict=True)
    return all(math.isclose(one, other, abs_tol=within, rel_tol=0) for one, other in pairs)


def logprobs(scored: wire.Scored) -> list[float]:
    """Of each token."""
    return [token.logprob for token in scored.tokens]


async def test_a_score_is_what_decoding_the_tokens_gives(gateway: Gateway, model: Model) -> None:
    """For likely and unlikely tokens; the bytes of the tokens are the continuation."""
    question = workers.questions(4)[0]
    scored = await gateway.client.score(score(question, ANSWER))
    assert b"".join(token.raw for token in scored.tokens).decode() == ANSWER
    assert len(scored.tokens) > 16
    expected = decoded(model, question, ANSWER)
    assert min(expected) < -5 < max(expected), "the continuation has tokens of both kinds"
    assert close(scored, expected)
    gateway.client.want_knobs({"prefill_budget": 256})
    before = len(gateway.steps)
    whole = await gateway.client.score(score(question, ANSWER))
    assert sum(step.prefill_tokens > 0 for step in gateway.steps[before:]) == 2
    assert close(whole, expected, ROUNDING)


async def test_a_greedy_answer_scores_what_its_own_logprobs_said(gateway: Gateway) -> None:
    """Generated with logprobs, then scored: the same tokens, the same figures."""
    for question in workers.questions(4):
        heard = gateway.ask(order(question, logprobs=0))
        await heard.finish()
        generated = [one.chosen for delta in heard.deltas for one in delta.logprobs]
        scored = await gateway.client.score(score(question, heard.text))
        assert [token.raw for token in scored.tokens] == [token.raw for token in generated]
        assert close(scored, [token.logprob for token in generated])
        assert scored.top_tokens == len(scored.tokens)  # it generated greedily
        submitted = await gateway.ask(order(question, max_tokens=1)).finish()
        assert scored.prompt_tokens == submitted.prompt_tokens


async def test_a_score_is_the_same_in_pieces_and_in_company(gateway: Gateway) -> None:
    """Its prefill is cut into many chunks, beside streams and other scorings."""
    questions = workers.questions(6)
    alone = [await gateway.client.score(score(question, ANSWER * 2)) for question in questions]
    assert len(alone[0].tokens) > 32, "more than one step may give logits for"
    gateway.client.want_knobs({"weight_background": 1000})
    before = len(gateway.steps)
    streams = [gateway.ask(order("Order", temperature=2.0, seed=s, max_tokens=60)) for s in (1, 2)]
    company = await asyncio.gather(
        *(gateway.client.score(score(question, ANSWER * 2)) for question in questions)
    )
    for stream in streams:
        await stream.finish()
    assert max(step.prefill_tokens for step in gateway.steps[before:]) == 16
    assert any(step.prefill_tokens and step.decode_tokens for step in gateway.steps[before:])
    for one, other in zip(alone, company, strict=True):
        assert [token.raw for token in one.tokens] == [token.raw for token in other.tokens]
        assert close(one, logprobs(other))


async def test_a_parked_scoring_is_recomputed_and_gives_the_same(gateway: Gateway) -> None:
    """Higher classes take its slot; no position is lost or counted twice."""
    question = workers.questions(4)[1]
    alone = await gateway.client.score(score(question, ANSWER * 3))
    gateway.client.want_knobs({"max_running": 1})
    task = asyncio.create_task(gateway.client.score(score(question, ANSWER * 3)))
    streams = []
    for seed in range(4):
        await asyncio.sleep(0)
        streams.append(gateway.ask(order("Order", temperature=2.0, seed=seed, max_tokens=4)))
        await streams[-1].begun.wait()
    scored = await task
    assert close(scored, logprobs(alone))
    assert scored.top_tokens == alone.top_tokens < len(alone.tokens)


async def test_an_adapter_scores_as_it_generates(gateway: Gateway) -> None:
    """Another adapter, another distribution."""
    gateway.client.want_adapters({"lora": workers.lora()})
    question = workers.questions(16)[9]
    base, lora = await asyncio.gather(
        gateway.client.score(score(question, ANSWER)),
        gateway.client.score(score(question, ANSWER, adapter="lora")),
    )
    assert [token.raw for token in base.tokens] == [token.raw for token in lora.tokens]
    assert not close(base, logprobs(lora), ROUNDING)


async def test_a_whole_prompt_scores_as_its_tokens_decoded_one_by_one(
    gateway: Gateway, model: Model
) -> None:
    """From the second token on, with the most likely tokens of each place."""
    prompt = workers.questions(4)[0] + ANSWER
    tokens = model.vocabulary.tokenise([(prompt, False)])
    scored = await gateway.client.score(whole(prompt, alternatives=3))
    raw = [scored.first, *(token.raw for token in scored.tokens)]
    assert raw == [model.vocabulary.raw(token) for token in tokens]
    assert b"".join(raw).decode() == prompt
    assert scored.prompt_tokens == len(tokens)
    expected = forced(model, tokens, 3)
    assert close(scored, [each.chosen for each in expected])
    for told, found in zip(scored.top, expected, strict=True):
        assert [one.raw for one in told] == [model.vocabulary.raw(t) for t in found.tokens]
        assert [one.logprob for one in told] == pytest.approx(found.logprobs, abs=EQUAL)
    same = await gateway.client.score(whole(tokens=tuple(tokens)))
    assert same.first == scored.first
    assert same.top == ()
    assert close(same, logprobs(scored))


async def test_the_common_beginning_of_prompts_is_scored_once(gateway: Gateway) -> None:
    """A context with each of its answers: the same figures, and only the answers are computed."""
    context = f"Seldom asked: {workers.questions(4)[2]}"
    prompts = [whole(context + each, alternatives=2) for each in (ANSWER, " It is late.", "")]
    first = await gateway.client.score(prompts[0])
    with_cache = [await gateway.client.score(prompt) for prompt in prompts]
    again = [each.cached_tokens for each in with_cache]
    gateway.client.want_knobs({"prefix_cache": 0})
    anew = [await gateway.client.score(prompt) for prompt in prompts]
    gateway.client.want_knobs({"prefix_cache": 1})
    assert first.cached_tokens == 0
    assert [each.cached_tokens for each in anew] == [0, 0, 0]
    shared = anew[2].prompt_tokens
    assert again[0] == first.prompt_tokens - 2
    assert shared - 3 <= again[1] <= shared
    for one, other in zip(with_cache, anew, strict=True):
        assert close(one, logprobs(other), ROUNDING)
        assert [[each.raw for each in top] for top in one.top] == [
            [each.raw for each in top] for top in other.top
        ]
    more = await gateway.client.score(whole(context, alternatives=5))
    assert {len(top) for top in more.top} == {5}, "fewer alternatives are of no use"


async def test_a_prompt_of_one_token_or_of_all_that_fit_is_scored(gateway: Gateway) -> None:
    """The first token has no score; with room for an answer the prompt has to be shorter."""
    one = await gateway.client.score(whole(tokens=(5,)))
    assert (one.prompt_tokens, one.tokens, bool(one.first)) == (1, (), True)
    hello = gateway.client.hello
    assert hello is not None
    most = hello.sequence_tokens
    full = await gateway.client.score(whole(tokens=(5, 6) * (most // 2)))
    assert (full.prompt_tokens, len(full.tokens)) == (most, most - 1)
    for prompt in (whole(tokens=(5,) * (most + 1)), whole(tokens=(5,) * most, room=1)):
        with pytest.raises(Refusal) as caught:
            await gateway.client.score(prompt)
        assert caught.value.refused.code == "too_long"


@pytest.mark.parametrize(
    ("prompt", "continuation", "code"),
    [
        ("Order 157", "", "empty"),
        ("", "text", "empty"),
        ("order " * 300, "order " * 300, "too_long"),
        ("order", "order " * 1_000_000, "too_long"),
    ],
)
async def test_what_cannot_be_scored_is_refused(
    gateway: Gateway, prompt: str, continuation: str, code: str
) -> None:
    """With a reason; the worker serves on."""
    with pytest.raises(Refusal) as caught:
        await gateway.client.score(score(prompt, continuation, special=False))
    assert caught.value.refused.code == code
    assert caught.value.refused.message
    assert (await gateway.client.score(score("Order 157", " ships"))).tokens


async def test_a_cancelled_scoring_frees_its_slot(gateway: Gateway) -> None:
    """The task is cancelled; the worker ends the sequence at the next step."""
    task = asyncio.create_task(gateway.client.score(score("Order", ANSWER * 4)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await gateway.client.score(score("Order 157", " ships"))
    assert not gateway.client.busy
    assert (gateway.steps[-1].running, gateway.steps[-1].waiting) == (0, 0)


async def test_the_time_of_scorings_is_accounted(gateway: Gateway) -> None:
    """The times of the scorings add up to those of the steps, to the microsecond."""
    scored = await asyncio.gather(
        *(gateway.client.score(score(question, ANSWER)) for question in workers.questions(4))
    )
    assert sum(one.busy_us for one in scored) == sum(step.busy_us for step in gateway.steps)
    assert all(one.busy_us > 0 for one in scored)
