"""How long a request may wait for a template, the model's or a prompt's.

Imported by `engine.backends.translation` and `engine.execution.prompts`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from engine.execution import failures

_RETRY_US: Final = 1_000_000


@contextlib.asynccontextmanager
async def rendered(what: str, within_s: float) -> AsyncIterator[None]:
    """The body renders `what`, a noun with its article, within so many seconds.

    Raises:
        failures.Unavailable: it did not.
    """
    try:
        async with asyncio.timeout(within_s):
            yield
    except TimeoutError as error:
        raise failures.Unavailable(
            f"{what} was not rendered within {within_s:g} s",
            code="deadline",
            retry_after_us=_RETRY_US,
        ) from error
