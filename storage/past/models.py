"""Model versions and aliases as they were at a past moment, by the ledger. Imported by `app`."""

from __future__ import annotations

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from storage import errors, model_aliases, models
from storage.model_aliases import Alias
from storage.models import ModelVersion, Status
from storage.past import entries


async def every(s: AsyncSession, at_us: int) -> list[ModelVersion]:
    """The versions that there were, by model and from low to high, also those removed by then.

    Their lineage, the paths of their files and their checks are the current ones.
    """
    known = [each for each in await models.every(s) if each.created_at_us <= at_us]
    keys = [str(each.id) for each in known]
    moved = {
        entry.key: Status(entry.after)
        for entry in await entries.last(s, "model", at_us, keys=keys)
        if entry.after in set(Status)
    }
    return [
        msgspec.structs.replace(
            each,
            status=moved.get(str(each.id), Status.REGISTERED),
            status_reason=each.status_reason if moved.get(str(each.id)) is each.status else None,
        )
        for each in known
    ]


async def find(s: AsyncSession, name: str, at_us: int) -> ModelVersion:
    """By `ops@1.1.0`, by an alias then (`ops@champion`), or by `ops`: its highest version.

    Raises:
        NotFound: there was none.
    """
    known = await every(s, at_us)
    model, _, at = name.partition("@")
    of = [each for each in known if each.model == model]
    if at in {"", model_aliases.LATEST}:
        fitting = [each for each in of if each.status is not Status.REMOVED][-1:]
    else:
        pointed = {
            each.version_id
            for each in await aliases(s, at_us)
            if (each.model, each.alias) == (model, at)
        }
        fitting = [each for each in of if each.id in pointed or each.name == name]
    if not fitting:
        raise errors.unknown("model", name, [each.name for each in known])
    return fitting[0]


async def aliases(s: AsyncSession, at_us: int) -> list[Alias]:
    """The aliases and where each pointed, by model and name."""
    found = []
    for entry in await entries.last(s, "model", at_us, verbs=["models.alias", "models.unalias"]):
        if isinstance(entry.after, int):
            model, _, alias = entry.key.partition("@")
            found.append(
                Alias(
                    model=model, alias=alias, version_id=entry.after, set_at_us=entry.at_us,
                    set_by=entry.actor,
                )
            )  # fmt: skip
    return sorted(found, key=lambda each: (each.model, each.alias))
