"""What a part is before it runs: its command, its log, the patience with it; and how it begins.

Light enough to start the first part with before the store's libraries are read. Imported by
`engine.node`.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from engine.node import log_rotation
from engine.node.supervision import Plan
from engine.process import parent

GONE: Final = "gone"
"""The state of a part that nobody wants any more: its record is closed and forgotten."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What to run under which name, and how patiently.

    `model` is the id of the model version that a worker loads.
    """

    name: str
    kind: str
    command: tuple[str, ...]
    log: Path
    plan: Plan = field(default_factory=Plan)
    model: int | None = None


@dataclass(frozen=True, slots=True)
class Broken:
    """A file that cannot be loaded, and why: the adapter of a lane, or the weights (lane "")."""

    lane: str
    why: str


@dataclass(frozen=True, slots=True)
class Fact:
    """The state of a part since `at_us` (monotonic); `state` is a word of the processes table."""

    name: str
    kind: str
    state: str
    reason: str | None = None
    pid: int | None = None
    restarts: int = 0
    model: int | None = None
    sha256: str | None = None
    build: str | None = None
    failed: str | None = None
    broken: Broken | None = None


def start(spec: Spec) -> subprocess.Popen[bytes]:
    """A new process for a part, tied to this one. Call it from the main thread.

    Raises:
        OSError: it could not be started.
    """
    log = spec.log
    log_rotation.trim((log,))
    try:
        stderr = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError:  # a full disk may cost a log, never a part
        stderr = os.open(os.devnull, os.O_WRONLY)
    try:
        return subprocess.Popen(  # noqa: S603 our own interpreter and modules
            spec.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, parent.NODE: str(os.getpid())},
            umask=0o077,
            start_new_session=True,  # an interrupt at the node's terminal is the node's alone
            bufsize=0,
        )
    finally:
        os.close(stderr)
