"""`python -m runbooks.drills.disk DIR PARENT`: a store on a disk that is full, then has room again.

A scratch store in DIR, whose files this process may not let grow beyond a limit (RLIMIT_FSIZE):
a write beyond it fails as on a full disk, and the operator's disk is not filled. One JSON line for
each thing that happened; PARENT is the process that started this one, and that it dies with.
"""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Final

from storage import errors, ledger
from storage import store as stores
from storage.home import clock
from storage.home import paths as homes
from storage.home.paths import Home
from storage.runtime import parent
from storage.store import Session, Store

_ROOM: Final = 300_000
"""Bytes that the files may grow before the disk is full."""
_ROW: Final = "x" * 4_000
_MOST: Final = 10_000


async def rehearse(root: Path) -> None:
    """Write until the disk is full, make room, and prove that nothing acknowledged was lost."""
    home = homes.make(Home(root))
    store = await stores.open(home)
    try:
        written = await _until_full(store)
        _limit(resource.RLIM_INFINITY)
        _say("room", written)
        while True:
            try:
                await _write(store, written)
            except errors.StorageError:
                await asyncio.sleep(0.1)
            else:
                break
        async with store.read() as s:
            kept = len(await ledger.of(s, "drill", "row", limit=_MOST))
        _say("kept" if kept == written + 1 else "lost", kept)
    finally:
        await store.close()


async def _until_full(store: Store) -> int:
    """How many rows were acknowledged before a write was refused."""
    await _write(store, 0)
    largest = max(path.stat().st_size for path in store.home.root.iterdir() if path.is_file())
    _limit(largest + _ROOM)
    _say("limited", 1)
    for number in range(1, _MOST):
        try:
            await _write(store, number)
        except errors.StorageError as error:
            _say("full", number, str(error))
            return number
    raise SystemExit("the disk was never full")


async def _write(store: Store, number: int) -> None:
    async def work(s: Session) -> None:
        await ledger.write(
            s, actor="drill", verb="drill.write", noun="drill", key="row", before=number,
            after=_ROW, at_us=clock.now_us(),
        )  # fmt: skip

    await store.write(work, durable=True)


def _limit(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def _say(what: str, rows: int, why: str = "") -> None:
    said = {"what": what, "rows": rows, "why": why, "at_us": time.time_ns() // 1000}
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Rehearse it in the directory that is named."""
    parent.die_with(int(sys.argv[2]))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    asyncio.run(rehearse(Path(sys.argv[1])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
