"""How a process ended: its exit code or signal, memory shortage, its last log lines.

Reads a log and a counter of the kernel; never decides what follows. Imported by `engine.node`.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Final

from engine.node import process_logs

_FAULTS: Final = frozenset({"SIGABRT", "SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE"})
_CGROUP: Final = Path("/proc/self/cgroup")
_CGROUPS: Final = Path("/sys/fs/cgroup")
_VMSTAT: Final = Path("/proc/vmstat")
_EVIDENCE: Final = 200


def is_fault(code: int) -> bool:
    """Whether a return code is that of a crash; SIGKILL always comes from outside."""
    return code < 0 and any(signal.Signals[name] == -code for name in _FAULTS)


def how(code: int) -> str:
    """How a process ended, as a clause, from its return code as `subprocess` gives it."""
    if code >= 0:
        return f"it exited with code {code}"
    try:
        return f"it was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"it was killed by signal {-code}"


def evidence(code: int, log: Path, since: int, *, out_of_memory: bool) -> str:
    """The cause as a clause; "" if unknown.

    `since` is the offset in its log at which the process began. The log of a process that was
    killed from outside does not say why.
    """
    if code == -signal.SIGKILL:
        return "the kernel was out of memory" if out_of_memory else ""
    said = _said(process_logs.last_lines(log, 1, since))
    if is_fault(code) or code > 0:
        return said or f"it logged nothing in {log.name}"
    return said


def _said(lines: tuple[str, ...]) -> str:
    """The last line; of one that is JSON the event with its error."""
    if not lines:
        return ""
    try:
        line = json.loads(lines[-1])
    except ValueError:
        return lines[-1].rstrip(".")
    if not isinstance(line, dict):
        return lines[-1]
    error = str(line.get("error") or line.get("exception") or "").strip().rpartition("\n")[2]
    said = ": ".join(str(each) for each in (line.get("event"), error) if each)
    return said[:_EVIDENCE].rstrip(".")


class MemoryKills:
    """Whether the kernel has killed a process of this box for lack of memory since `look`.

    Linux counts such kills by control group, and without version 2 of these on the whole machine.
    """

    def __init__(self, counter: Path | None = None) -> None:
        self._counter = counter or _counter()
        self._seen = self._count()

    def look(self) -> bool:
        """Whether the counter has moved since the last look."""
        before, self._seen = self._seen, self._count()
        return self._seen > before

    def _count(self) -> int:
        try:
            lines = self._counter.read_text().splitlines()
        except OSError:
            return 0
        return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def _counter() -> Path:
    try:
        group = _CGROUP.read_text().partition("0::")[2].split("\n")[0]
    except OSError:
        return _VMSTAT
    events = _CGROUPS / group.lstrip("/") / "memory.events"
    return events if group and events.exists() else _VMSTAT
