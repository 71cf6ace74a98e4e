"""What the screen costs a terminal: bytes a second, processor time, time to the first paint.

Starts the screen on a pseudo-terminal against a home that exists, with a node or without, reads
what it writes, and prints the figures: `python -m tests.bench.screen_bytes --home DIR`. It
presses the keys that it is given and changes nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PROGRAM: Final = (
    "from pathlib import Path; import sys; from app import tui; from storage.home.paths "
    "import Home; "
    "tui.run(Home(Path(sys.argv[1])))"
)
PAINTED: Final = b" RO "
"""In the header, which is complete with the first frame."""
FIGURES: Final = b"BATCH"
"""What the store says is there, too."""
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Terminal:
    """A pseudo-terminal with the screen in it, and what came out when."""

    pid: int
    descriptor: int
    started: float
    seen: list[tuple[float, bytes]] = field(default_factory=list)

    def read(self, seconds: float, until: bytes = b"") -> bool:
        """Read for a while, or until some bytes have come; whether they have."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not select.select([self.descriptor], [], [], left)[0]:
                break
            try:
                self.seen.append((time.monotonic(), os.read(self.descriptor, 65536)))
            except OSError:  # the screen has left
                break
            if until and until in self.written():
                return True
        return False

    def written(self, since: float = 0.0) -> bytes:
        """All that came since a moment."""
        return b"".join(data for at, data in self.seen if at >= since)

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self.descriptor, keys.encode())

    def processor_s(self) -> float:
        """Processor seconds that the screen has used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory_kib(self) -> int:
        """What it holds in memory."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def close(self) -> None:
        """Quit, and see that it has."""
        with contextlib.suppress(OSError):
            self.press("q")
            self.read(5)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.descriptor)


def start(home: Path, width: int, height: int, command: Sequence[str] = ()) -> Terminal:
    """The screen in a pseudo-terminal of that size, or what a command shows there."""
    command = command or (sys.executable, "-c", PROGRAM, str(home))
    begun = time.monotonic()
    pid, descriptor = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm-256color", LANG="C.UTF-8", LC_ALL="C.UTF-8")
        os.environ.update(PADDOCK_HOME=str(home))
        os.execv(command[0], list(command))  # noqa: S606 our own interpreter
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    return Terminal(pid, descriptor, begun)


def answered_ms(terminal: Terminal) -> list[float]:
    """Milliseconds from a key to the first byte of what it draws, place by place."""
    found = []
    for key in "tol?" * 5:
        terminal.read(0.3)
        before = len(terminal.seen)
        pressed = time.monotonic()
        terminal.press(key)
        while len(terminal.seen) == before and time.monotonic() < pressed + 5:
            select.select([terminal.descriptor], [], [], 5)
            terminal.read(0.001)
        found.append((terminal.seen[before][0] - pressed) * 1_000)
    terminal.press("o")
    terminal.read(1)
    return sorted(found)


def measure(home: Path, width: int, height: int, keys: str, seconds: int) -> dict[str, object]:
    """All figures of one run."""
    terminal = start(home, width, height)
    try:
        painted = terminal.read(20, PAINTED)
        first_paint_s = time.monotonic() - terminal.started
        figures = terminal.read(20, FIGURES)
        first_figures_s = time.monotonic() - terminal.started
        until_then_s = terminal.processor_s()
        answers = answered_ms(terminal)
        terminal.press(keys)
        terminal.read(5)
        begun, used = time.monotonic(), terminal.processor_s()
        terminal.read(seconds)
        took = time.monotonic() - begun
        by_second = [0] * (int(took) + 1)
        for at, data in terminal.seen:
            if at >= begun:
                by_second[min(int(at - begun), len(by_second) - 1)] += len(data)
        return {
            "size": f"{width}x{height}",
            "keys": keys,
            "painted": painted and figures,
            "first_paint_s": round(first_paint_s, 3),
            "first_figures_s": round(first_figures_s, 3),
            "processor_s_until_then": until_then_s,
            "key_to_paint_ms": [round(answers[len(answers) // 2], 1), round(answers[-1], 1)],
            "seconds": round(took, 1),
            "bytes_per_s": round(len(terminal.written(begun)) / took, 1),
            "most_in_a_second": max(by_second),
            "core_percent": round((terminal.processor_s() - used) / took * 100, 2),
            "memory_kib": terminal.memory_kib(),
        }
    finally:
        terminal.close()


def main() -> None:
    """Measure as asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--size", default="80x24")
    parser.add_argument("--keys", default="", help="typed after the first figures")
    parser.add_argument("--seconds", type=int, default=30)
    asked = parser.parse_args()
    width, height = map(int, asked.size.split("x"))
    print(json.dumps(measure(asked.home, width, height, asked.keys, asked.seconds)))


if __name__ == "__main__":
    main()
