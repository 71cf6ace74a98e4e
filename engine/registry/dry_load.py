"""Measures the memory that loading a model takes, in a process that libllama may abort.

Imported by `engine.jobs`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import Final

import msgspec

from storage.model_memory import Memory
from storage.runtime import parent

_BOUND_S: Final = 120.0


class Unmeasured(Exception):
    """It could not be measured; the message says why."""


async def measure(*paths: Path, bound_s: float = _BOUND_S) -> Memory:
    """The sizes of a model's buffers; of a split one all parts are needed, in their order.

    Raises:
        Unmeasured: the process died, failed or took longer than `bound_s`.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "engine.serving.dry_load",
        *map(str, paths),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, parent.NODE: str(os.getpid())},
    )
    try:
        async with asyncio.timeout(bound_s):
            said, _ = await process.communicate()
    except TimeoutError as error:
        raise Unmeasured(f"it took longer than {bound_s:g} s") from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    try:
        return msgspec.json.decode(said, type=Memory)
    except msgspec.MsgspecError as error:
        raise Unmeasured(f"libllama did not load it (exit code {process.returncode})") from error
