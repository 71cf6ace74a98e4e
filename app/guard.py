"""The guard of one screen: read-only unless armed, and armed for a quarter of an hour.

It prevents changes by a slip of the finger. Who may change what is decided at the
node's control socket, not here. Imported by `app.tui`.
"""

from __future__ import annotations

from typing import Final

from app.snapshot import Header, Node

ARMED_US: Final = 15 * 60 * 1_000_000


class Guard:
    """Armed or not."""

    def __init__(self) -> None:
        self._until_us: int | None = None
        self._since_us = 0

    def left_us(self, now_us: int) -> int | None:
        """How much longer changes are allowed; None when they are not."""
        if self._until_us is None or not self._since_us <= now_us < self._until_us:
            self._until_us = None  # run out, or the clock was set back
            return None
        return self._until_us - now_us

    def arm(self, header: Header, now_us: int) -> str:
        """Allow changes; else why not."""
        if why := _past(header) or _unable(header):
            return why
        self._since_us, self._until_us = now_us, now_us + ARMED_US
        return ""

    def disarm(self) -> None:
        """Read-only again."""
        self._until_us = None

    def refusal(self, header: Header, now_us: int, *, loaded: bool) -> str:
        """Why no change can be made now; empty when it can."""
        if why := _past(header) or _unable(header):
            return why
        if self.left_us(now_us) is None:
            return "read-only: :rw first"
        return "" if loaded else "still loading"


def _past(header: Header) -> str:
    return "" if header.past is None else "this is the past, which cannot be changed; :now returns"


def _unable(header: Header) -> str:
    if header.node is Node.ABSENT:
        return "there is no box here yet"
    if header.node is Node.DOWN:
        return "the node is down; `paddock serve` starts it"
    if header.node is Node.SILENT:
        return "the node does not answer"
    if header.node is Node.ASKING:
        return "the node has not answered yet"
    if not header.person.acts:
        role = f"are {header.person.role}" if header.person.role else "have no role"
        return f"you {role} here; an admin can make you operator in config.toml"
    return ""
