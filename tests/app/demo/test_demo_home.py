"""Where the demo may act, and what it keeps of its runs there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app import errors, node_client, session, tui
from app.commands import demo
from app.demo import demo_home
from app.demo import run as demo_run
from storage import keys
from storage.home import paths as homes
from storage.home.paths import Home


def test_the_users_own_box_is_never_the_demos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was named for it, else PADDOCK_DEMO_HOME, else a directory beside the user's box."""
    monkeypatch.setenv("PADDOCK_HOME", str(tmp_path / "real"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("PADDOCK_DEMO_HOME", raising=False)
    assert demo_home.find().root == tmp_path / "state" / "paddock-demo"
    monkeypatch.setenv("PADDOCK_DEMO_HOME", str(tmp_path / "mine"))
    assert demo_home.find().root == tmp_path / "mine"
    assert demo_home.find(tmp_path / "other").root == tmp_path / "other"


@pytest.mark.parametrize("held", ["paddock.db", "config.toml"])
def test_a_box_that_no_demo_made_is_refused_untouched(tmp_path: Path, held: str) -> None:
    """Whichever of its files is there."""
    home = Home(tmp_path)
    (tmp_path / held).write_text("")
    with pytest.raises(errors.AppError, match="no demo made"):
        demo_home.take(home)
    assert [path.name for path in tmp_path.iterdir()] == [held]


def test_a_demos_home_is_known_again_with_its_keys(tmp_path: Path) -> None:
    """Taking it once more forgets nothing."""
    home = Home(tmp_path / "demo home")
    demo_home.take(home)
    home.config.write_text("")
    demo_home.remember(home, "demo-load-1")
    demo_home.take(home)
    demo_home.remember(home, "demo-client-1")
    assert demo_home.keys(home) == ["demo-load-1", "demo-client-1"]
    assert demo_home.command(home, "stop") == f"PADDOCK_HOME='{home.root}' paddock stop"


async def test_a_key_that_cannot_be_revoked_does_not_keep_the_node_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was started is stopped, and what still works is named."""
    home = homes.make(Home(tmp_path))
    done = []

    async def yes(_: Home) -> bool:
        return True

    async def stop(_: Home) -> None:
        done.append("stopped")

    async def refuse(*_: object) -> None:
        raise errors.AppError("Control is down.")

    class Key:
        name = "demo-load-1"
        revoked_at_us = None

    async def working(_: object) -> list[type[Key]]:
        return [Key]

    class Reading:
        async def __aenter__(self) -> None:
            return None

        async def __aexit__(self, *_: object) -> None:
            return None

    monkeypatch.setattr(node_client, "running", yes)
    monkeypatch.setattr(node_client, "stop", stop)
    monkeypatch.setattr(session, "do", refuse)
    monkeypatch.setattr(session, "reading", Reading)
    monkeypatch.setattr(keys, "every", working)
    run = demo_run.Run(home)
    run.minted = ["demo-load-1"]
    await run.end(stop=True)
    assert done == ["stopped"]
    assert "demo-load-1 could not be revoked" in capsys.readouterr().err


@pytest.mark.parametrize("started", [True, False])
async def test_without_an_answer_the_demo_stops_what_it_started_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, started: bool
) -> None:
    """A node that was running before is stopped only after a yes."""

    async def quit_at_once(_: Home) -> None:
        return None

    monkeypatch.setattr(tui, "attach", quit_at_once)
    for typed, keeps in (("", not started), ("\n", not started), ("y\n", started)):
        run = demo_run.Run(Home(tmp_path))
        run.started = started
        reading, writing = os.pipe()
        os.write(writing, typed.encode())
        os.close(writing)
        with os.fdopen(reading) as stdin:
            monkeypatch.setattr("sys.stdin", stdin)
            assert await demo._attended(run) is keeps
        assert run.stop_wanted is (not started and not keeps)


IN_A_DESTRUCTOR = """
import asyncio, os, signal, sys
from app import cli
from app.demo import run

class Dying:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)

async def begin(self):
    print("begun", flush=True)
    Dying()
    await asyncio.sleep(3600)

async def end(self, *, stop):
    print("ended", flush=True)

run.Run.begin, run.Run.end = begin, end
sys.argv = ["paddock", "demo", "--home", sys.argv[1], "--headless"]
cli.main()
"""


def test_a_demo_ends_on_sigterm_wherever_the_signal_strikes(tmp_path: Path) -> None:
    """Python ignores what a handler raises while a destructor runs, so no handler raises."""
    done = subprocess.run(
        [sys.executable, "-c", IN_A_DESTRUCTOR, tmp_path / "demo"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout.split(), done.stderr) == (["begun", "ended"], "")
    assert done.returncode == 128 + signal.SIGTERM
