"""Scoring by an upstream: what it must return, and that it is found out once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from engine.backends.upstream import scoring
from engine.backends.upstream.server import Server, Settings
from engine.execution import failures
from engine.execution.job import Chat, Message, Score, Text
from storage.requests import Class
from tests.engine.backends.upstream import loopback
from tests.engine.backends.upstream.loopback import Asked, Loopback, Reply
from tests.engine.execution import jobs


@asynccontextmanager
async def server(script: loopback.Script) -> AsyncIterator[tuple[Server, Loopback]]:
    """A server that answers by a script."""
    async with loopback.serving(script) as peer:
        made = Server(Settings(name="peer", url=peer.url, first_event_s=5.0))
        try:
            yield made, peer
        finally:
            await made.close()


def score(prompt: str = "one two", continuation: str = " three four") -> Score:
    """A continuation to score."""
    return Score(release=jobs.release(), input=Text((prompt,)), continuation=continuation)


def echo(*, bos: bool = False) -> loopback.Script:
    """A server that returns the log-probabilities of its prompt, a word a token, and one more."""

    async def answer(asked: Asked, reply: Reply) -> None:
        words = asked.json["prompt"].split(" ")
        tokens = [words[0], *(f" {word}" for word in words[1:]), " extra"]
        values: list[float | None] = [None, *(-float(n) for n in range(1, len(tokens)))]
        if bos:
            tokens, values = ["<s>", *tokens], [None, -9.0, *values[1:]]
        logprobs = {"tokens": tokens, "token_logprobs": values}
        await reply.document(
            {"choices": [{"logprobs": logprobs}], "usage": {"prompt_tokens": len(words)}}
        )

    return answer


async def ignoring(_: Asked, reply: Reply) -> None:
    """As llama-server: `echo` is ignored, the log-probabilities are of the new token alone."""
    logprobs = {"tokens": [" five"], "token_logprobs": [-0.1]}
    await reply.document({"choices": [{"text": " five", "logprobs": logprobs}]})


async def refusing(_: Asked, reply: Reply) -> None:
    """A server that does not know the parameter."""
    await reply.document({"error": {"message": "echo is not supported"}}, 400)


@pytest.mark.parametrize("bos", [False, True])
async def test_the_tokens_of_the_continuation_are_scored(bos: bool) -> None:
    """Neither the prompt's, nor the one that was drawn because a server draws at least one."""
    async with server(echo(bos=bos)) as (one, peer):
        scored = await scoring.score(one, "m", score())
    assert [(each.raw, each.logprob) for each in scored.tokens] == [
        (b" three", -2.0),
        (b" four", -3.0),
    ]
    assert scored.prompt_tokens == 4
    asked = peer.asked[0].json
    assert (asked["echo"], asked["max_tokens"], asked["stream"]) == (True, 1, False)


async def test_a_token_across_the_border_belongs_to_the_continuation() -> None:
    """The upstream cuts tokens as it likes."""
    async with server(echo()) as (one, _):
        scored = await scoring.score(one, "m", score("one tw", "o three"))
    assert [each.raw for each in scored.tokens] == [b" two", b" three"]


@pytest.mark.parametrize("script", [ignoring, refusing], ids=["ignoring", "refusing"])
async def test_a_server_that_does_not_echo_does_not_score(script: loopback.Script) -> None:
    """Found with one request, and reported with the documented code."""
    async with server(script) as (one, _):
        assert await scoring.supported(one, "m") is False
        with pytest.raises(failures.Invalid) as failed:
            await scoring.score(one, "m", score())
    assert failed.value.code in {"scoring_unsupported", "upstream_refused"}


async def test_a_chat_cannot_be_scored_by_an_upstream() -> None:
    """Its template is the upstream's, so that there is no prompt to be echoed."""
    chat = Score(release=jobs.release(), input=Chat((Message("user", "Hi"),)), continuation="Hello")
    async with server(echo()) as (one, peer):
        with pytest.raises(failures.Invalid, match="not of a chat"):
            await scoring.score(one, "m", chat)
    assert peer.asked == []


async def test_what_a_server_can_is_found_out_once() -> None:
    """No until it is known; one request, however often it is asked."""
    asked = asyncio.Event()

    async def answer(request: Asked, reply: Reply) -> None:
        await echo()(request, reply)
        asked.set()

    abilities = scoring.Abilities()
    async with server(answer) as (one, peer):
        assert [abilities.find_out("peer", "m", one) for _ in range(3)] == [False] * 3
        await asked.wait()
        await asyncio.gather(*_probes(abilities))
        assert abilities.find_out("peer", "m", one) is True
        assert len(peer.asked) == 1
        abilities.forget("peer")
        assert abilities.known("peer", "m") is None


def _probes(abilities: scoring.Abilities) -> list[Any]:
    return list(abilities._probes.values())


async def test_scorings_and_jobs_share_the_connections() -> None:
    """No more at a time than the upstream's record allows; a scoring waits for its time."""
    under_way = most = 0
    word = echo()

    async def counted(asked: Asked, reply: Reply) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        await word(asked, reply)

    async with server(counted) as (made, _):
        made.slots.limit = 2
        await asyncio.gather(*(scoring.score(made, "m", score()) for _ in range(8)))
        assert (most, made.slots.used) == (2, 0)
        async with made.slot(Class.INTERACTIVE, "a", 1), made.slot(Class.INTERACTIVE, "a", 1):
            late = msgspec.structs.replace(score(), queue_us=10_000)
            with pytest.raises(failures.Unavailable) as caught:
                await scoring.score(made, "m", late)
        assert (caught.value.code, made.slots.used) == ("deadline", 0)
