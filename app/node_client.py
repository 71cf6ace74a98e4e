"""The node as seen from a terminal: start it, wait until it serves, stop it.

The node is a process in a session of its own, so that closing the terminal never stops it. Never
imports the engine: it speaks to the node by its control socket and to the gateway by HTTP. Imported
by `app.commands`, `app.demo` and `app.reader`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

import httpx

from app import errors, words
from storage import errors as storage_errors
from storage.control_socket import client
from storage.home import config, lock, migrating
from storage.home.paths import Home

_LOOK_S: Final = 0.05  # between two questions to a node that starts or stops
_HTTP_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Node:
    """A running node: where it answers, and whether this call started it."""

    url: str
    started: bool
    process: subprocess.Popen[bytes] | None = None


def address(home: Home) -> tuple[str, int]:
    """The host and port that the gateway listens on.

    Raises:
        storage.errors.ConfigError: config.toml cannot be used.
    """
    gateway = config.load(home).gateway
    return gateway.host, gateway.port


def url(home: Home, gateway: config.Gateway | None = None) -> str:
    """Where clients reach the gateway; `gateway` are settings that have been read already."""
    return url_of(*address(home) if gateway is None else (gateway.host, gateway.port))


def url_of(host: str, port: int) -> str:
    """The address of a host and port."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def taken(home: Home) -> bool:
    """Whether another program holds the gateway's port."""
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
    """Whether the node answers on its control socket.

    Raises:
        storage.errors.StorageError: a node runs and cannot be asked.
    """
    try:
        await client.who(home)
    except storage_errors.NodeIsDown:
        if lock.holder(home.lock) is not None:
            raise
        return False
    return True


async def get(at: str, path: str) -> int | None:
    """The HTTP status of a path of the gateway, None when nothing answers."""
    try:
        async with _http() as client_:
            return (await client_.get(f"{at}{path}")).status_code
    except httpx.HTTPError:
        return None


def _http() -> httpx.AsyncClient:
    """A client for the gateway of this machine: bounded, and past any proxy of the environment."""
    return httpx.AsyncClient(
        timeout=_HTTP_S,
        trust_env=False,
        verify=False,  # noqa: S501 plain HTTP, for which loading certificates takes 20 ms
    )


def _spawn(home: Home, log: Path) -> subprocess.Popen[bytes]:
    """The node in a session of its own, its output appended to its log."""
    home.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK  # a FIFO would hang
        descriptor = os.open(log, flags, 0o600)
    except OSError as error:
        raise errors.NodeDidNotStart(
            f"{log} cannot be written ({error.strerror}); rename or remove it, and start again."
        ) from error
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


async def start(
    home: Home, *, timeout_s: float = 20.0, say: Callable[[str], None] | None = None
) -> Node:
    """Start the node in a session of its own and wait until its gateway listens.

    Only the node itself is believed: another program may answer on the gateway's port. While it
    migrates the store it has as long as it takes, and `say` gets how far it is.

    Raises:
        errors.NodeDidNotStart: with what the node said last.
    """
    at = url(home)
    if await running(home):
        return Node(at, started=False)
    log = home.logs / "node.log"
    if log.exists() and not log.is_file():
        raise errors.NodeDidNotStart(f"{log} is not a regular file; rename or remove it.")
    written = log.stat().st_size if log.exists() else 0
    process = _spawn(home, log)
    try:
        async with asyncio.timeout(timeout_s) as limit:
            told = None
            while not await _serves(home):
                if (now := migrating.read(home)) is not None:
                    limit.reschedule(asyncio.get_running_loop().time() + timeout_s)
                    if say is not None and now != told:
                        say(f"{now.words[:1].upper()}{now.words[1:]}")
                    told = now
                if process.poll() is not None:
                    said = last_words(log.read_bytes()[written:])
                    raise errors.NodeDidNotStart(f"The node did not start: {said} (log: {log})")
                await asyncio.sleep(_LOOK_S)
    except (TimeoutError, asyncio.CancelledError) as error:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        if isinstance(error, asyncio.CancelledError):
            raise
        raise errors.NodeDidNotStart(
            f"The node was not ready within {timeout_s:.0f} s and was stopped; its log is {log}"
        ) from None
    return Node(at, started=True, process=process)


async def _serves(home: Home) -> bool:
    """Whether the node runs and its own gateway listens."""
    try:
        processes = (await client.state(home)).get("processes", [])
    except storage_errors.StorageError:
        return False
    return any(each["name"] == "gateway" and each["state"] == "ready" for each in processes)


async def ready(at: str, *, timeout_s: float = 30.0) -> None:
    """Wait until the gateway reports that every service can answer."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        if await get(at, "/readyz") == HTTPStatus.OK:
            return
        await asyncio.sleep(_LOOK_S)
    raise errors.NodeDidNotStart(
        f"The node runs but no model was ready within {timeout_s:.0f} s; "
        "`paddock status` says what it waits for."
    )


async def stop(home: Home, *, reason: str = "", timeout_s: float = 60.0) -> None:
    """Ask the node to drain and exit, and wait until it has released its data directory."""
    await client.stop(home, reason=reason)
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        if await _exited(home):
            return
        await asyncio.sleep(_LOOK_S)
    raise errors.AppError(
        f"The node is still draining after {timeout_s:.0f} s; it exits when its answers have "
        "ended, `paddock status` shows them."
    )


async def _exited(home: Home) -> bool:
    """Whether no process holds the lock of the data directory, once a stop was accepted.

    Only its owner can see that; others ask the control socket, which the node closes last.
    """
    if os.access(home.lock, os.R_OK):
        return lock.holder(home.lock) is None
    return not (home.lock.exists() and await running(home))


def last_words(log: bytes) -> str:
    """The last entry of a log: the message of a JSON line, or the line itself."""
    lines = [line for line in log.decode(errors="replace").splitlines() if line.strip()]
    if not lines:
        return "it logged nothing."
    with contextlib.suppress(ValueError):
        line = json.loads(lines[-1])
        if isinstance(line, dict):
            said = line.get("message") or line.get("error") or line.get("event")
            return words.safe(str(said))
    return words.safe(lines[-1].strip())
