"""Plans a recorded request again, for another release or the same one.

The caller's input, variables, seed and explicit settings stay; what the caller left open is the
release's own, as it would be in traffic. Pure. Imported by the jobs of replays.
"""

from __future__ import annotations

from typing import Final

import msgspec

from engine.execution import plan
from engine.execution.job import Asked, Job, Message, Prompt
from engine.prompting import prompt_template
from storage.releases import Release
from storage.requests import Class

SERVICE: Final = "(replay)"
"""What replays are recorded under: no service can have this name, so they are in no figures."""
QUEUE_US: Final = 600_000_000


class Unreadable(Exception):
    """The request cannot be asked again as it was recorded."""


def read(asked: str) -> Asked:
    """The request as its caller wrote it, from its JSON.

    Raises:
        Unreadable: another version of Paddock wrote it, or it did not ask for text.
    """
    try:
        read = msgspec.json.decode(asked, type=Asked)
    except msgspec.MsgspecError as error:
        raise Unreadable(f"its recording cannot be read by this version: {error}") from error
    if not isinstance(read.input, Prompt):
        raise Unreadable("it asked for embeddings or a reranking, and only texts are compared")
    return read


def job(
    asked: Asked,
    release: Release,
    prompt: tuple[Message, ...],
    *,
    id: str,
    seed: int,
    at_us: int,
    arrived_us: int,
) -> Job:
    """The job in class background; `prompt` is the release's, rendered for `asked.variables`.

    `seed` is the one that was recorded, which the caller may not have chosen.
    """
    return Job(
        id=id,
        at_us=at_us,
        arrived_us=arrived_us,
        endpoint="replay",
        service=SERVICE,
        release=release,
        input=prompt_template.prompted(prompt, asked.input),
        prompt=prompt,
        sampling=plan.sampling(msgspec.structs.replace(asked.options, seed=seed), release, seed),
        max_tokens=plan.max_tokens(asked.options, release.limits),
        thinking_budget=asked.options.thinking_budget,
        stop=asked.options.stop,
        n=asked.options.n,
        constraint=asked.options.constraint,
        class_=Class.BACKGROUND,
        key_id=0,
        tenant="paddock",
        queue_us=QUEUE_US,
    )
