"""A person at the screen in a test: the program, a clock that does not run, and a node.

`FakeNode` replaces the control socket only. What it accepts is carried out by the real
controllers, so that the screen meets their decisions and their sentences.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import pytest
from textual.pilot import Pilot

from app import snapshot
from app.liveness import Readiness
from app.screens.place import Place
from app.tui import Tui
from app.widgets.lines import Lines
from engine.control import reconcile
from engine.control.intents import Intents
from storage import errors, intents
from storage import store as stores
from storage.control_socket import client, verbs
from storage.home.paths import Home
from tests.app import populated_homes

_PATIENCE: Final = 10_000
_FRAME_S: Final = 0.02
_STILL: Final = 2
SELDOM_S: Final = 3600.0  # looks happen when something is done, not when time passes


def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's terminal shows on the screen."""
    for name in ("NO_COLOR", "TEXTUAL_THEME", "PADDOCK_CHART"):
        monkeypatch.delenv(name, raising=False)


@dataclass
class FakeNode:
    """A node whose control socket answers, or does not."""

    name: str = "sara"
    role: str = "operator"
    down: bool = False
    alone: bool = False  # control does not run
    full: bool = False  # the disk is
    port: int = 8411  # the gateway's, in use
    processes: list[dict[str, Any]] = field(default_factory=list)
    readiness: Readiness = field(default_factory=Readiness)
    gateways: list[str] = field(default_factory=list)  # the addresses that were asked
    asked: list[tuple[str, str, Mapping[str, Any], int | None]] = field(default_factory=list)

    async def who(self, home: Home) -> client.Person:
        """Who is here."""
        del home
        if self.down:
            raise errors.NodeIsDown("The node is not running; start it with `paddock serve`.")
        return client.Person(self.name, self.role)

    async def state(self, home: Home) -> dict[str, Any]:
        """What the node says of itself."""
        await self.who(home)
        return {
            "pid": 4242, "version": "0.1.0", "started_at_us": populated_homes.NOW_US,
            "gateway": {"host": "127.0.0.1", "port": self.port}, "trouble": None,
            "processes": self.processes,
        }  # fmt: skip

    async def ready(self, http: object, url: str, answer_s: float) -> Readiness:
        """What the gateway says of itself."""
        del http, answer_s
        self.gateways.append(url)
        return replace(self.readiness, unwritten="The disk is full." if self.full else "")

    async def ask(
        self,
        home: Home,
        verb: str,
        target: str,
        arguments: Mapping[str, Any],
        *,
        reason: str = "",
        expected_version: int | None = None,
        idempotency_key: str | None = None,
        confirm: str = "",
    ) -> client.Accepted:
        """Store the intent and let control carry it out."""
        self.asked.append((verb, target, arguments, expected_version))
        if self.down:
            raise errors.NodeIsDown("The node is not running; start it with `paddock serve`.")
        verbs.parse(verb, arguments)
        verbs.check(verbs.TABLE[verb], target=target, confirm=confirm, reason=reason)
        store = await stores.open(home, now_us=lambda: populated_homes.NOW_US)
        try:
            id = await store.write(
                lambda s: intents.accept(
                    s, actor=self.name, role=self.role, verb=verb, target=target,
                    arguments=arguments, reason=reason, expected_version=expected_version,
                    idempotency_key=idempotency_key, at_us=populated_homes.NOW_US,
                )
            )  # fmt: skip
            if not self.alone:
                await reconcile.Loop(
                    store, [Intents()], now_us=lambda: populated_homes.NOW_US
                ).settle()
        finally:
            await store.close()
        return client.Accepted(id, self.name, self.role)


class Clock:
    """A clock that moves only by `pass_s`."""

    def __init__(self, now_us: int = populated_homes.NOW_US) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        """Now."""
        return self.now_us

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        self.now_us += round(seconds * populated_homes.SECOND_US)


def program(
    home: Home, *, clock: Callable[[], int] | None = None, chart: str = "braille", theme: str = ""
) -> Tui:
    """The screen before it runs."""
    return Tui(home, chart=chart, theme=theme or None, now_us=clock or Clock(), every_s=SELDOM_S)


@dataclass
class RunningScreen:
    """The running screen, with keys to press and text to read."""

    app: Tui
    pilot: Pilot[None]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition; give up long after it should have come true."""
        for _ in range(_PATIENCE):
            if condition():
                return
            await self.pilot.pause(0.01)
        raise AssertionError(f"never came true; the screen shows\n{self.text}")

    async def press(self, *keys: str) -> None:
        """Press keys, and let all of what follows be drawn."""
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def type(self, text: str) -> None:
        """Type a text."""
        for each in text:
            self.app.key(each, each)
        await self.pilot.pause()

    async def go(self, *keys: str) -> None:
        """Press keys and wait until the place they lead to has what it shows."""
        await self.press(*keys)
        await self.until(self.shown)
        await self.settle()

    async def settle(self) -> None:
        """Wait until a few frames have come and gone without a change: layouts come in steps."""
        before, still = "", 0
        while still < _STILL:
            await self.pilot.pause(_FRAME_S)
            now = self.text
            before, still = now, still + 1 if now == before else 0

    def shown(self) -> bool:
        """Whether the open place has been drawn with what it wants of the store."""
        place, seen = self.place, self.app.current
        part = {
            "pulse": seen.pulse, "traffic": seen.traffic, "requests": seen.requests,
            "request": seen.request or seen.missing,
        }.get(place.where, seen)  # fmt: skip
        if not place.ready:
            return False
        return bool(seen.header.error) or (seen.query == place.wanted() and bool(part))

    async def look(self) -> None:
        """Let the poller look once more."""
        before = self.app.current
        self.app.poller.poke()
        await self.until(lambda: self.app.current is not before and self.app.poller.settled)
        await self.until(self.shown)
        await self.settle()

    @property
    def place(self) -> Place:
        """The open place."""
        place = self.app.place
        assert place is not None
        return place

    @property
    def text(self) -> str:
        """All rows of the screen, top to bottom, as they are drawn."""
        rows = [
            "".join(segment.text for segment in row).rstrip()
            for row in self.app.screen._compositor.render_strips()
        ]
        return "\n".join(rows)

    @property
    def header(self) -> str:
        """The first row."""
        return self.text.partition("\n")[0]

    @property
    def said(self) -> str:
        """The row above the keys."""
        return self.place.query_one("#bar", Lines).text

    @property
    def node(self) -> snapshot.Node:
        """The state of the node in the snapshot."""
        return self.app.current.header.node


@asynccontextmanager
async def at(app: Tui, width: int = 80, height: int = 24) -> AsyncIterator[RunningScreen]:
    """Run the screen, and wait for its first snapshot."""
    async with app.run_test(size=(width, height)) as pilot:
        screen = RunningScreen(app, pilot)
        await screen.until(lambda: screen.shown() and bool(app.table))
        await screen.settle()
        yield screen
