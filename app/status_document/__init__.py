"""The document of `paddock status --json`: for scripts, with a version of its own.

Fields are only ever added; a change of what one means makes a new `schema`. Its JSON Schema is
docs/status.schema.json. Times are UTC microseconds since 1970, durations microseconds, sizes
bytes, shares 0 to 1, and null is what was not measured. Imported by `app.commands.status`.
"""

from __future__ import annotations

import inspect
from typing import Any, Final

import msgspec

from app import snapshot
from app.status_document import deployments, services
from app.status_document.deployments import Deployment, Load, Process
from app.status_document.services import Service

SCHEMA: Final = "paddock.status/1"


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """The node, by its newest run; `state` is up, silent (it runs and does not answer) or down."""

    state: str
    version: str | None
    pid: int | None
    started_at_us: int | None


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Who asked; `role` is null while the control socket does not answer, or without a role."""

    name: str
    role: str | None


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """The span of the traffic figures; `until_us` is null when it ends now."""

    duration_us: int
    until_us: int | None
    synthetic_share: float | None
    ttft_p95_us: float | None
    currency: str


class Maintenance(msgspec.Struct, frozen=True, kw_only=True):
    """A maintenance window in force, or one to come where `begun` is false.

    `of` are the labels of the alerts that it marks, as in service=support.
    """

    id: int
    of: str
    by: str
    reason: str
    starts_at_us: int
    ends_at_us: int
    begun: bool


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The whole document. `problems` are sentences; empty means that nothing is known to be wrong.

    `at_us` is now, or the past moment that was asked for; `unknown` then says what is not known of
    it, and is null otherwise.
    `machine` has the host and its GPUs, `load` is that of all instances together.
    """

    schema: str
    at_us: int
    measured_at_us: int | None
    host: str
    home: str
    gateway: str
    person: Person
    node: Node
    problems: tuple[str, ...]
    machine: snapshot.Machine
    load: Load | None
    processes: tuple[Process, ...]
    deployments: tuple[Deployment, ...]
    window: Window
    services: tuple[Service, ...]
    unknown: tuple[str, ...] | None = None
    maintenance: tuple[Maintenance, ...] = ()


def of(
    header: snapshot.Header,
    pulse: snapshot.Pulse,
    *,
    home: str,
    gateway: str,
    problems: tuple[str, ...],
) -> Status:
    """The document of what the screen's pulse shows."""
    run, window = pulse.run, pulse.window
    return Status(
        schema=SCHEMA,
        at_us=header.now_us,
        measured_at_us=header.as_of_us,
        host=header.host,
        home=home,
        gateway=gateway,
        person=Person(name=header.person.name, role=header.person.role or None),
        node=Node(
            state=header.node.value if header.node.runs else "down",
            version=None if run is None else run.version,
            pid=None if run is None else run.pid,
            started_at_us=None if run is None else run.started_at_us,
        ),
        problems=problems,
        machine=pulse.machine,
        load=deployments.load(pulse.load),
        processes=tuple(map(deployments.process, pulse.processes)),
        deployments=tuple(map(deployments.deployment, pulse.deployments)),
        window=Window(
            duration_us=window.window_us,
            until_us=window.until_us,
            synthetic_share=window.synthetic,
            ttft_p95_us=pulse.ttft_p95_us,
            currency=window.currency,
        ),
        services=tuple(map(services.service, pulse.services)),
        unknown=header.past,
        maintenance=tuple(
            msgspec.convert(each, Maintenance, from_attributes=True) for each in pulse.maintenance
        ),
    )


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the document."""
    schema = msgspec.json.schema(Status)
    for described in schema["$defs"].values():  # Python 3.13 strips the indentation of docstrings
        described["description"] = inspect.cleandoc(described["description"])
    return schema
