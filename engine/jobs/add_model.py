"""The job behind `models add`: download files if needed, inspect, measure, hash, register them.

A version is one file, or the parts of a split model. Local files are registered at their own path;
downloaded ones are moved to `models/<SHA-256>/` in the transaction that registers the version.
Imported by `engine.jobs.kinds`, by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from engine.jobs import (
    kept_models,
    kinds,
    model_downloads,
    model_hashing,
    model_inspection,
    model_sources,
)
from engine.jobs.context import Context
from engine.jobs.errors import Refused
from engine.jobs.model_hashing import Hashed
from engine.jobs.model_inspection import Inspected
from engine.registry import dry_load, registration
from engine.registry.registration import File
from storage import errors, models
from storage.model_files import ModelFile
from storage.model_memory import Memory
from storage.models import Kind, ModelVersion
from storage.store import Session


async def measure(context: Context) -> Memory | None:
    """What loading the weights would take; None for an adapter, and where it cannot be found."""
    if model_sources.result(context, "inspect", Inspected).facts.kind is not Kind.WEIGHTS:
        return None
    try:
        return await dry_load.measure(*model_sources.paths(context))
    except dry_load.Unmeasured as error:
        context.log(f"What a load takes could not be measured: {error}.")
        return None


async def register(context: Context) -> kinds.Effect:
    """Put downloaded files in their place and register the version."""
    asked, found = model_sources.asked_of(context), model_sources.located(context)
    inspected = model_sources.result(context, "inspect", Inspected)
    hashed: Hashed = model_sources.result(context, "hash", Hashed)
    here = model_sources.paths(context)
    there = here
    if not found.local:
        names = [each.file_name for each in found.files]
        there = [kept_models.path(context.home, hashed.sha256, name) for name in names]
    pairs = zip(there, hashed.files, strict=True)
    files = tuple(
        ModelFile(path=str(path), sha256=each.sha256, **each.identity._asdict())
        for path, each in pairs
    )

    async def effect(s: Session) -> str:
        kept = None if found.local else await _kept(s, [str(path) for path in there])
        file = File(
            sha256=hashed.sha256,
            files=files if kept is None else kept.files,
            source=found.address,
        )
        try:
            outcome = await registration.register(
                s,
                asked,
                file,
                inspected.facts,
                inspected.checks,
                model_sources.result(context, "measure", Memory | None),
                actor=context.job.actor,
                at_us=context.now_us(),
                intent_id=context.job.intent_id,
            )
        except (
            registration.Unfit, errors.NotFound, errors.AlreadyExists, errors.Invalid,
        ) as error:  # fmt: skip
            raise Refused(str(error)) from error
        if not found.local and kept is None:
            for part, path in zip(here, there, strict=True):
                kept_models.keep(part, path)
        return outcome

    return effect


async def _kept(s: Session, paths: Sequence[str]) -> ModelVersion | None:
    """A version whose files are kept there and have not changed since it was registered."""
    for version in await models.every(s):
        if [each.path for each in version.files] == [*paths] and all(
            kept_models.unchanged(Path(each.path), each.size_bytes, each.mtime_ns)
            for each in version.files
        ):
            return version
    return None


KIND: Final = kinds.Kind(
    (
        kinds.Step("locate", model_sources.locate),
        kinds.Step("fetch", model_downloads.fetch),
        kinds.Step("inspect", model_inspection.inspect),
        kinds.Step("measure", measure),
        kinds.Step("hash", model_hashing.hash),
        kinds.Step("register", register),
    )
)
