"""Where the demo may act, and what it keeps of its runs there."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from app import errors, node_client, session, tui
from app.commands import demo
from app.demo import demo_home
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
    """Whatever of a box stands there."""
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


async def test_a_key_that_can_not_be_revoked_does_not_keep_the_node_running(
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
    run = demo.Demo(home)
    run.minted = ["demo-load-1"]
    await run.end(stop=True)
    assert done == ["stopped"]
    assert "demo-load-1 still works" in capsys.readouterr().err


@pytest.mark.parametrize("started", [True, False])
def test_who_says_nothing_has_stopped_what_the_demo_started_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, started: bool
) -> None:
    """A node that ran before is stopped only when somebody says so."""
    monkeypatch.setattr(tui, "run", lambda _: None)
    run = demo.Demo(Home(tmp_path))
    run.started = started
    for typed, stops in (("", started), ("\n", started), ("y\n", not started)):
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        assert demo._attended(run) is stops
