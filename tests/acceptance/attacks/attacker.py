"""`python -m tests.acceptance.attacks.attacker NAME TARGET`: one attack, as a process.

It prints an empty line when it begins, attacks until its standard input ends, so that it never
outlives the trial, and prints what it saw in one line. It runs at low priority: its own computing
is not what the box has to bear.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import sys

import msgspec

from tests.acceptance.attacks import attack


async def main(name: str, target: attack.Target) -> str:
    """What the attack saw until it was told to end."""
    found = {each.name: each for each in attack.every()}[name]
    loop = asyncio.get_running_loop()
    attacking = asyncio.ensure_future(found.run(target))

    def end() -> None:
        loop.remove_reader(sys.stdin)
        attacking.cancel()

    loop.add_reader(sys.stdin, end)
    with contextlib.suppress(asyncio.CancelledError):
        return await attacking
    return "until it was told to end"


if __name__ == "__main__":
    os.nice(10)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
    name, target = sys.argv[1:]
    sys.stdout.write("\n")
    sys.stdout.flush()
    known = msgspec.json.decode(target, type=attack.Target)
    sys.stdout.write(asyncio.run(main(name, known)))
