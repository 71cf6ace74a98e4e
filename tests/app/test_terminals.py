"""The screen in real terminals, on a real node: what a person meets, and what it costs.

One node with the shipped weights, one tmux of this test's own; each test waits for what has to
appear on the screen.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from storage import intents, models, processes, releases, services
from storage import store as stores
from storage.control_socket import client
from storage.home.paths import Home
from storage.store import Session
from tests import home_fixtures, paddock_commands
from tests.app import populated_homes
from tests.app.tmux import PATIENCE_S, Tmux, needs_tmux
from tests.bench import screen_bytes

PADDOCK = Path(sys.executable).with_name("paddock")


@dataclass
class Node:
    """A node of this test's own."""

    home: Home
    port: int

    def paddock(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One command about this home."""
        return paddock_commands.run(*words, environment=self.environment)

    @property
    def environment(self) -> dict[str, str]:
        """What a terminal on this box has set."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return {
            **kept,
            "LANG": "C.UTF-8",
            "PADDOCK_HOME": str(self.home.root),
            "PADDOCK_GATEWAY__PORT": str(self.port),
        }

    def read(self, what: Callable[[Session], Any]) -> Any:
        """Something out of its store."""

        async def work() -> Any:
            store = await stores.open(self.home, readonly=True)
            try:
                async with store.read() as s:
                    return await what(s)
            finally:
                await store.close()

        return asyncio.run(work())

    def lives(self) -> bool:
        """Whether its control socket answers."""
        return asyncio.run(client.who(self.home)).name != ""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A running node with one service, split between two releases."""
    root = tmp_path_factory.mktemp("box") / "home"
    box = asyncio.run(
        home_fixtures.furnish(root, weights=home_fixtures.WEIGHTS, engine=releases.Engine())
    )
    asyncio.run(_split(box.home))
    made = Node(box.home, home_fixtures.free_port())
    begun = made.paddock("serve", "--detach")
    assert begun.returncode == 0, begun.stderr
    yield made
    made.paddock("stop", "--yes")


async def _split(home: Home) -> None:
    store = await stores.open(home)

    async def work(s: Session) -> None:
        second = await releases.create(
            s, model_version=(await models.every(s))[0], base=None, prompt_version=None,
            sampling=releases.Sampling(temperature=0.5), limits=releases.Limits(),
            engine=releases.Engine(), comment="", actor="t", at_us=4,
        )  # fmt: skip
        weights = ((1, 9_000), (second.number, 1_000))
        await services.set_split(
            s, service="ops", actor="t", at_us=5, expected_version=None,
            arms=[services.Arm(release=number, weight_bp=bp) for number, bp in weights],
        )  # fmt: skip

    await store.write(work)
    await store.close()


@pytest.fixture
def tmux(node: Node, tmp_path: Path) -> Iterator[Tmux]:
    """The screen in a tmux of 80×24, with the exit code once it has quit."""
    command = ["sh", "-c", f"{PADDOCK}; echo quit with $?; cat"]
    opened = Tmux(tmp_path, command, node.environment)
    yield opened
    opened.close()


@needs_tmux
def test_in_tmux_every_place_fits_80_by_24(tmux: Tmux, node: Node) -> None:
    """The pulse at once, the others by their letter; the node keeps running after q."""
    shown = tmux.until("worker ops-1.0.0 ● ready")
    assert "LIVE ops r1 90% · r2 10%" in shown
    assert "…" not in shown
    assert shown.rstrip("\n").count("\n") == 23
    tmux.press("t")
    assert "set now r1 90 % · r2 10 %" in tmux.until("─ ops ─")
    tmux.press("l")
    tmux.until("no request yet")
    tmux.press("?")
    tmux.until("KEYS OF REQUESTS")
    tmux.press("Escape", "Escape", "Escape")
    tmux.until("PROCESSES")
    tmux.press("q")
    tmux.until("quit with 0")
    assert node.lives()
    assert "runs, pid" in node.paddock("status").stdout


def test_status_prints_the_port_in_use(node: Node) -> None:
    """Not the one that this terminal's environment, or config.toml by now, would have."""
    other = Node(node.home, node.port + 1 if node.port < 65_535 else 1_025)
    assert f"gateway http://127.0.0.1:{node.port}\n" in other.paddock("status").stdout


