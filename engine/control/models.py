"""Models: aliases that move, lineage, removal, and the jobs that add versions and free files.

Adding is the work of a job, because a file may take hours to fetch and to hash. Imported by
`engine.control.handlers`.
"""

from __future__ import annotations

from engine.control.decisions import Decision, Reason
from engine.control.handlers import handles
from storage import jobs, model_aliases, models, releases, unused_models
from storage.control_socket import verbs
from storage.intents import Intent
from storage.jobs import Job
from storage.models import Lineage, ModelVersion, Status
from storage.store import Session


@handles("models.add")
async def add(s: Session, intent: Intent, arguments: verbs.models.Add, at_us: int) -> Decision:
    """Queue the job, which ends the intent when it ends."""
    job = await jobs.add(
        s,
        kind="add_model",
        target=f"{arguments.model}@{arguments.version}",
        arguments=intent.arguments,
        actor=intent.actor,
        intent_id=intent.id,
        at_us=at_us,
    )
    return Decision(Reason.QUEUED, f"Job {job.id} is queued.", job)


@handles("models.alias")
async def alias(s: Session, intent: Intent, arguments: verbs.models.Alias, at_us: int) -> Decision:
    """Point an alias at a version; `expected_version` is the id it points at, 0 for none.

    Releases name versions, never aliases, so this changes nothing that is served.
    """
    model, name = intent.target, f"{intent.target}@{arguments.alias}"
    version = await models.find(s, f"{model}@{arguments.version}")
    known = await model_aliases.find(s, model, arguments.alias)
    before = None if known is None else await models.get(s, known.version_id)
    if intent.expected_version not in {None, 0 if before is None else before.id}:
        was = "nothing" if before is None else before.name
        return Decision(Reason.MOVED, f"{name} changed since you looked: it is {was}. Look again.")
    if before is not None and before.id == version.id:
        return Decision(Reason.UNCHANGED, f"{name} is {version.name}; no change.", version)
    await model_aliases.point(
        s,
        model,
        arguments.alias,
        version.id,
        actor=intent.actor,
        at_us=at_us,
        intent_id=intent.id,
    )
    was = "" if before is None else f" (before: {before.name})"
    said = f"{name} is {version.name}{was}. Releases keep the version that they were created with."
    return Decision(Reason.APPLIED, said, version)


@handles("models.unalias")
async def unalias(
    s: Session, intent: Intent, arguments: verbs.models.Unalias, at_us: int
) -> Decision:
    """Remove an alias."""
    name = f"{intent.target}@{arguments.alias}"
    if arguments.alias == model_aliases.LATEST:
        return Decision(Reason.INVALID, "`latest` is the highest version and cannot be removed.")
    await model_aliases.remove(
        s, intent.target, arguments.alias, actor=intent.actor, at_us=at_us, intent_id=intent.id
    )
    return Decision(Reason.APPLIED, f"Removed the alias {name}.", name)


@handles("models.trace")
async def trace(s: Session, intent: Intent, arguments: verbs.models.Trace, at_us: int) -> Decision:
    """Record the parent, the dataset and the training run of a version."""
    version = await models.find(s, intent.target)
    parent = None if arguments.parent is None else await models.find(s, arguments.parent)
    lineage = Lineage(
        parent_id=None if parent is None else parent.id,
        dataset=arguments.dataset,
        run=arguments.run,
    )
    if lineage == version.lineage:
        return Decision(
            Reason.UNCHANGED, f"The lineage of {version.name} is recorded so; no change.", version
        )
    after = await models.trace(
        s, version.id, lineage, actor=intent.actor, at_us=at_us, intent_id=intent.id
    )
    return Decision(Reason.APPLIED, f"Recorded the lineage of {after.name}.", after)


@handles("models.export")
async def export(
    s: Session, intent: Intent, arguments: verbs.models.Export, at_us: int
) -> Decision:
    """Queue the job, which ends the intent when it ends."""
    version = await models.find(s, intent.target)
    job = await jobs.add(
        s,
        kind="export_model",
        target=version.name,
        arguments={"to": arguments.to},
        actor=intent.actor,
        intent_id=intent.id,
        at_us=at_us,
    )
    return Decision(Reason.QUEUED, f"Job {job.id} is queued.", job)


@handles("models.remove")
async def remove(s: Session, intent: Intent, _arguments: verbs.NoArguments, at_us: int) -> Decision:
    """Take a version out of use, and queue the job that deletes its downloaded file."""
    version = await models.find(s, intent.target)
    if version.status is Status.REMOVED:
        return Decision(Reason.UNCHANGED, f"{version.name} is removed; no change.", version)
    if (needed := await _needed_by(s, version)) is not None:
        return Decision(Reason.IN_USE, f"{version.name} is needed: {needed}.")
    await models.remove(s, version.id, actor=intent.actor, at_us=at_us, intent_id=intent.id)
    if version.source is None:
        said = f"Removed {version.name}; its file {version.path} is yours and stays."
        return Decision(Reason.APPLIED, said, version)
    job = await _free(s, intent, {"sha256": [version.sha256]}, at_us, intent_id=None)
    said = f"Removed {version.name}; job {job.id} deletes its file."
    return Decision(Reason.APPLIED, said, version)


@handles("models.gc")
async def gc(s: Session, intent: Intent, arguments: verbs.models.Gc, at_us: int) -> Decision:
    """Queue the job that deletes what nothing needs, which ends the intent when it ends."""
    for version in await unused_models.spare(s) if arguments.unused else []:
        await models.remove(s, version.id, actor=intent.actor, at_us=at_us, intent_id=intent.id)
    job = await _free(s, intent, {}, at_us, intent_id=intent.id)
    return Decision(Reason.QUEUED, f"Job {job.id} is queued.", job)


async def _free(
    s: Session,
    intent: Intent,
    arguments: dict[str, object],
    at_us: int,
    *,
    intent_id: int | None,
) -> Job:
    return await jobs.add(
        s,
        kind="free_models",
        target="models",
        arguments=arguments,
        actor=intent.actor,
        intent_id=intent_id,
        at_us=at_us,
    )


async def _needed_by(s: Session, version: ModelVersion) -> str | None:
    """What keeps a version from being removed, as a clause; None if nothing does."""
    named = [each.name for each in await releases.every(s) if each.model_version_id == version.id]
    if named:
        return f"{', '.join(named)} answers with it, and releases never change"
    adapters = [
        each.name
        for each in await models.every(s)
        if each.base_id == version.id and each.status is not Status.REMOVED
    ]
    if adapters:
        return f"it is the base of {', '.join(adapters)}; remove that first"
    pointing = [each for each in await model_aliases.every(s) if each.version_id == version.id]
    if pointing:
        return (
            f"the alias {version.model}@{pointing[0].alias} points at it; move or remove it first"
        )
    return None
