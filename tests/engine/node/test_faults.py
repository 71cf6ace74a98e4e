"""A fault of the node itself is its end, and never a box that looks well and is not."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from engine.node import commands, node, recovery, specs
from engine.node.specs import Spec
from storage import processes
from storage.home import config
from storage.home import paths as homes
from storage.home.paths import Home

_LISTENS = (
    "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
    "print('{\"ready\": true}', flush=True)\nsignal.sigwait([signal.SIGTERM])\n"
)


async def test_a_fault_while_the_other_parts_are_started_ends_the_node_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without control nothing that people ask for would ever be done."""

    def broken(_home: Home) -> Spec:
        raise RuntimeError("no plan")

    monkeypatch.setattr(commands, "control", broken)
    home = homes.make(Home(tmp_path / "home"))
    life = await recovery.begin(home)
    command = (sys.executable, "-c", _LISTENS)
    gateway = specs.start(Spec("gateway", "gateway", command, home.log("gateway")))
    said: list[dict[str, object]] = []
    here = node.Node(
        home, life, config.load(home), gateway=gateway, say=lambda **words: said.append(words)
    )
    hangup = signal.getsignal(signal.SIGHUP)
    try:
        assert await here.run() == node.FAULT
    finally:
        signal.signal(signal.SIGHUP, hangup)
    assert here.why == (
        "the node stopped: start of the other processes failed (RuntimeError('no plan'))"
    )
    assert gateway.poll() is not None
    async with life.store.read() as session:
        assert {each.state for each in await processes.every(session)} == {processes.State.STOPPED}
    await life.end()
