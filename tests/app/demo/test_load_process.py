"""The synthetic load is put back however often it ends, and stays away once it is stopped."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

from app.demo import load_process
from storage.home import paths as homes
from storage.home.paths import Home

ONCE = "import sys; key = sys.stdin.readline(); open(sys.argv[1], 'w').write(key); sys.exit(3)"
EVER = (
    "import fcntl, signal, sys; lock = open(sys.argv[2], 'w'); fcntl.flock(lock, fcntl.LOCK_EX)\n"
    "open(sys.argv[1], 'w').write('up\\n'); signal.pause()"
)


def test_a_load_that_ends_is_put_back_each_time(tmp_path: Path) -> None:
    """Not three times only; its log says how it ended, and each one has the key."""
    home = homes.make(Home(tmp_path / "home"))
    heard = tmp_path / "heard"
    os.mkfifo(heard)
    load = load_process.Load(home, [sys.executable, "-c", ONCE, str(heard)], "pk-secret", pause_s=0)
    for _ in range(6):
        assert heard.read_text() == "pk-secret\n"
    reading = os.open(heard, os.O_RDONLY | os.O_NONBLOCK)  # one that waits for a reader can end
    load.stop()
    os.close(reading)
    log = (home.logs / "load.log").read_text()
    assert log.count("synthetic load ended with 3 and is restarted") >= 5


def test_a_stopped_load_has_no_process(tmp_path: Path) -> None:
    """When `stop` returns the lock is free, and nothing will take it again."""
    home = homes.make(Home(tmp_path / "home"))
    up, held = tmp_path / "up", tmp_path / "held"
    os.mkfifo(up)
    load = load_process.Load(home, [sys.executable, "-c", EVER, str(up), str(held)], "x", pause_s=0)
    assert up.read_text() == "up\n"
    load.stop()
    with held.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert load._process.poll() is not None
    assert not load._watcher.is_alive()
