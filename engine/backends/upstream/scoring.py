"""Scoring by `echo` and `logprobs` on /v1/completions, where a server returns the prompt's.

vLLM and llama-cpp-python's servers do; llama-server and most cloud endpoints do not. A server is
probed once, when it is first asked whether it scores, and the result is kept. Imported by its
neighbours.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec
import structlog

from engine.backends.upstream import faults, request
from engine.backends.upstream.server import Lost, Server
from engine.execution import failures
from engine.execution.job import Chat, Logprob, Score, Scored, Text
from storage.requests import Class

_PROBE: Final = ("Paddock asks whether the log-probabilities of this prompt", " come back.")

_log = structlog.get_logger("gateway.scoring")


class Unsupported(Exception):
    """The server does not return the prompt's log-probabilities."""


class Abilities:
    """Which models of which servers score, as far as known."""

    def __init__(self) -> None:
        """Nothing is known."""
        self._known: dict[tuple[str, str], bool] = {}
        self._probes: dict[tuple[str, str], asyncio.Task[None]] = {}

    def known(self, name: str, model: str) -> bool | None:
        """Whether a model scores; None if unknown."""
        return self._known.get((name, model))

    def learn(self, name: str, model: str, *, scores: bool) -> None:
        """Record what a request showed."""
        self._known[name, model] = scores

    def find_out(self, name: str, model: str, server: Server) -> bool:
        """Whether a model scores; if unknown, False, and a probe is started."""
        key = name, model
        if key not in self._known and key not in self._probes:
            self._probes[key] = asyncio.create_task(self._ask(key, server), name=f"probe {name}")
        return self._known.get(key, False)

    def forget(self, name: str) -> None:
        """Forget a server: it may have been replaced by another program."""
        self._known = {key: scores for key, scores in self._known.items() if key[0] != name}

    async def close(self) -> None:
        """Cancel the probes under way."""
        tasks = list(self._probes.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, key: tuple[str, str], server: Server) -> None:
        try:
            self._known[key] = await supported(server, key[1])
        except failures.Failure as failure:
            _log.info("cannot tell whether an upstream scores", reason=failure.message)
        finally:
            self._probes.pop(key, None)


async def supported(server: Server, model: str) -> bool:
    """Whether a server scores; costs one short request.

    Raises:
        failures.Failure: it cannot be asked now.
    """
    try:
        await _echoed(
            *(server, model, *_PROBE),
            class_=Class.BACKGROUND,
            tenant="paddock",
            within_s=server.settings.first_event_s,
        )
    except (Unsupported, failures.Invalid):
        return False
    except failures.Broken as failure:
        if failure.code in {"upstream_error", "upstream_malformed", "upstream_model_unknown"}:
            return False
        raise
    return True


async def score(server: Server, model: str, wanted: Score) -> Scored:
    """The log-probabilities of a continuation.

    A token that covers the end of the prompt and the beginning of the continuation belongs to the
    continuation.

    Raises:
        failures.Failure: the server does not score, or not now, or the input is a chat: its
            template is the server's, so that no prompt can be given to be echoed.
    """
    prompt = _text(wanted.input)
    if prompt is None:
        raise failures.Invalid(
            "an upstream scores the continuation of one text, not of a chat or of tokens",
            code="scoring_unsupported",
        )
    try:
        return await _echoed(
            *(server, model, prompt, wanted.continuation),
            class_=wanted.class_,
            tenant=wanted.tenant,
            within_s=wanted.queue_us / 1e6,
        )
    except Unsupported as error:
        raise unsupported(server.settings.name) from error


def _text(input: Chat | Text) -> str | None:
    """The text that is continued, if it is one and nothing else."""
    if isinstance(input, Chat) or input.suffix or len(input.prompts) != 1:
        return None
    (prompt,) = input.prompts
    return prompt if isinstance(prompt, str) else None


def unsupported(upstream: str) -> failures.Failure:
    """The server does not score."""
    return failures.Invalid(
        f"upstream {upstream} does not return the log-probabilities of prompts",
        code="scoring_unsupported",
    )


async def _echoed(
    server: Server,
    model: str,
    prompt: str,
    continuation: str,
    *,
    class_: Class,
    tenant: str,
    within_s: float,
) -> Scored:
    name = server.settings.name
    body = {
        "model": model,
        "prompt": prompt + continuation,
        "max_tokens": 1,
        "temperature": 0.0,
        "echo": True,
        "logprobs": 1,
        "stream": False,
    }
    deadline = asyncio.get_running_loop().time() + within_s
    try:
        async with server.slot(class_, tenant, within_s):
            document = await server.post(request.TEXT, msgspec.json.encode(body), deadline=deadline)
    except TimeoutError:
        raise faults.timed_out(name, within_s) from None
    except Lost as error:
        raise faults.lost(name, str(error)) from error
    try:
        answer: Any = msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise faults.malformed(name, "its answer is not JSON") from error
    if (complaint := faults.described(answer)) is not None:
        raise faults.inside(name, complaint)
    try:
        logprobs = answer["choices"][0]["logprobs"]
        tokens, values = logprobs["tokens"], logprobs["token_logprobs"]
        usage = answer.get("usage") or {}
        return Scored(
            tokens=_of_continuation(tokens, values, prompt, continuation),
            prompt_tokens=int(usage.get("prompt_tokens") or 0),
            busy_us=0,
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise Unsupported from error


def _of_continuation(
    tokens: list[str], values: list[float | None], prompt: str, continuation: str
) -> tuple[Logprob, ...]:
    """The tokens that end inside the continuation, by their places in the echoed text.

    Raises:
        Unsupported: what was echoed is not the prompt.
    """
    found: list[Logprob] = []
    text, at = prompt + continuation, 0
    first = True
    for token, value in zip(tokens, values, strict=True):
        if at >= len(text):
            break
        if first and not text.startswith(token):  # a BOS token has a name and no text
            first = False
            continue
        first = False
        at += len(token)
        if at > len(prompt):
            if value is None:
                raise Unsupported
            found.append(Logprob(token.encode("utf-8", "replace"), float(value)))
    if at < len(text):
        raise Unsupported
    return tuple(found)
