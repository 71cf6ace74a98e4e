"""One request as it was known at a past moment. Imported by `app`."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from storage import errors, requests
from storage.requests import Feedback, Request


async def find(s: AsyncSession, id: str, at_us: int) -> Request:
    """By the beginning of any id that the box gave out.

    Raises:
        NotFound: there is no such request, or it had not ended: it is recorded at its end.
    """
    known = await requests.beginning(s, id)
    if known.at_us + known.latency_us > at_us:
        raise errors.NotFound(f"Request {known.id} had not ended then.")
    return known


async def feedback_of(s: AsyncSession, id: str, at_us: int) -> list[Feedback]:
    """What clients had said of the answer, oldest first."""
    return [each for each in await requests.feedback_of(s, id) if each.at_us <= at_us]
