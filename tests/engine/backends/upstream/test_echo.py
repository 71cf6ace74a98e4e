"""Prompts that an upstream returns, and those that it does not."""

from __future__ import annotations

from typing import Any

import pytest

from engine.backends.upstream import echo
from engine.backends.upstream.health import STREAK
from engine.execution import answering, failures
from engine.execution.job import Delta, Echoed, Finished, Logprob, PromptToken, Text, TokenLogprob
from tests.engine.backends.upstream import loopback
from tests.engine.backends.upstream.exchanges import events, exchange
from tests.engine.backends.upstream.loopback import Asked, Reply
from tests.engine.execution import jobs


def told(*tokens: str) -> list[TokenLogprob]:
    """Tokens as a server tells them, each less likely than the one before."""
    return [TokenLogprob(Logprob(t.encode(), -float(n)), ()) for n, t in enumerate(tokens)]


def returning(text: str, tokens: list[str], **usage: int) -> loopback.Script:
    """A server that answers every request so, as vLLM does."""

    async def script(_: Asked, reply: Reply) -> None:
        values = [None, *(-float(n) for n in range(1, len(tokens)))]
        tops = [None if v is None else {t: v} for t, v in zip(tokens, values, strict=True)]
        logprobs = {"tokens": tokens, "token_logprobs": values, "top_logprobs": tops}
        choice = {"text": text, "logprobs": logprobs, "finish_reason": "length"}
        await reply.document({"choices": [choice], "usage": usage})

    return script


async def test_prompt_and_answer_are_told_apart() -> None:
    """A BOS is a token without text; the first token of the prompt has no figure."""
    script = returning("a b c", ["<s>", "a", " b", " c"], prompt_tokens=3, completion_tokens=1)
    job = jobs.job("a b", echo=True, logprobs=1, max_tokens=1, stream=True)
    async with loopback.serving(script) as peer, exchange(peer.url) as talk:
        echoed, delta, finished = await events(talk, job)
    asked = peer.asked[0].json
    assert (asked["echo"], asked["stream"], asked["logprobs"]) == (True, False, 1)
    assert "stream_options" not in asked
    assert isinstance(echoed, Echoed)
    assert echoed.text == "a b"
    assert echoed.tokens[0] == PromptToken(b"<s>", None, (), hidden=True)
    assert [(token.raw, token.logprob) for token in echoed.tokens[1:]] == [
        (b"a", -1.0), (b" b", -2.0)
    ]  # fmt: skip
    assert isinstance(delta, Delta)
    assert (delta.text, [one.chosen.raw for one in delta.logprobs]) == (" c", [b" c"])
    assert isinstance(finished, Finished)
    assert (finished.prompt_tokens, finished.completion_tokens) == (3, 1)


async def test_nothing_but_a_prompt_is_asked_for_with_one_token() -> None:
    """Some servers take none for no limit; what is generated is dropped."""
    script = returning("a b c", ["a", " b", " c"], prompt_tokens=2, completion_tokens=1)
    input = Text(((5, 6),))
    async with loopback.serving(script) as peer, exchange(peer.url) as talk:
        echoed, finished = await events(
            talk, jobs.job(input=input, echo=True, logprobs=1, max_tokens=0)
        )
    assert peer.asked[0].json["max_tokens"] == 1
    assert peer.asked[0].json["prompt"] == [5, 6]
    assert isinstance(echoed, Echoed)
    assert (echoed.text, len(echoed.tokens)) == ("a b", 2)
    assert isinstance(finished, Finished)


async def test_a_server_that_does_not_return_prompts_fails_the_request_alone() -> None:
    """llama-server answers as if `echo` had not been sent."""
    script = returning(" c", [" c"], prompt_tokens=2, completion_tokens=1)
    job = jobs.job("a b", echo=True, logprobs=1, max_tokens=1)
    async with loopback.serving(script) as peer, exchange(peer.url) as talk:
        with pytest.raises(failures.Invalid) as failed:
            await events(talk, job)
    assert failed.value.param == "echo"


async def test_a_prompt_with_an_answer_may_take_longer_than_a_first_token() -> None:
    """It comes whole; without an answer the first token is all there is to wait for."""
    script = returning("a b c", ["a", " b", " c"], prompt_tokens=2, completion_tokens=1)
    job = jobs.job("a b", echo=True, logprobs=1, max_tokens=1)
    async with loopback.serving(script) as peer, exchange(peer.url, first_event_s=0.0) as talk:
        assert isinstance((await events(talk, job))[-1], Finished)
        with pytest.raises(failures.Unavailable) as failed:
            await events(talk, jobs.job("a b", echo=True, logprobs=1, max_tokens=0))
    assert failed.value.code == "upstream_timeout"


async def test_a_long_answer_with_its_prompt_is_not_the_servers_fault() -> None:
    """Three of them in a row would make it unready for everybody."""

    async def never(_: Asked, reply: Reply) -> None:
        await reply.gone()

    job = jobs.job("a b", echo=True, max_tokens=4)
    async with (
        loopback.serving(never) as peer,
        exchange(peer.url, first_event_s=0.0, read_s=0.0) as talk,
    ):
        talk.health.succeeded()
        for _ in range(STREAK):
            with pytest.raises(failures.Unavailable) as failed:
                await events(talk, job)
            assert failed.value.code == "upstream_late"
            assert answering.evidence(failed.value) is None
        assert talk.health.reason is None


@pytest.mark.parametrize(
    ("prompt", "text", "tokens"),
    [
        ("ab", "abc", ["a", "bc"]),
        ("ab", "abc", ["a", "x", "c"]),
        ("ab", "abc", ["a"]),
        ("ab", "xabc", ["ab", "c"]),
        ((1, 2, 3), "abc", ["a", "b"]),
        ((1, 2), "xab", ["a", "b"]),
    ],
)
def test_figures_of_other_tokens_are_no_figures(prompt: Any, text: str, tokens: list[str]) -> None:
    """Where the tokens do not spell the prompt, there is an error and no number."""
    with pytest.raises(failures.Invalid):
        echo.parts(prompt, text, told(*tokens), answered=True)
