"""Models: aliases that move, lineage, and the jobs that add versions.

Adding is the work of a job, because a file may take hours to fetch and to hash. Imported by
`engine.control.handlers`.
"""

from __future__ import annotations

from engine.control.decisions import Decision, Reason
from engine.control.handlers import handles
from storage import jobs, model_aliases, models
from storage.control_socket import verbs
from storage.intents import Intent
from storage.models import Lineage
from storage.store import Session


@handles("models.add")
async def add(s: Session, intent: Intent, arguments: verbs.ModelsAdd, at_us: int) -> Decision:
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
async def alias(s: Session, intent: Intent, arguments: verbs.ModelsAlias, at_us: int) -> Decision:
    """Point an alias at a version; `expected_version` is the id it points at, 0 for none.

    Releases name versions, never aliases: what is served does not change by this.
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
    s: Session, intent: Intent, arguments: verbs.ModelsUnalias, at_us: int
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
async def trace(s: Session, intent: Intent, arguments: verbs.ModelsTrace, at_us: int) -> Decision:
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
