"""The standing of model versions: marked unloadable when their file is at fault, and put back.

Never opens a file and never decides whose fault it is. Read by `engine.control` and the node,
written by both: the node marks, control puts back.
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from storage import models, moves
from storage.models import MOVES, ModelRow, ModelVersion, Standing


async def loaded_as(s: AsyncSession, weights: int, lane: str) -> list[ModelVersion]:
    """The versions that a worker of these weights loads as a lane; "" is the weights themselves."""
    if not lane:
        return [await models.get(s, weights)]
    return [
        each
        for each in await models.every(s)
        if each.base_id == weights and each.sha256.startswith(lane)
    ]


async def mark_unloadable(s: AsyncSession, id: int, reason: str, at_us: int) -> None:
    """Say that workers cannot load it; saying it again changes nothing."""
    if (await models.get(s, id)).standing is Standing.UNLOADABLE:
        return
    await moves.move(
        s, MOVES, ModelRow, id, Standing.REGISTERED, Standing.UNLOADABLE,
        actor="node", at_us=at_us, changes={"standing_reason": reason},
    )  # fmt: skip


async def unloadable(
    s: AsyncSession, *, name: str, sha256: str, base_id: int | None
) -> ModelVersion | None:
    """The version of this name, if it is this very file and cannot be loaded; else None."""
    for each in await models.every(s):
        same = (each.name, each.sha256, each.base_id) == (name, sha256, base_id)
        if same and each.standing is Standing.UNLOADABLE:
            return each
    return None


async def put_back(
    s: AsyncSession,
    id: int,
    *,
    path: str,
    size_bytes: int,
    mtime_ns: int,
    actor: str,
    at_us: int,
    intent_id: int | None = None,
) -> ModelVersion:
    """Let a version be tried again whose file, read anew at `path`, is the one registered.

    Raises:
        Moved: it is not unloadable.
    """
    await moves.move(
        s, MOVES, ModelRow, id, Standing.UNLOADABLE, Standing.REGISTERED,
        actor=actor, verb="models.add", at_us=at_us, intent_id=intent_id,
        changes={
            "standing_reason": None, "path": path, "size_bytes": size_bytes, "mtime_ns": mtime_ns,
        },
    )  # fmt: skip
    return await models.get(s, id)
