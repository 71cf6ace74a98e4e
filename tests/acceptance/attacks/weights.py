"""A model file that is overwritten while it is served."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

from tests.acceptance.attacks import attack
from tests.acceptance.attacks.attack import Target, open_connection, post, status

SERVICE: Final = "fragile"
"""It is served from `file` alone."""
_PAUSE_S: Final = 0.1
_REFUSED: Final = 503


def file(home: Path) -> Path:
    """Where the weights of the service are."""
    return home.parent / f"{SERVICE}.gguf"


@attack.attack
async def weights_that_are_overwritten(target: Target) -> str:
    """In place, so that the mapping of the worker shows the new bytes; NaN for most formats."""
    with file(Path(target.home)).open("r+b") as weights:
        weights.seek(-(1 << 20), os.SEEK_END)
        weights.write(b"\xff" * (1 << 20))
    request = post(target, {"model": SERVICE, "prompt": "order 17", "max_tokens": 4})
    loop = asyncio.get_running_loop()
    began, answered = loop.time(), 0
    while answered != _REFUSED:
        reader, writer = await open_connection(target)
        writer.write(request)
        answered = await status(reader)
        writer.close()
        await asyncio.sleep(_PAUSE_S)
    return f"refused for good after {loop.time() - began:.1f} s"
