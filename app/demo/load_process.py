"""The synthetic load as seen from a terminal: a process that is started, watched and stopped.

It imports nothing of the engine: the load is `python -m engine.shipped.synthetic_load`, a client
with a key of its own. Imported by `app.demo.run`.
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
from collections.abc import Sequence
from typing import Final

from storage.home.paths import Home

_PAUSE_S: Final = 30.0
_STOP_S: Final = 10.0
_LOOK_S: Final = 0.05


class Load:
    """The running load; put back whenever it ends, until it is stopped.

    `pause_s` is waited before it is put back, each time doubled up to half a minute.
    """

    def __init__(
        self, home: Home, command: Sequence[str], key: str, *, pause_s: float = 1.0
    ) -> None:
        self._home = home
        self._command = list(command)
        self._key = key
        self._pause_s = pause_s
        self._stopping = threading.Event()
        self._spawning = threading.Lock()
        self._process = self._spawn()
        self._watcher = threading.Thread(target=self._watch, name="load", daemon=True)
        self._watcher.start()

    def _spawn(self, why: str = "") -> subprocess.Popen[bytes]:
        log = os.open(self._home.logs / "load.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            if why:
                os.write(log, f"{why}\n".encode())
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
        pause_s = self._pause_s
        while True:
            code = self._process.wait()
            if self._stopping.wait(pause_s):
                return
            pause_s = min(2 * pause_s, _PAUSE_S)
            with self._spawning:
                if self._stopping.is_set():
                    return
                self._process = self._spawn(f"synthetic load ended with {code} and is restarted")

    def stop(self) -> None:
        """Tell it to stop and wait until it has; from now on it is not restarted."""
        with self._spawning:
            self._stopping.set()
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._watcher.join()


def start(home: Home, url: str, service: str, key: str) -> Load:
    """Start the load; one that an earlier run left behind is stopped first."""
    stop_left_over(home)
    command = (
        *(sys.executable, "-m", "engine.shipped.synthetic_load"),
        *("--home", str(home.root), "--url", url, "--service", service),
    )
    return Load(home, command, key)


def stop_left_over(home: Home) -> None:
    """Stop the load that holds this home's lock, if there is one."""
    try:
        file = (home.run / "load.lock").open("r+")
    except FileNotFoundError:
        return
    with file:
        until = time.monotonic() + _STOP_S
        signalled = False
        while time.monotonic() < until:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                said = file.read().strip()
                file.seek(0)
                if said.isdecimal() and not signalled:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(said), signal.SIGTERM)
                    signalled = True
                time.sleep(_LOOK_S)
            else:
                return
