"""Releases: what answers, put together from versions and settings.

Imported by `engine.control.verbs`.
"""

from __future__ import annotations

from engine.control.decisions import Decision, Reason
from storage import models, prompts, releases
from storage.control_socket import verbs
from storage.intents import Intent
from storage.models import ModelVersion, Standing
from storage.releases import Engine
from storage.store import Session


async def create(s: Session, intent: Intent, wish: verbs.ReleasesCreate, at_us: int) -> Decision:
    """The release with this content; it exists once, whoever asks for it."""
    model = await models.find(s, wish.model)
    base = None if model.base_id is None else await models.get(s, model.base_id)
    prompt = None if wish.prompt is None else await prompts.find(s, wish.prompt)
    decision = decide(model, base, wish.engine)
    if decision.plan is None:
        return decision
    known = {release.sha256 for release in await releases.every(s)}
    release = await releases.create(
        s,
        model_version=model,
        base=base,
        prompt_version=prompt,
        sampling=wish.sampling,
        limits=wish.limits,
        engine=wish.engine,
        comment=wish.comment,
        actor=intent.actor,
        at_us=at_us,
        intent_id=intent.id,
    )
    said = f"{release.name} is {model.name}"
    said += "" if prompt is None else f" with the prompt {prompt.name}"
    if release.sha256 in known:
        return Decision(Reason.UNCHANGED, f"{said}; it was there already.", release)
    return Decision(Reason.APPLIED, f"{said}.", release)


def decide(model: ModelVersion, base: ModelVersion | None, engine: Engine) -> Decision:
    """Whether these versions can answer with these engine settings."""
    weights = base or model
    for each in (model, weights):
        if each.standing is Standing.UNLOADABLE:
            reason = (each.standing_reason or "no reason was given").rstrip(".")
            return Decision(Reason.UNLOADABLE, f"{each.name} cannot be loaded ({reason}).")
    if engine.context_tokens > weights.context_tokens:
        return Decision(
            Reason.INVALID,
            f"{weights.name} was made for {weights.context_tokens} tokens of context; "
            f"engine.context_tokens is {engine.context_tokens}.",
        )
    return Decision(Reason.APPLIED, f"{model.name} can answer.", engine)