@needs_tmux
def test_in_tmux_a_split_is_undone_once_and_set_again(tmux: Tmux, node: Node) -> None:
    """Armed, asked, confirmed, carried out by the real node; a second undo changes nothing."""
    tmux.until("LIVE ops")
    tmux.press("t")
    tmux.until("read-only: :rw first")
    tmux.press(":", "r", "w", "Enter")
    tmux.until("RW 15 min")
    tmux.press("u")
    tmux.until("enter: do it")
    tmux.press("Escape", "Enter")  # in one go
    tmux.until("enter: do it", gone=True)
    tmux.press("u")
    tmux.until("enter: do it")
    tmux.press("Enter")
    tmux.until("set now r1 100 %")
    tmux.press("u")
    tmux.until("ops is already back at")
    tmux.press("s")
    tmux.until("enter shows the effect")
    tmux.press("C-u", *"r1=90 r2=10", "Enter")
    tmux.until("enter: do it")
    tmux.press("Enter")
    tmux.until("set now r1 90 % · r2 10 %")
    split = node.read(lambda s: services.find(s, "ops")).split
    assert [(arm.release, arm.weight_bp) for arm in split.arms] == [(1, 9_000), (2, 1_000)]


def test_keys_typed_before_a_question_is_drawn_do_not_answer_it(node: Node) -> None:
    """The key that asks and the enter arrive in one packet; the question waits to be read."""
    before = node.read(lambda s: intents.tail(s, limit=1))
    terminal = screen_bytes.start(node.home.root, 80, 24)
    try:
        assert terminal.read(PATIENCE_S, b"TRAFFIC")
        terminal.press("t")
        assert terminal.read(PATIENCE_S, b"SERVICES")
        terminal.press(":rw\r")
        assert terminal.read(PATIENCE_S, b"RW 15")
        terminal.press("s")
        assert terminal.read(PATIENCE_S, b"enter shows the effect")
        terminal.press("\x15r1=80 r2=20\r\r")
        assert terminal.read(PATIENCE_S, b"do it")
    finally:
        terminal.close()
    assert node.read(lambda s: intents.tail(s, limit=1)) == before


@needs_tmux
def test_in_tmux_a_killed_node_and_its_return_are_seen(tmux: Tmux, node: Node) -> None:
    """From one second to the next nothing is live; the store stays to be looked at."""
    tmux.until("worker ops-1.0.0 ● ready")
    os.kill(node.read(processes.node_now).pid, signal.SIGKILL)
    shown = tmux.until("NODE DOWN")
    assert "nothing is live" in shown
    assert "TRAFFIC ops" in shown
    tmux.press("t", "s")
    tmux.until("Not done: the node is down")
    assert node.paddock("serve", "--detach").returncode == 0
    tmux.until("LIVE ops")
    tmux.press("o")
    tmux.until("worker ops-1.0.0 ● ready")


@needs_tmux
def test_in_tmux_a_hung_worker_is_in_the_first_row(tmux: Tmux, node: Node) -> None:
    """Neither a frozen screen nor a terminal that is too small hides it."""
    tmux.until("worker ops-1.0.0 ● ready")
    tmux.press("Space")
    tmux.until("FROZEN")
    (pid,) = (each.pid for each in node.read(processes.every) if each.kind.is_instance)
    os.kill(pid, signal.SIGSTOP)
    try:
        tmux.until("▲ ops", row=1)  # it is silent, and its service cannot answer
        tmux.do("resize-window", "-x", "79", "-y", "20")
        tmux.until("no other key acts")
        tmux.until("▲ ops", row=1)  # still, or by now it was killed and restarted
    finally:
        with contextlib.suppress(ProcessLookupError):  # the node has killed it
            os.kill(pid, signal.SIGCONT)
    tmux.until("cannot answer", row=1, gone=True)


