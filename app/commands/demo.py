"""`paddock demo`: a box of its own with the shipped models, under synthetic load.

It acts only in a home that a demo made, so that a real box is never touched. Every step looks
before it acts: a second run takes up the same home, whatever ended the first.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shlex
import signal
import socket
import time
from pathlib import Path
from typing import Annotated, Final

import typer

from app import config_file, errors, node_client, session, terminal
from app.commands import status
from app.demo import demo_home, load_process, setup
from storage import errors as storage_errors
from storage import keys, requests
from storage.home import clock
from storage.home.paths import Home

_RECORDED_S: Final = 4.0  # requests are written up to a second late
_LOOK_S: Final = 0.25
_PORTS_TRIED: Final = 3


def demo(
    ctx: typer.Context,
    home: Annotated[
        Path | None,
        typer.Option("--home", metavar="DIR", help="The demo's own; also PADDOCK_DEMO_HOME."),
    ] = None,
    headless: Annotated[
        bool, typer.Option("--headless", help="No screen; also with PADDOCK_HEADLESS=1.")
    ] = False,
    seconds: Annotated[
        float, typer.Option("--seconds", min=1, help="How long it runs without a screen.")
    ] = 20.0,
) -> None:
    """A node with the shipped models under synthetic load, and the screen on it."""
    if ctx.find_root().params.get("home") is not None:
        raise errors.BadWord(
            "`paddock --home` names a box that people work with; write `paddock demo --home DIR`."
        )
    quiet = headless or bool(os.environ.get("PADDOCK_HEADLESS")) or not terminal.interactive()
    run = Demo(demo_home.find(home))
    demo_home.take(run.home)
    os.environ["PADDOCK_HOME"] = str(run.home.root)  # of this process and those it starts
    signal.signal(signal.SIGTERM, _leave)
    stop = None
    try:
        terminal.run(run.begin())
        if quiet:
            terminal.run(run.watch(seconds))
        else:
            stop = _attended(run)
    finally:
        if stop is not False:
            terminal.run(run.end(stop=run.started if stop is None else stop))
    if stop is False:
        terminal.say(
            f"The node goes on at {run.url} with its synthetic load.\n"
            f"Look: {demo_home.command(run.home)}\n"
            f"Stop both: {demo_home.command(run.home, 'stop')}"
        )


def _leave(number: int, frame: object) -> None:
    """Told to stop: unwind, so that the node and the load are stopped too."""
    del frame
    raise SystemExit(128 + number)


def _attended(run: Demo) -> bool:
    """The screen, until the person quits; then whether the node shall stop."""
    from app import tui  # noqa: PLC0415 the screen is loaded only when there is one

    tui.run(run.home)
    if run.started:
        return not terminal.ask("Shall the node go on, with its synthetic load?", default=False)
    return terminal.ask("The node ran before this demo. Shall it stop?", default=False)


class Demo:
    """One run of the demo on its home."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.url = ""
        self.started = False
        self.load: load_process.Load | None = None
        self.begun_us = clock.now_us()
        self.minted: list[str] = []

    async def begin(self) -> None:
        """Node, models, releases, service, keys, load: each unless it stands already."""
        config_file.write(self.home.config)
        terminal.say(f"The demo's home is {self.home.root}; your own box is not touched.")
        node = await self._node()
        self.url, self.started = node.url, node.started
        if node.started:
            await self._revoke_old_keys()
        await setup.register(self.home)
        await setup.serve()
        client = await self._key(synthetic=False)
        synthetic = await self._key(synthetic=True)
        await node_client.ready(self.url)
        self.load = load_process.start(self.home, self.url, setup.SERVICE, synthetic)
        terminal.say(f"The node serves {setup.SERVICE!r} at {self.url} under synthetic load.")
        terminal.say(f"Look at it from elsewhere: {demo_home.command(self.home)}")
        terminal.say(f"A client key of this run: {client}")
        terminal.say(f"Try it:\n{curl(self.url, client)}\n")
        self.begun_us = clock.now_us()

    async def _node(self) -> node_client.Node:
        """The running node, or a new one on a port that is free."""
        for _ in range(_PORTS_TRIED):
            if not await node_client.running(self.home):
                self._find_port()
            try:
                return await node_client.start(self.home)
            except errors.NodeDidNotStart:
                if not node_client.taken(self.home):
                    raise
        raise errors.NodeDidNotStart("No port stayed free long enough; run `paddock demo` again.")

    def _find_port(self) -> None:
        """Keep the port of the config when it is free; else write a free one there and say so."""
        if not node_client.taken(self.home):
            return
        host, port = node_client.address(self.home)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
            free = int(probe.getsockname()[1])
        config_file.move_port(self.home.config, free)
        terminal.say(f"Port {port} is taken by another program; the demo uses {free}.")

    async def _key(self, *, synthetic: bool) -> str:
        """A key of this run; only its hash is kept."""
        minted = keys.mint()
        kind = "load" if synthetic else "client"
        name = f"demo-{kind}-{secrets.token_hex(3)}"
        demo_home.remember(self.home, name)
        self.minted.append(name)
        await session.do(
            "keys.add",
            name,
            {
                "name": name,
                "prefix": minted.prefix,
                "sha256": minted.sha256,
                "role": keys.Role.CLIENT.value,
                "tenant": "demo",
                "synthetic": synthetic,
            },
        )
        return minted.secret

    async def _revoke_old_keys(self) -> None:
        """Keys of runs that were killed before they could tidy up."""
        for key in await self._revoke(demo_home.keys(self.home)):
            terminal.complain(f"The key {key} of an earlier demo still works.")

    async def _revoke(self, names: list[str]) -> list[str]:
        """Make keys of demos worthless; those that still work afterwards."""
        async with session.reading() as s:
            working = {key.name for key in await keys.every(s) if key.revoked_at_us is None}
        left = []
        for name in names:
            try:
                if name in working:
                    await session.do("keys.revoke", name)
            except (errors.AppError, storage_errors.StorageError) as error:
                terminal.complain(str(error))
                left.append(name)
        return left

    async def watch(self, seconds: float) -> None:
        """Let it run without a screen; then show the status and judge the run."""
        terminal.say(f"No screen: running for {seconds:g} s.")
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await asyncio.sleep(_LOOK_S)
            if not await node_client.running(self.home):
                raise errors.AppError(
                    f"The node ended during the demo; its log is {self.home.logs / 'node.log'}"
                )
        until = time.monotonic() + _RECORDED_S
        answered = await self.answered()
        while len(answered) < len(setup.SPLIT) and time.monotonic() < until:
            await asyncio.sleep(_LOOK_S)
            answered = await self.answered()
        await status.print_now(as_json=False)
        told = ", ".join(f"{arm} {count}" for arm, count in sorted(answered.items()))
        if len(answered) < len(setup.SPLIT):
            raise errors.AppError(
                f"Not both arms have answered and been recorded: {told or 'no request at all'}. "
                f"The logs are in {self.home.logs}"
            )
        terminal.say(f"\nRecorded answers to synthetic requests in this run: {told}.")

    async def answered(self) -> dict[str, int]:
        """Requests of this run that were answered and recorded, by arm."""
        async with session.reading() as s:
            found = await requests.tail(
                s, 1_000, service=setup.SERVICE, outcome=requests.Outcome.OK
            )
        counts: dict[str, int] = {}
        for request in found:
            if request.at_us >= self.begun_us and request.release is not None:
                name = f"r{request.release}"
                counts[name] = counts.get(name, 0) + 1
        return counts

    async def end(self, *, stop: bool) -> None:
        """Stop the load, make this run's keys worthless, and with `stop` the node."""
        if self.load is not None:
            self.load.stop()
        if not await node_client.running(self.home):
            return
        try:
            for key in await self._revoke(self.minted):
                terminal.complain(f"The key {key} still works; the next demo tries again.")
        finally:  # whatever the keys do, a node that was started is stopped
            if stop:
                await node_client.stop(self.home)
        if stop:
            terminal.say("The node and the synthetic load have stopped.")
        else:
            terminal.say(
                "The synthetic load has stopped; the node ran before this demo and goes on.\n"
                f"Stop it: {demo_home.command(self.home, 'stop')}"
            )


def curl(url: str, key: str) -> str:
    """A line for the shell that asks the service something it can answer."""
    body = json.dumps(
        {"model": setup.SERVICE, "messages": [{"role": "user", "content": setup.QUESTION}]}
    )
    return (
        f"curl -s {url}/v1/chat/completions -H {shlex.quote(f'authorization: Bearer {key}')} "
        f"-H 'content-type: application/json' -d {shlex.quote(body)}"
    )
