"""One request to the node over its control socket, and the answer to it.

One JSON object per line, each way. A socket that is busy, or missing although the node runs, is
tried again for a while. Imported by `storage.control_socket.client`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from storage import errors
from storage.errors import NodeIsDown, NotAllowed, Refused, Unanswered
from storage.home import access, lock
from storage.home import paths as homes
from storage.home.paths import Home

LINE_LIMIT: Final = 1024 * 1024
ANSWER_S: Final = 15.0
CROWD_S: Final = 10.0  # how long a busy control socket is tried
MISSING_S: Final = 1.5  # how long a running node without a control socket is tried
_RETRY_S: Final = 0.05
_RECEIVE: Final = 65_536


async def answer(
    home: Home, asked: Mapping[str, Any], answer_s: float | None = None
) -> dict[str, Any]:
    """One request and its answer.

    Raises:
        NodeIsDown: it was not sent. Unanswered: it was sent, and no answer came.
    """
    try:
        line = msgspec.json.encode(asked) + b"\n"
    except (TypeError, UnicodeEncodeError) as error:
        raise Refused(f"This cannot be sent to the node: {error}") from error
    if len(line) > LINE_LIMIT:
        raise Refused("The request is larger than 1 MiB; send less at once.")
    try:
        async with asyncio.timeout(ANSWER_S if answer_s is None else answer_s):
            said = await _answered(home, line)
    except PermissionError as error:
        raise NotAllowed(str(access.closed(home))) from error
    except (OSError, msgspec.DecodeError) as error:
        raise Unanswered(f"The node of {home.root} does not answer.") from error
    if said.get("ok"):
        return said
    raise _refusal(said.get("error") or {})


async def _answered(home: Home, line: bytes) -> dict[str, Any]:
    """Retry while the control socket is busy, or missing although the node runs."""
    now = time.monotonic()
    until, missing_until = now + CROWD_S, now + MISSING_S
    while True:
        try:
            said = msgspec.json.decode(await _exchange(home, line), type=dict[str, Any])
            busy = (said.get("error") or {}).get("code") == "busy"
            if not busy or time.monotonic() > until:
                return said
        except BlockingIOError:  # its backlog is full
            pass
        except errors.Busy:
            if time.monotonic() > missing_until:
                raise
        await asyncio.sleep(_RETRY_S)


async def _exchange(home: Home, line: bytes) -> bytes:
    """The answer to one line.

    A node that is busy says so and closes the connection, perhaps before the line was written.
    asyncio's streams drop what was received when a write fails; a socket does not.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.setblocking(False)
        try:
            with homes.short(home.control_socket) as address:
                connection.connect(address)  # a Unix socket connects at once or not at all
        except (PermissionError, BlockingIOError):
            raise
        except OSError as error:
            raise _unreachable(home) from error
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionError):
            await loop.sock_sendall(connection, line)
        answer = bytearray()
        while part := await loop.sock_recv(connection, _RECEIVE):
            answer += part
            if b"\n" in part or len(answer) > 2 * LINE_LIMIT:
                break
        return bytes(answer)


def node_in_words(home: Home, holder: int | None = None) -> str:
    """The node in a sentence, with its process if that is known."""
    holder = holder or lock.holder(home.lock)
    return f"The node of {home.root}" + (f" (process {holder})" if holder else "")


def _unreachable(home: Home) -> errors.StorageError:
    holder = lock.holder(home.lock)
    if holder is None:
        return NodeIsDown(f"The node of {home.root} is not running; start it with `paddock serve`.")
    return errors.Busy(
        f"{node_in_words(home, holder)} runs, but its control socket is not there: it is starting, "
        "or the file was removed and is made again within a second. Try again."
    )


def _refusal(error: Mapping[str, Any]) -> errors.StorageError:
    message = str(error.get("message") or "The node refused and did not say why.")
    kinds = {
        "not_allowed": NotAllowed,
        "store_unavailable": errors.Unavailable,
        "busy": errors.Busy,
    }
    return kinds.get(str(error.get("code")), Refused)(message)
