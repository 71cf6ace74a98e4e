"""The node as seen from a terminal: start it on its own, wait until it serves, stop it.

The node is a process of its own session, so that closing the terminal never stops it. Nothing
here imports the engine; the node is spoken to at its door and at its HTTP port. Imported by
`app.commands` and, for the node's troubles, by `app.reader`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

from app import errors, words
from storage import errors as storage_errors
from storage.control_socket import client
from storage.home import config
from storage.home.paths import Home

_LOOK_S: Final = 0.05  # between two looks at a node that starts or stops
_HTTP_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Node:
    """A running node: where it answers, and whether this call started it."""

    url: str
    started: bool
    process: subprocess.Popen[bytes] | None = None


def address(home: Home) -> tuple[str, int]:
    """The host and port that the gateway listens on."""
    gateway = config.load(home).gateway
    return gateway.host, gateway.port


def url(home: Home) -> str:
    """Where clients reach the gateway."""
    host, port = address(home)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def taken(home: Home) -> bool:
    """Whether another program listens where the gateway would."""
    gateway = address(home)
    family = socket.AF_INET6 if ":" in gateway[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(gateway)
        except OSError:
            return True
    return False


async def running(home: Home) -> bool:
    """Whether the node's door answers."""
    try:
        await client.who(home)
    except storage_errors.NodeIsDown:
        return False
    return True


async def get(at: str, path: str) -> int | None:
    """The HTTP status of a path of the gateway, None when nobody answers."""

    def ask() -> int | None:
        connection = http.client.HTTPConnection(at.removeprefix("http://"), timeout=_HTTP_S)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    return await asyncio.to_thread(ask)


async def trouble(home: Home) -> str | None:
    """Why the box cannot write down what happens, None while it can or does not say.

    The node knows of its own facts, the gateway of requests and samples.
    """
    with contextlib.suppress(storage_errors.StorageError):
        if said := (await client.state(home)).get("trouble"):
            return str(said)
    return await asyncio.to_thread(_recording, *address(home))


def _recording(host: str, port: int) -> str | None:
    connection = http.client.HTTPConnection(host, port, timeout=_HTTP_S)
    try:
        connection.request("GET", "/readyz")
        said = json.loads(connection.getresponse().read())["recorder"]["trouble"]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    else:
        return None if said is None else str(said)
    finally:
        connection.close()


def _spawn(home: Home, log: Path) -> subprocess.Popen[bytes]:
    """The node in a session of its own, with what it says appended to its log."""
    home.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(  # noqa: S603 our own interpreter and module
            [sys.executable, "-m", "engine", "--home", str(home.root)],
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)


async def start(home: Home, *, timeout_s: float = 20.0) -> Node:
    """Start the node in a session of its own and wait until its two doors answer."""
    at = url(home)
    if await running(home):
        return Node(at, started=False)
    log = home.logs / "node.log"
    written = log.stat().st_size if log.exists() else 0
    process = _spawn(home, log)
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        if process.poll() is not None:
            said = last_words(log.read_bytes()[written:])
            raise errors.NodeDidNotStart(f"The node did not start: {said} (log: {log})")
        if await running(home) and await get(at, "/healthz") == HTTPStatus.OK:
            return Node(at, started=True, process=process)
        await asyncio.sleep(_LOOK_S)
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    raise errors.NodeDidNotStart(
        f"The node was not up within {timeout_s:.0f} s and was told to stop; its log is {log}"
    )


async def ready(at: str, *, timeout_s: float = 30.0) -> None:
    """Wait until the gateway says that it can produce tokens."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        if await get(at, "/readyz") == HTTPStatus.OK:
            return
        await asyncio.sleep(_LOOK_S)
    raise errors.NodeDidNotStart(
        f"The node is up but could not answer within {timeout_s:.0f} s; "
        "`paddock status` says what it waits for."
    )


async def stop(home: Home, *, timeout_s: float = 60.0) -> None:
    """Ask the node to drain and leave, and wait until it has left its home."""
    await client.stop(home)
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        if await _left(home):
            return
        await asyncio.sleep(_LOOK_S)
    raise errors.AppError(
        f"The node is still finishing answers after {timeout_s:.0f} s; "
        "it stops by itself when they end, `paddock status` shows them."
    )


async def _left(home: Home) -> bool:
    """Whether no process holds the home's lock; it is tried only after a stop was accepted.

    The lock is the owner's: others go by the door, which the node closes last.
    """
    try:
        descriptor = os.open(home.lock, os.O_RDONLY)
    except FileNotFoundError:
        return True
    except PermissionError:
        return not await running(home)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)


def last_words(log: bytes) -> str:
    """What a process said last in its log: the event of a JSON line, or the line itself."""
    lines = [line for line in log.decode(errors="replace").splitlines() if line.strip()]
    if not lines:
        return "it said nothing."
    with contextlib.suppress(ValueError):
        line = json.loads(lines[-1])
        if isinstance(line, dict):
            said = line.get("message") or line.get("error") or line.get("event")
            return words.safe(str(said))
    return words.safe(lines[-1].strip())
