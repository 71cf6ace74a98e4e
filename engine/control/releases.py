"""Releases: what answers, put together from versions and settings.

Imported by `engine.control.handlers`.
"""

from __future__ import annotations

from typing import Final

from engine.control import devices, loadable, memory
from engine.control.decisions import Decision, Reason
from engine.control.handlers import handles
from engine.node import placement
from storage import (
    held_releases,
    jobs,
    models,
    prompt_labels,
    prompts,
    release_tasks,
    releases,
    retired_releases,
    rollouts,
    services,
    upstreams,
)
from storage.control_socket import verbs
from storage.intents import Intent
from storage.keys import Role
from storage.models import ModelVersion, Status
from storage.prompts import PromptVersion
from storage.releases import Engine, Release, Sampling, Server
from storage.rollouts import OPEN
from storage.services import WHOLE_BP, Arm
from storage.store import Session

_LEAST_REPETITION: Final = 0.01
"""As in requests. Releases of earlier versions may have less."""


@handles("releases.create")
async def create(
    s: Session, intent: Intent, arguments: verbs.releases.Create, at_us: int
) -> Decision:
    """Create the release, or find the one with the same content."""
    model = None if arguments.model is None else await models.find(s, arguments.model)
    base = None if model is None or model.base_id is None else await models.get(s, model.base_id)
    prompt = None if arguments.prompt is None else await prompts.find(s, arguments.prompt)
    follows = prompt_labels.followed(arguments.prompt) if arguments.follow else None
    engine = arguments.engine
    if engine is None and arguments.upstream is None and arguments.server is None:
        engine = Engine()
    if engine is not None and model is not None:
        engine = release_tasks.resolved(model, base, engine)
    if model is not None and (refusal := refuse(model, base, engine)) is not None:
        return refusal
    refusal = (
        _without_prompts(engine, prompt)
        or _infinite(arguments.sampling)
        or await _missing_device(s, engine or arguments.server, at_us)
    )
    if refusal is not None:
        return refusal
    if arguments.upstream is not None:
        await upstreams.find(s, arguments.upstream.name)
    if arguments.server is not None and not Role(intent.role).may(Role.ADMIN):
        return Decision(
            Reason.INVALID,
            f"A supervised server runs a command as the node's user; that takes the role "
            f"{Role.ADMIN}, yours is {intent.role}.",
        )
    newest = await releases.newest(s)
    release = await releases.create(
        s,
        model_version=model,
        base=base,
        prompt_version=prompt,
        follows=follows,
        sampling=arguments.sampling,
        limits=arguments.limits,
        engine=engine,
        upstream=arguments.upstream,
        server=arguments.server,
        comment=arguments.comment,
        actor=intent.actor,
        at_us=at_us,
        intent_id=intent.id,
    )
    sentence = f"{release.name} is {_answering(release, model)}"
    if engine is not None and engine.task != "text":
        sentence += f" for {engine.task}"
    sentence += "" if prompt is None else f" with the prompt {prompt.name}"
    sentence += "" if follows is None else f", following {follows}"
    if release.number in await retired_releases.every(s):
        advice = f"`paddock releases unretire {release.name}` brings it back"
        return Decision(Reason.UNCHANGED, f"{sentence}; it is retired, and {advice}.", release)
    if release.number <= newest:
        return Decision(Reason.UNCHANGED, f"{sentence}; it existed already.", release)
    return Decision(Reason.APPLIED, f"{sentence}.", release)


@handles("releases.smoke")
async def smoke(s: Session, intent: Intent, _arguments: verbs.NoArguments, at_us: int) -> Decision:
    """Queue the job, which ends the intent; the release is loaded for as long as it takes."""
    release = await releases.find(s, intent.target)
    arms = (Arm(release=release.number, weight_bp=WHOLE_BP),)
    if refusal := loadable.refuse(arms, await loadable.broken(s, arms)):
        return refusal
    if refusal := await memory.refuse(s, arms, at_us):
        return refusal
    job = await jobs.add(
        s,
        kind=held_releases.SMOKE,
        target=release.name,
        arguments={"release": release.number},
        actor=intent.actor,
        intent_id=intent.id,
        at_us=at_us,
        max_failures=10,
    )
    return Decision(Reason.QUEUED, f"Job {job.id} is queued.", job)


@handles("releases.retire")
async def retire(s: Session, intent: Intent, _arguments: verbs.NoArguments, at_us: int) -> Decision:
    """Retire a release that no split, rollout or A/B test names."""
    release = await releases.find(s, intent.target)
    if release.number in await retired_releases.every(s):
        return Decision(Reason.UNCHANGED, f"{release.name} is retired; no change.", release)
    if (used := await _used(s, release)) is not None:
        return Decision(Reason.IN_USE, f"{release.name} cannot be retired: {used}.")
    await retired_releases.add(
        s, release, actor=intent.actor, reason=intent.reason, at_us=at_us, intent_id=intent.id
    )
    said = f"Retired {release.name}; `paddock releases unretire {release.name}` brings it back."
    return Decision(Reason.APPLIED, said, release)


