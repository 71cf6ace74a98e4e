"""The specification of a supervised process, the facts about it, and how it is started.

Light enough to start the first process before the store's libraries are imported. Imported by
`engine.node`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from engine.node import process_logs
from engine.node.supervision import Death, Plan
from storage.runtime import parent

GONE: Final = "gone"
"""The state of a process that is no longer wanted: its row is removed."""

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Spec:
    """What to run under which name, and how patiently.

    An instance has its `deployment`, and `model` if it loads one: the id of the version whose file
    it loads. `computing` is the file in which it keeps the adapter that it computes.
    """

    name: str
    kind: str
    command: tuple[str, ...]
    log: Path
    plan: Plan = field(default_factory=Plan)
    model: int | None = None
    deployment: str | None = None
    computing: Path | None = None


@dataclass(frozen=True, slots=True)
class Preparation:
    """The environment to start a process with, or why it cannot be started.

    A `permanent` refusal is due to its file, so retrying does not help.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    refusal: str | None = None
    permanent: bool = False


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """A file that cannot be loaded, and why: an adapter's, or the weights (adapter "")."""

    adapter: str
    reason: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a worker proved to have in memory: SHA-256 of its files, and how it knows the first.

    `missing` is the path of its file if that was removed since.
    """

    weights: str
    how: str
    template: str
    adapters: Mapping[str, str] = field(default_factory=dict)
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Fact:
    """What has become of a process; `state` is one of the processes table, or `GONE`.

    `failing` is the evidence that its whole deployment dies of its requests. `silent_us` is given
    for a ready process that has sent no heartbeat, or made no progress with the work it has, for so
    long. `backoff_us` is how long after its end one that crashed is started again, None where it is
    not. `port` is the one that the gateway listens on.
    """

    name: str
    kind: str
    state: str
    reason: str | None = None
    pid: int | None = None
    restarts: int = 0
    deployment: str | None = None
    model: int | None = None
    sha256: str | None = None
    build: str | None = None
    loaded: Evidence | None = None
    failed: str | None = None
    load_failure: LoadFailure | None = None
    death: Death | None = None
    failing: str | None = None
    port: int | None = None
    silent_us: int | None = None
    backoff_us: int | None = None


def start(spec: Spec, environment: Mapping[str, str] = _NOTHING) -> subprocess.Popen[bytes]:
    """A new process, tied to this one. Call it from the main thread.

    Raises:
        OSError: it could not be started.
    """
    log = spec.log
    process_logs.trim((log,))
    try:
        stderr = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK, 0o600)
    except OSError:  # a full disk, or a FIFO in its place, may cost a log, never a process
        stderr = os.open(os.devnull, os.O_WRONLY)
    try:
        return subprocess.Popen(  # noqa: S603 our own interpreter and modules
            spec.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, **environment, parent.NODE: str(os.getpid())},
            umask=0o077,
            start_new_session=True,  # an interrupt at the node's terminal is the node's alone
            bufsize=0,
        )
    finally:
        os.close(stderr)
