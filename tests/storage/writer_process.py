"""A process that writes to a store until it is stopped, for the tests of crashes and full disks.

`python -m tests.storage.writer_process HOME NAME COUNT` writes COUNT durable intents and prints
the id of each once it is acknowledged. `… full` writes until the disk is full.
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
from pathlib import Path

from storage import errors, intents
from storage import store as stores
from storage.home.paths import Home
from storage.store import Store


async def accept(store: Store, actor: str, number: int, weight: int = 0) -> int:
    """One durable intent; `weight` makes it as large as wanted."""
    return await store.write(
        lambda s: intents.accept(
            s,
            actor=actor,
            role="operator",
            verb="services.split",
            target=str(number),
            arguments={"weight": "x" * weight},
            at_us=number,
        ),
        durable=True,
    )


async def write(home: Home, name: str, count: int) -> None:
    """Write and tell."""
    store = await stores.open(home)
    for number in range(count):
        print(await accept(store, name, number), flush=True)  # noqa: T201 it is what the test reads
    await store.close()


async def fill(home: Home, how: str) -> None:
    """Write until the store refuses, make room, write again; print what happened."""
    store = await stores.open(home)
    ballast = home.root / "ballast"
    if how == "tmpfs":
        ballast.write_bytes(bytes(1024 * 1024))
    else:
        room = 1024 * 1024 + (home.database.stat().st_size)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    written = 0
    try:
        while written < 1000:
            await accept(store, "scribe", written, weight=20_000)
            written += 1
    except errors.DiskFull as error:
        print(error)  # noqa: T201
    ballast.unlink(missing_ok=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await accept(store, "scribe", written)
    async with store.read() as s:
        kept = [intent.at_us for intent in await intents.tail(s, 2000)]
    whole = await store.check()
    await store.close()
    print("kept" if kept == list(range(written, -1, -1)) and not whole else f"{kept} {whole}")  # noqa: T201


def mount(home: Home) -> None:
    """A file system of three megabytes where the home is."""
    command = ["mount", "-t", "tmpfs", "-o", "size=3m,mode=700", "tmpfs", str(home.root)]
    subprocess.run(command, check=True)


def main() -> None:
    """Read the command line."""
    home, name, count = Home(Path(sys.argv[1])), sys.argv[2], sys.argv[3]
    if count == "tmpfs":
        mount(home)
    asyncio.run(fill(home, count) if name == "full" else write(home, name, int(count)))


if __name__ == "__main__":
    main()
