"""What the running node says of itself, where the store cannot be read.

The control socket answers from memory, whatever has become of the store's file: the run, and its
processes. It gives no figures. Imported by `app.poller` and `app.commands.status`.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from app import snapshot
from storage import errors
from storage.control_socket import client
from storage.home.paths import Home
from storage.processes import Kind, NodeRun, Process, State

ANSWER_S: Final = 2.0


async def ask(home: Home) -> tuple[NodeRun, list[Process]] | None:
    """The run of the node and its processes; None where it does not answer."""
    try:
        async with asyncio.timeout(ANSWER_S):
            said = await client.state(home)
    except (errors.StorageError, TimeoutError):
        return None
    started_at_us = int(said["started_at_us"])
    run = NodeRun(
        pid=said["pid"],
        started_at_us=started_at_us,
        host=platform.node(),
        version=said["version"],
        stopped_at_us=None,
    )
    return run, list(_processes(said["processes"], started_at_us))


async def without_store(home: Home, why: str, now_us: int) -> snapshot.Snapshot | None:
    """The pulse without a figure; `why` is what is wrong with the store.

    None where the node does not answer, or does not know this user.
    """
    try:
        async with asyncio.timeout(ANSWER_S):
            person = await client.who(home)
    except (errors.StorageError, TimeoutError):
        return None
    if (said := await ask(home)) is None:
        return None
    run, found = said
    troubles = [snapshot.Trouble(brief="store unreadable", sentence=why)]
    troubles += [_trouble(each) for each in found if each.state is not State.READY]
    header = snapshot.Header(
        host=platform.node() or "host",
        person=snapshot.Person(name=person.name, role=person.role),
        node=snapshot.Node.UP,
        troubles=tuple(troubles),
        now_us=now_us,
        error=why,
    )
    pulse = snapshot.Pulse(
        machine=snapshot.Machine(),
        load=None,
        ttft_p95_us=None,
        charts=(),
        services=(),
        processes=tuple(_shown(each) for each in found),
        deployments=(),
        events=(),
        window=snapshot.TrafficWindow(window_us=0, currency="USD", priced=False),
        run=snapshot.Run(pid=run.pid, version=run.version, started_at_us=run.started_at_us),
    )
    return snapshot.Snapshot(header=header, pulse=pulse)


def _processes(said: Iterable[dict[str, Any]], started_at_us: int) -> Iterable[Process]:
    """Those in a state that the store knows; how long each has run the node does not say."""
    for each in said:
        if each["state"] in {state.value for state in State}:
            fields = each | {"kind": Kind(each["kind"]), "state": State(each["state"])}
            yield msgspec.convert(
                {**fields, "started_at_us": started_at_us, "model_version_id": None}
                | {"sha256": None, "build": None},
                Process,
            )


def _trouble(process: Process) -> snapshot.Trouble:
    brief = f"{process.name} {process.state.value}"
    why = f": {process.reason}" if process.reason else ""
    return snapshot.Trouble(brief=brief, sentence=f"{process.name} is {process.state.value}{why}.")


def _shown(process: Process) -> snapshot.Process:
    return snapshot.Process(
        name=process.name,
        kind=process.kind.value,
        state=process.state.value,
        reason=process.reason or "",
        restarts=process.restarts,
        pid=process.pid,
        started_at_us=process.started_at_us,
    )
