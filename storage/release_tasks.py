"""What a release computes, by its settings and by what the model's file is made for.

A file that is made for embeddings or for reranking is served as that; one that is made for text may
be served for embeddings where a release says how to pool. The releases of a split compute the same.
Imported by `engine.control`, `app` and by what keeps manifests and splits.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from storage import errors, releases
from storage.model_checks import Task
from storage.models import Kind, ModelVersion
from storage.releases import Engine, Release

_DEFAULT: Final = Engine()
_EMBEDDING: Final = frozenset({"mean", "cls", "last"})


def resolved(model: ModelVersion, base: ModelVersion | None, engine: Engine) -> Engine:
    """The settings with the task of the model; its context where the default is larger."""
    weights = base or model
    task = engine.task
    if task == _DEFAULT.task and model.kind is Kind.WEIGHTS:
        task = weights.checks.task or task
    changes: dict[str, object] = {"task": task}
    longest = weights.context_tokens
    if task != "text" and engine.context_tokens == _DEFAULT.context_tokens > longest:
        changes["context_tokens"] = longest
    return msgspec.structs.replace(engine, **changes)


def unfit(model: ModelVersion, base: ModelVersion | None, engine: Engine) -> str | None:
    """Why the versions cannot be served with these settings for embeddings or reranking.

    None where they can, and for text.
    """
    if engine.task == "text":
        return None
    checks = model.checks
    if base is not None:
        return "it is an adapter; merge it into its base and add the weights that result"
    if checks.no_text and checks.task is None:
        return f"{checks.no_text}; add its file again if that has changed"
    if engine.task == "reranking":
        return None if checks.task == "reranking" else "its file has no classifier that ranks"
    if engine.pooling == "model" and checks.pooling not in _EMBEDDING:
        said = f"pools by {checks.pooling}" if checks.pooling else "does not say how to pool"
        return f"its file {said}; say --pooling last (usual for models that generate), mean or cls"
    return None


async def check_alike(s: AsyncSession, numbers: Iterable[int]) -> None:
    """Refuse releases of which one would refuse what another one answers.

    What a server computes is known to it alone.

    Raises:
        Invalid: they compute different things.
    """
    by_task: dict[Task, Release] = {}
    for number in numbers:
        release = await releases.get(s, number)
        if release.engine is not None:
            by_task.setdefault(release.engine.task, release)
    if len(by_task) > 1:
        said = " and ".join(f"{each.name} is for {task}" for task, each in by_task.items())
        raise errors.Invalid(f"{said}; a service answers one kind, so create one for each.")


def words(model: ModelVersion) -> str:
    """What the file is made for."""
    checks = model.checks
    match checks.task:
        case "embedding":
            width = f", {checks.dimensions} dimensions" if checks.dimensions else ""
            return f"embedding (pooled by {checks.pooling or 'nothing'}{width})"
        case "reranking":
            return "reranking"
        case "text":
            return "text"
    return "unknown: its file was added by an earlier version" if not checks.no_text else "none"
