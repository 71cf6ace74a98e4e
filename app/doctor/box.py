"""The box itself: its configuration, its node, its gateway, its processes, what status knows.

Pure: judges what the screen's reader has read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from app import snapshot
from app.doctor.finding import Finding, ok, problem, warning
from app.snapshot import Node

_MANY_RESTARTS: Final = 3


def judge(current: snapshot.Snapshot, version: str) -> Iterator[Finding]:
    """All findings, from a snapshot of the pulse; `version` is that of this Paddock."""
    header, pulse = current.header, current.pulse
    yield _node(header.node)
    if pulse is not None:
        run = pulse.run
        if header.node is Node.UP and run is not None and run.version != version:
            said = f"The node runs Paddock {run.version}, this command is {version}."
            yield warning(
                "node", said, "Restart the node: `paddock stop`, `paddock serve --detach`."
            )
        yield from _processes(pulse)
    for trouble in header.troubles:
        yield problem("status", trouble.sentence, "")


def _node(node: Node) -> Finding:
    match node:
        case Node.UP:
            return ok("node", "It runs and answers.")
        case Node.SILENT:
            advice = "`paddock status` shows what it last said; its log is logs/node.log."
            return problem("node", "It runs and does not answer.", advice)
    return problem("node", "It does not run.", "`paddock serve --detach` starts it.")


def _processes(pulse: snapshot.Pulse) -> Iterator[Finding]:
    running: list[snapshot.Process | snapshot.Instance] = [*pulse.processes]
    for deployment in pulse.deployments:
        running += deployment.instances
    for each in running:
        if each.restarts >= _MANY_RESTARTS:
            ended = f", the last time: {each.died}" if each.died else ""
            said = f"{each.name} was restarted {each.restarts} times{ended}."
            yield warning("processes", said, "See its log in the directory logs of the home.")
