"""The whole examination of a box: reads each part, and judges what could be read.

A part that cannot be read is a finding, too; it does not keep the others from being checked.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import AsyncIterator, Callable

from app import reader
from app.doctor import box, machine, records
from app.doctor.finding import Finding, ok, problem, unknown
from app.snapshot import Query
from storage import errors
from storage import store as stores
from storage.home import access, config
from storage.home import paths as homes
from storage.home.paths import Home
from storage.store import Store

_ANSWER_S = 5.0


async def examine(home: Home, now_us: Callable[[], int]) -> AsyncIterator[Finding]:
    """All findings about a home and the machine under it, as they come; the store takes longest."""
    for each in _home(home):
        yield each
    place = home.root if home.root.is_dir() else home.root.parent
    try:
        found = [*machine.judge(machine.read(place))]
    except OSError as error:
        found = [unknown("machine", f"It cannot be examined: {error}.")]
    for each in found:
        yield each
    if not homes.begun(home):
        return
    try:
        store = await stores.open(home, readonly=True)
    except errors.StorageError as error:
        yield problem("store", str(error), "")
        return
    try:
        for each in await _box(home, store, now_us):
            yield each
        for each in await _records(store, now_us()):
            yield each
    finally:
        await store.close()


def _home(home: Home) -> list[Finding]:
    if not homes.begun(home):
        advice = "`paddock serve` makes one; PADDOCK_HOME or --home names another."
        return [problem("home", f"There is no box in {home.root}.", advice)]
    try:
        access.require(home)
        settings = config.load(home)
    except errors.StorageError as error:
        return [problem("home", str(error), "")]
    if (exposed := access.exposed(home, settings.people.group)) is not None:
        said = f"{exposed} is open to more people than config.toml says."
        advice = "Restart the node, which closes it: `paddock stop`, `paddock serve --detach`."
        return [problem("home", said, advice)]
    who = settings.people.group or "its owner alone"
    return [ok("home", f"{home.root}, open to {who}; config.toml can be read.")]


async def _records(store: Store, now_us: int) -> list[Finding]:
    try:
        return [*records.judge(await records.read(store, now_us))]
    except (errors.StorageError, OSError) as error:
        return [problem("store", str(error), "")]


async def _box(home: Home, store: Store, now_us: Callable[[], int]) -> list[Finding]:
    source = reader.Reader(home, store, now_us=now_us, answer_s=_ANSWER_S)
    try:
        await source.ask()
        current = await source.read(Query(place="pulse"))
    except errors.StorageError as error:
        return [problem("node", str(error), "")]
    finally:
        await source.close()
    return [*box.judge(current, importlib.metadata.version("paddock"))]
