"""The releases that open jobs need loaded, whether a split names them or not.

A replay holds the release that it asks, a smoke its own. They let go when the job ends, however it
ends. Read by the node, which loads them, and the gateway, which connects to them.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from storage import jobs, replays

SMOKE: Final = "smoke_release"
"""The kind of the jobs that smoke a release."""


async def every(s: AsyncSession) -> frozenset[int]:
    """Their numbers."""
    smoked = [job.arguments.get("release") for job in await jobs.unfinished(s) if job.kind == SMOKE]
    return await replays.held(s) | {each for each in smoked if isinstance(each, int)}
