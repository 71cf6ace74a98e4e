"""The job behind a smoke test of a release: a few real requests, all of which must be answered.

They go through the gateway's internal socket in class background, to the release itself, whatever
the splits say; the first of them warms it. Their records have a service of their own name, so that
they are in no service's figures. Imported by `engine.jobs.kinds`, by name.
"""

from __future__ import annotations

import secrets
from typing import Final

import msgspec

from engine.execution import failures, plan
from engine.execution.client import Client
from engine.execution.job import Chat, Embed, Input, Job, Message, Options, Rerank
from engine.jobs import kinds
from engine.jobs.context import Context
from engine.jobs.errors import Refused, Transient
from engine.prompting import prompt_template
from engine.prompting.renderer.pool import Renderer
from storage import errors, prompts, releases
from storage.home import clock
from storage.prompts import PromptVersion
from storage.releases import Release
from storage.requests import Class

SERVICE: Final = "(smoke)"
"""The service name that the requests are recorded under; no real service can have it."""
PROMPTS: Final = (
    "Say hello.",
    "Name three colours.",
    "Summarise in one sentence: the box answers requests, and the people on call watch it.",
)
MAX_TOKENS: Final = 16
DEADLINE_US: Final = 120_000_000
_TEMPORARY: Final = frozenset({"gateway_unavailable", "release_unavailable", "worker_gone"})
_SAMPLES: Final = {"string": "text", "integer": 1, "number": 1.0, "boolean": True}
"""The value of a variable of the prompt that has no default."""


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens of each answer, and how long the slowest took."""

    tokens: tuple[int, ...]
    slowest_us: int


async def render(context: Context) -> tuple[Message, ...]:
    """The release's prompt, with the defaults of its variables."""
    release = await _release(context)
    if release.prompt_version_id is None:
        return ()
    async with context.store.read() as s:
        version = await prompts.get(s, release.prompt_version_id)
    async with Renderer(processes=1) as renderer:
        try:
            return await prompt_template.Prompt(version, renderer).render(_variables(version))
        except (prompt_template.BadVariables, prompt_template.BrokenPrompt) as error:
            raise Refused(f"The prompt cannot be rendered: {error}.") from error
        except failures.Failure as failure:
            raise Transient(f"The prompt cannot be rendered now: {failure}.") from failure


async def ask(context: Context) -> Answered:
    """Ask all of the requests, one after the other; the first warms the release."""
    release = await _release(context)
    rendered = msgspec.to_builtins(context.results["render"])
    own = msgspec.convert(rendered, tuple[Message, ...])
    client, tokens, slowest = Client(context.home), list[int](), 0
    for number, prompt in enumerate(PROMPTS, 1):
        context.progress(number - 1, len(PROMPTS), "requests")
        job = _job(release, _input(release, own, prompt), context.now_us())
        try:
            answer = await client.run(job, deadline_us=DEADLINE_US).whole()
        except failures.Failure as failure:
            said = f"request {number} of {len(PROMPTS)}: {failure.message} ({failure.code})"
            if failure.code in _TEMPORARY or isinstance(failure, failures.Overloaded):
                raise Transient(f"{said}.") from failure
            raise Refused(f"{said}.") from failure
        computed = answer.completion_tokens or (answer.prompt_tokens if answer.vectors else 0)
        if not computed:
            raise Refused(f"request {number} of {len(PROMPTS)}: the answer is empty.")
        took = clock.monotonic_us() - job.arrived_us
        context.log(f"{number}: {computed} tokens in {took // 1000} ms")
        tokens.append(computed)
        slowest = max(slowest, took)
    return Answered(tokens=tuple(tokens), slowest_us=slowest)


async def conclude(context: Context) -> str:
    """The outcome as a sentence."""
    answered = msgspec.convert(msgspec.to_builtins(context.results["ask"]), Answered)
    count, slowest = len(answered.tokens), answered.slowest_us / 1_000_000
    return f"All {count} smoke requests were answered, the slowest in {slowest:.2f} s."


KIND: Final = kinds.Kind(
    (kinds.Step("render", render), kinds.Step("ask", ask), kinds.Step("conclude", conclude))
)


def _input(release: Release, own: tuple[Message, ...], prompt: str) -> Input:
    """The input of a request: a conversation, or for other tasks the prompt's text."""
    task = "text" if release.engine is None else release.engine.task
    if task == "embedding":
        return Embed(((prompt,),))
    if task == "reranking":
        return Rerank("What does the box answer?", (prompt,))
    return Chat((*own, Message("user", prompt)))


def _variables(version: PromptVersion) -> dict[str, object]:
    """A value for each variable without a default."""
    return {
        each.name: _SAMPLES[each.type]
        for each in version.variables
        if each.required and each.default is None
    }


async def _release(context: Context) -> Release:
    number = context.job.arguments.get("release")
    if not isinstance(number, int):
        raise Refused("The job names no release.")
    try:
        async with context.store.read() as s:
            return await releases.get(s, number)
    except errors.NotFound as error:
        raise Refused(str(error)) from error


def _job(release: Release, input: Input, at_us: int) -> Job:
    return Job(
        id=f"req_{secrets.token_hex(12)}",
        at_us=at_us,
        arrived_us=clock.monotonic_us(),
        endpoint="smoke",
        service=SERVICE,
        release=release,
        input=input,
        sampling=plan.sampling(Options(max_tokens=MAX_TOKENS), release, new_seed=1),
        max_tokens=min(MAX_TOKENS, release.limits.max_tokens_cap or MAX_TOKENS),
        class_=Class.BACKGROUND,
        key_id=0,
        tenant="paddock",
        queue_us=DEADLINE_US,
    )
