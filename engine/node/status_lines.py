"""What parts say on their standard output, and how a process ended, as words.

Reads lines; what is not a JSON object of the known fields is passed over, never raised. Imported
by `engine.node`.
"""

from __future__ import annotations

import signal
from typing import Final

import msgspec

LINE_LIMIT: Final = 65536


class Said(msgspec.Struct, frozen=True):
    """One line of a part. `beat` is anything but null or false in a beat.

    `failed` is why it cannot work; `broken` says that this is the fault of a file, so that trying
    it again changes nothing. `loaded`: the weights stand, what follows is not their file's fault.
    `opening`, `opened`, `unopened`: the lane of an adapter; the last goes with `failed`.
    """

    ready: bool = False
    loading: float | None = None
    beat: float | bool | str | None = None
    step: int = 0
    running: int = 0
    waiting: int = 0
    since_token_us: int = 0
    failed: str | None = None
    broken: bool = False
    loaded: bool = False
    opening: str | None = None
    opened: str | None = None
    unopened: str | None = None
    sha256: str | None = None
    build: str | None = None


class Lines:
    """Cuts a byte stream into what was said."""

    def __init__(self) -> None:
        """Begin with nothing pending."""
        self._pending = b""
        self._decoder = msgspec.json.Decoder(Said, strict=False)

    def feed(self, data: bytes) -> list[Said]:
        """The lines that are complete now."""
        *lines, self._pending = (self._pending + data).split(b"\n")
        if len(self._pending) > LINE_LIMIT:
            self._pending = b""
        heard: list[Said] = []
        for line in lines:
            try:
                heard.append(self._decoder.decode(line))
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue
        return heard


_FAULTS: Final = frozenset({"SIGABRT", "SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE"})


def is_fault(code: int) -> bool:
    """Whether a process ended by a fault of its own, from its return code; SIGKILL is another's."""
    return code < 0 and any(signal.Signals[name] == -code for name in _FAULTS)


def ending(code: int) -> str:
    """How a process ended, from its return code as `subprocess` gives it."""
    if code >= 0:
        return f"it ended by itself with exit code {code}; its log says why"
    try:
        return f"it was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"it was killed by signal {-code}"