@handles("releases.unretire")
async def unretire(
    s: Session, intent: Intent, _arguments: verbs.NoArguments, at_us: int
) -> Decision:
    """Bring a retired release back."""
    release = await releases.find(s, intent.target)
    if release.number not in await retired_releases.every(s):
        return Decision(Reason.UNCHANGED, f"{release.name} is not retired; no change.", release)
    await retired_releases.remove(s, release, actor=intent.actor, at_us=at_us, intent_id=intent.id)
    return Decision(Reason.APPLIED, f"{release.name} can get traffic again.", release)


async def _used(s: Session, release: Release) -> str | None:
    """What names a release now, as a clause; None if nothing does."""
    for rollout in await rollouts.to_do(s):
        if rollout.state in OPEN and release.number in {rollout.stable, rollout.candidate}:
            return f"rollout {rollout.id} of {rollout.service} is between it and another; abort it"
    for service in await services.every(s):
        if release.number in {arm.release for arm in service.split.arms}:
            owner = "" if service.owner is None else f", which {service.owner.name} owns"
            return f"the split of {service.name}{owner} names it; take it out of that first"
    if release.number in await held_releases.every(s):
        return "a replay or a smoke holds it; `paddock jobs list` names the job, cancel it first"
    return None


async def _missing_device(
    s: Session, settings: Engine | Server | None, at_us: int
) -> Decision | None:
    """Why the devices that the settings name cannot be used; None if they can or are unknown."""
    present = await devices.gpus(s, at_us)
    if settings is None or settings.devices is None or present is None:
        return None
    try:
        placement.check(settings.devices, present)
    except placement.NotThere as error:
        return Decision(Reason.INVALID, f"The release cannot run here: {error}.")
    return None


def _without_prompts(engine: Engine | None, prompt: PromptVersion | None) -> Decision | None:
    """Refuse a prompt for a release that does not generate text."""
    if engine is None or engine.task == "text" or prompt is None:
        return None
    sentence = f"A release for {engine.task} adds nothing to its inputs; leave out the prompt."
    return Decision(Reason.INVALID, sentence)


def _infinite(sampling: Sampling) -> Decision | None:
    """Refuse a penalty that would make logits infinite."""
    penalty = sampling.repetition_penalty
    if penalty >= _LEAST_REPETITION:
        return None
    return Decision(
        Reason.INVALID,
        f"A repetition penalty of {penalty:g} would make logits infinite; give "
        f"{_LEAST_REPETITION} at least, or 1, which changes nothing.",
    )


def refuse(
    model: ModelVersion, base: ModelVersion | None, engine: Engine | None
) -> Decision | None:
    """Why these versions cannot answer with these engine settings; None when they can."""
    weights = base or model
    for each in (model, weights):
        if each.status is Status.REMOVED:
            return Decision(Reason.UNLOADABLE, f"{each.name} was removed; add its file again.")
        if each.status is Status.UNLOADABLE:
            reason = (each.status_reason or "no reason was given").rstrip(".")
            return Decision(Reason.UNLOADABLE, f"{each.name} cannot be loaded ({reason}).")
    pooled = engine is not None and engine.task != "text"
    unable = (
        release_tasks.unfit(model, base, engine)
        if engine is not None and pooled
        else _unable_to_chat(model, weights)
    )
    if unable is not None:
        return Decision(Reason.UNFIT, f"{model.name} cannot answer: {unable}.")
    if engine is not None and engine.context_tokens > weights.context_tokens:
        return Decision(
            Reason.INVALID,
            f"{weights.name} was trained for {weights.context_tokens} tokens of context; "
            f"engine.context_tokens is {engine.context_tokens}.",
        )
    if engine is not None and not pooled and weights.memory is not None:
        impossible = weights.memory.impossible.get(engine.kv_cache_type)
        if impossible is not None:
            return Decision(
                Reason.INVALID,
                f"{weights.name} cannot have a KV cache of type {engine.kv_cache_type}; use "
                f"--kv-cache-type f16. libllama says: {impossible.rstrip('.')}.",
            )
    return None


def _unable_to_chat(model: ModelVersion, weights: ModelVersion) -> str | None:
    """Why the version cannot chat, by its own chat template or else by its weights'."""
    if weights.checks.no_text:
        return weights.checks.no_text
    return (model if model.checks.chat is not None else weights).checks.unable_to_chat


def _answering(release: Release, model: ModelVersion | None) -> str:
    if release.upstream is not None:
        return f"{release.upstream.model} on upstream {release.upstream.name}"
    if release.server is not None:
        return f"{release.server.model} on a supervised server"
    return model.name if model is not None else release.deployment
