"""Plans a `Job`: which release answers a request, with which prompt and settings.

Pure over a snapshot of the catalog: no I/O, no HTTP, no backend. Imported by `engine.gateway` and
by everything else that makes jobs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

import msgspec

from engine.execution import failures
from engine.execution.job import Asked, Chat, Embed, Input, Job, Options, Rerank, Sampling, Text
from engine.execution.snapshot import Snapshot
from engine.traffic import routing
from storage import releases, requests
from storage.home.pepper import Pepper
from storage.keys import Key
from storage.model_checks import Task
from storage.releases import Release
from storage.requests import Class
from storage.service_rows import PrefixCache
from storage.services import OwnerKind, Service

UNIT_CHARACTERS: Final = 32
"""Of the hash of a unit: 128 bits, so that no two units of a test share one."""


class Exposure(msgspec.Struct, frozen=True):
    """The A/B test whose split chose the release of a job, if one did, and the hash of its unit."""

    ab_test: int | None
    unit: str


def exposure(
    service: Service, named: str | None, pepper: Pepper, request: str = ""
) -> Exposure | None:
    """The assignment of a unit by an A/B test or a rollout, as it is recorded; None without one.

    The unit is the user or session that the client named, else the request. While a test loads its
    arms, one of them has all of the traffic, and no unit is assigned yet. The hash can be made only
    with the pepper, and is another one in each split that is salted anew.
    """
    owner, split = service.owner, service.split
    if owner is None:
        return None
    if owner.kind is OwnerKind.ROLLOUT:
        sealed = requests.UNNAMED if named is None else _sealed(split.salt, named, pepper)
        return Exposure(None, sealed)
    if sum(arm.weight_bp > 0 for arm in split.arms) < 2:  # noqa: PLR2004
        return None
    return Exposure(int(owner.id), _sealed(split.salt, named or request, pepper))


def _sealed(salt: str, unit: str, pepper: Pepper) -> str:
    salted = f"{salt}\0{unit}".encode("utf-8", "surrogatepass")
    return pepper.seal(hashlib.sha256(salted).hexdigest())[:UNIT_CHARACTERS]


def release(snapshot: Snapshot, service: Service, unit: str) -> Release:
    """The arm of the service's split for a unit (a user, a session, a request).

    Raises:
        failures.Unavailable: no arm has weight, or its release is not known yet.
    """
    split = service.split
    try:
        return snapshot.releases[routing.assign(split.ranges, split.salt, unit).release]
    except (routing.NoArm, KeyError) as error:
        raise failures.Unavailable(
            f"service {service.name} has no release that can answer", code="no_release"
        ) from error


def job(
    *,
    id: str,
    at_us: int,
    arrived_us: int,
    endpoint: str,
    service: Service,
    release: Release,
    key: Key,
    input: Input,
    options: Options,
    new_seed: int,
    class_: Class = Class.INTERACTIVE,
    stream: bool = False,
    via: tuple[str, ...] = (),
    exposure: Exposure | None = None,
) -> Job:
    """The job as the caller wrote it, without the release's prompt.

    `new_seed` is used where neither the caller nor the release sets one.
    """
    return Job(
        id=id,
        at_us=at_us,
        arrived_us=arrived_us,
        endpoint=endpoint,
        service=service.name,
        release=release,
        input=input,
        sampling=sampling(options, release, new_seed),
        max_tokens=max_tokens(options, release.limits),
        stop=options.stop,
        n=options.n,
        logprobs=options.logprobs,
        thinking_budget=options.thinking_budget,
        constraint=options.constraint,
        class_=class_,
        key_id=key.id,
        tenant=key.tenant,
        synthetic=key.synthetic,
        stream=stream,
        queue_us=int(release.limits.queue_s * 1e6),
        record_text=service.record_text,
        echo=options.echo,
        prompt_logprobs=options.prompt_logprobs,
        token_ids=options.token_ids,
        cache_scope=f"tenant:{key.tenant}" if service.prefix_cache is PrefixCache.TENANT else "",
        asked=Asked(input=input, options=options) if service.record_text else None,
        via=via,
        ab_test=None if exposure is None else exposure.ab_test,
        unit=None if exposure is None else exposure.unit,
    )


def check_task(release: Release, input: Input) -> None:
    """Refuse what the release does not compute; what a server computes it says itself.

    Raises:
        failures.Invalid: it computes something else.
    """
    if release.engine is None:
        return
    wanted = _TASKS[type(input)]
    if wanted != (task := release.engine.task):
        raise failures.Invalid(
            f"release {release.name} {_DOES[task]}, and this asks for {_WANTED[wanted]}; send it "
            f"to {_PATHS[task]}, or name a service whose release {_DOES[wanted]}",
            code="unsupported_task",
            param="model",
        )


_TASKS: Final[Mapping[type[Input], Task]] = {
    Chat: "text", Text: "text", Embed: "embedding", Rerank: "reranking",
}  # fmt: skip
_DOES: Final[Mapping[Task, str]] = {
    "text": "generates text", "embedding": "makes embeddings", "reranking": "reranks documents",
}  # fmt: skip
_WANTED: Final[Mapping[Task, str]] = {
    "text": "text", "embedding": "embeddings", "reranking": "a reranking",
}  # fmt: skip
_PATHS: Final[Mapping[Task, str]] = {  # without their first slash, or they read as paths of files
    "text": "v1/chat/completions", "embedding": "v1/embeddings", "reranking": "v1/rerank",
}  # fmt: skip


def max_tokens(options: Options, limits: releases.Limits) -> int:
    """The most completion tokens of each choice."""
    asked = limits.max_tokens if options.max_tokens is None else options.max_tokens
    return min(asked, limits.max_tokens_cap or asked)


def sampling(options: Options, release: Release, new_seed: int) -> Sampling:
    """How tokens are sampled; `new_seed` where neither the caller nor the release sets one."""
    own, limits = release.sampling, release.limits
    seed = own.seed if options.seed is None else options.seed
    return Sampling(
        temperature=own.temperature if options.temperature is None else options.temperature,
        top_k=own.top_k if options.top_k is None else options.top_k,
        top_p=own.top_p if options.top_p is None else options.top_p,
        min_p=own.min_p if options.min_p is None else options.min_p,
        seed=new_seed if seed is None else seed,
        repetition_penalty=_chosen(options.repetition_penalty, own.repetition_penalty),
        frequency_penalty=_chosen(options.frequency_penalty, own.frequency_penalty),
        presence_penalty=_chosen(options.presence_penalty, own.presence_penalty),
        repeat_last_n=own.repeat_last_n if options.repeat_last_n is None else options.repeat_last_n,
        min_tokens=min_tokens(options, own, limits),
        logit_bias=options.logit_bias,
        ignore_eos=options.ignore_eos,
    )


def min_tokens(options: Options, own: releases.Sampling, limits: releases.Limits) -> int:
    """The least completion tokens; the release's own least yields to the caller's most."""
    if options.min_tokens is None:
        return min(own.min_tokens, max_tokens(options, limits))
    return options.min_tokens


def _chosen(asked: float | None, own: float) -> float:
    return own if asked is None else asked
