"""The synthetic load as seen from a terminal: a process that is started, watched and stopped.

It imports nothing of the engine; the load is `python -m engine.shipped.load`, an HTTP client with
a key of its own. Imported by `app.commands.demo`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Final

from storage.home import Home

_RESTARTS: Final = 3
_STOP_S: Final = 10.0
_LOOK_S: Final = 0.05


class Load:
    """The running load; put back when it dies, until it is stopped."""

    def __init__(self, home: Home, url: str, service: str, key: str) -> None:
        self._home = home
        self._command = [
            *(sys.executable, "-m", "engine.shipped.load"),
            *("--home", str(home.root), "--url", url, "--service", service),
        ]
        self._key = key
        self._stopping = threading.Event()
        self._process = self._spawn()
        threading.Thread(target=self._watch, name="load", daemon=True).start()

    def _spawn(self) -> subprocess.Popen[bytes]:
        log = os.open(self._home.logs / "load.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            process = subprocess.Popen(  # noqa: S603 our own interpreter and module
                self._command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # it may outlive the terminal together with the node
            )
        finally:
            os.close(log)
        assert process.stdin is not None  # noqa: S101 a pipe was asked for
        with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
            pipe.write(self._key.encode() + b"\n")
        return process

    def _watch(self) -> None:
        for _ in range(_RESTARTS):
            self._process.wait()
            if self._stopping.wait(1.0):
                return
            self._process = self._spawn()

    def stop(self) -> None:
        """Tell it to stop and wait until it has."""
        self._stopping.set()
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def start(home: Home, url: str, service: str, key: str) -> Load:
    """Start the load; one that an earlier run left behind is stopped first."""
    stop_left_over(home)
    return Load(home, url, service, key)


def stop_left_over(home: Home) -> None:
    """Stop the load that holds this home's lock, if there is one."""
    try:
        file = (home.run / "load.lock").open("r+")
    except FileNotFoundError:
        return
    with file:
        until = time.monotonic() + _STOP_S
        told = False
        while time.monotonic() < until:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                said = file.read().strip()
                file.seek(0)
                if said.isdecimal() and not told:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(said), signal.SIGTERM)
                    told = True
                time.sleep(_LOOK_S)
            else:
                return
