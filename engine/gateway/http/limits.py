"""The limits of the HTTP server: times, sizes, and how many connections this process can afford.

Imported by `engine.gateway`.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass
from typing import Final

_FILES_WANTED: Final = 65_536
_FILES_RESERVED: Final = 1024
"""Open files for the store, workers, upstreams and the internal socket; at most half of all."""
_CONNECTIONS_MAX: Final = 10_000
_ADDRESS_SHARE: Final = 4
_RESERVE_SHARE: Final = 16
_RESERVE_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds, sizes in bytes. `connections` in all, `per_address` of one client.

    `reserved` more are for the requests that must get in: see `admission`.
    """

    connections: int
    per_address: int
    reserved: int = 0

    head_s: float = 30.0
    head_bytes: int = 64 * 1024
    body_s: float = 60.0
    body_rate: int = 1024
    """Bytes a second, over each `body_window_s`; a body may be smaller, but not slower."""
    body_window_s: float = 10.0
    body_buffer: int = 64 * 1024
    """How much of a body waits for the application before reading is paused."""
    pipelined: int = 16
    """Requests that may wait behind the one that is being answered."""
    answer_s: float = 3600.0
    """Without a byte of the answer."""
    read_s: float = 60.0
    """How long a client may leave its answer unread."""
    stall_s: float = 2.0
    """How long, before it may be displaced where a place is needed; shorter than `read_s`."""
    idle_s: float = 75.0
    linger_s: float = 5.0
    flush_s: float = 30.0
    """For what is unread when the connection is closed."""


def of_process(connections: int | None, per_address: int | None) -> Limits:
    """The limits that fit this process; None for what its open files allow."""
    possible = affordable(open_files())
    allowed = possible if connections is None else min(connections, possible)
    share = max(1, allowed // _ADDRESS_SHARE)
    return Limits(
        connections=allowed,
        per_address=min(per_address or share, allowed),
        reserved=min(max(4, allowed // _RESERVE_SHARE), _RESERVE_MAX),
    )


def affordable(files: int) -> int:
    """How many connections fit into a limit of open files."""
    return min(_CONNECTIONS_MAX, max(files // 2, files - _FILES_RESERVED))


def open_files() -> int:
    """The limit of open files, after raising it as far as this process may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, _FILES_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return _FILES_WANTED if soft == resource.RLIM_INFINITY else soft