@needs_tmux
def test_in_tmux_a_worker_that_was_killed_is_told_with_the_signal(tmux: Tmux, node: Node) -> None:
    """It is back within a second; how it died stays among what happened last."""
    tmux.until("worker ops-1.0.0 ● ready")
    (pid,) = (each.pid for each in node.read(processes.every) if each.kind.is_instance)
    os.kill(pid, signal.SIGKILL)
    tmux.until("ops-1.0.0:1 crashed: it was killed by SIGKILL")
    tmux.until("worker ops-1.0.0 ● ready ↻")
    assert "the last time it was killed by SIGKILL" in node.paddock("status").stdout


@needs_tmux
def test_in_tmux_requests_without_a_valid_key_are_in_the_first_row(tmux: Tmux, node: Node) -> None:
    """They belong to no arm, whose error rate stays as it is."""
    tmux.until("worker ops-1.0.0 ● ready")
    for _ in range(9):
        answer = httpx.post(
            f"http://127.0.0.1:{node.port}/v1/chat/completions",
            headers={"authorization": "Bearer pk-revoked"},
            json={"model": "ops", "messages": []},
        )
        assert answer.status_code == 401
    assert "LIVE" not in tmux.until("▲ 9 without a valid key", row=1).split("\n")[0]


@needs_tmux
def test_in_tmux_a_hung_gateway_is_in_the_first_row(tmux: Tmux, node: Node) -> None:
    """It measures nothing and writes nothing: that it does not answer is what is known."""
    tmux.until("worker ops-1.0.0 ● ready")
    (pid,) = (each.pid for each in node.read(processes.every) if each.name == "gateway")
    os.kill(pid, signal.SIGSTOP)
    try:
        tmux.until("▲ gateway silent", row=1)
    finally:
        with contextlib.suppress(ProcessLookupError):  # the node has killed it
            os.kill(pid, signal.SIGCONT)
    tmux.until("silent", row=1, gone=True)


@needs_tmux
def test_in_tmux_a_terminal_may_shrink_and_grow(tmux: Tmux) -> None:
    """Too small is said, and everything is back when there is room."""
    tmux.until("TRAFFIC ops")
    tmux.do("resize-window", "-x", "60", "-y", "20")
    tmux.until("this terminal has 60×20")
    tmux.do("resize-window", "-x", "120", "-y", "40")
    assert "LAT P50" in tmux.until("TRAFFIC ops")


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A box whose node is down: nothing in it changes any more."""
    return populated_homes.make(tmp_path_factory.mktemp("silent") / "home", populated_homes.quiet)


def test_a_screen_on_which_nothing_changes_writes_nothing(silent: Home) -> None:
    """Not one byte once it has been drawn, however often it looks; a key is drawn at once."""
    terminal = screen_bytes.start(silent.root, 80, 24)
    try:
        assert terminal.read(PATIENCE_S, b"NODE DOWN")
        while terminal.seen[-1][0] > time.monotonic() - 1:  # the rest of the first frames
            terminal.read(1.0)
        quiet_since = time.monotonic()
        terminal.read(4.0)
        assert terminal.written(quiet_since) == b""
        terminal.press("t")
        assert terminal.read(PATIENCE_S, b"SERVICES")
    finally:
        terminal.close()


PROGRAM = """
import sys
from pathlib import Path
from app import tui
from storage.home.paths import Home
tui.run(Home(Path(sys.argv[1])))
loaded = [name for name in ("llama_cpp", "engine", "numpy", "starlette") if name in sys.modules]
print("loaded:", "app.actions" in sys.modules, "app.reader" in sys.modules, loaded)
"""


def test_the_running_screen_never_loads_the_engine(
    silent: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at its start, not for its figures, not for its actions."""
    monkeypatch.setattr(screen_bytes, "PROGRAM", PROGRAM)
    terminal = screen_bytes.start(silent.root, 80, 24)
    try:
        assert terminal.read(PATIENCE_S, b"NODE DOWN")
        terminal.press("tl?")
        assert terminal.read(PATIENCE_S, b"services list")
        terminal.press("q")
        assert terminal.read(PATIENCE_S, b"loaded: True True []"), terminal.written()[-300:]
    finally:
        terminal.close()
