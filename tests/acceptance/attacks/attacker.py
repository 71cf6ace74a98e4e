"""`python -m tests.acceptance.attacks.attacker NAME TARGET SECONDS`: one attack, as a process.

It runs at low priority, since an attacker's own computing is not what the box has to bear. Prints
what it saw in one line.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import sys

import msgspec

from tests.acceptance.attacks import attack


async def main(name: str, target: attack.Target, seconds: float) -> str:
    """What the attack saw within its time."""
    found = {each.name: each for each in attack.every()}[name]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await found.run(target)
    return "until its time was over"


if __name__ == "__main__":
    os.nice(10)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
    name, target, seconds = sys.argv[1:]
    known = msgspec.json.decode(target, type=attack.Target)
    sys.stdout.write(asyncio.run(main(name, known, float(seconds))))
