"""One run of the demo: a node with the shipped models under synthetic load, and its end.

Every step checks before it acts: a second run continues in the same data directory, however the
first one ended. It prints what it does and asks nothing. Imported by `app.commands.demo`.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import shlex
import socket
import time
from typing import Final

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


class Run:
    """One run of the demo on its home."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.url = ""
        self.started = False
        self.stop_wanted = False
        self.load: load_process.Load | None = None
        self.begun_us = clock.now_us()
        self.minted: list[str] = []

    async def begin(self) -> None:
        """Node, models, releases, service, keys, load: each unless it is there already."""
        config_file.write(self.home.config)
        terminal.say(f"The demo's data directory is {self.home.root}; your own box is not touched.")
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
        terminal.say(f"Attach the screen from another terminal: {demo_home.command(self.home)}")
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
        raise errors.NodeDidNotStart(
            "Every port that was free was taken before the node started; run `paddock demo` again."
        )

    def _find_port(self) -> None:
        """Keep the configured port if it is free, else write a free one to config.toml."""
        if not node_client.taken(self.home):
            return
        host, port = node_client.address(self.home)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
            free = int(probe.getsockname()[1])
        config_file.set_port(self.home.config, free)
        if node_client.address(self.home) != (host, free):
            raise errors.NodeDidNotStart(
                f"Port {port} is taken by another program, and the environment sets it by "
                "PADDOCK_GATEWAY__PORT; unset that variable or name a free port."
            )
        terminal.say(f"Port {port} is taken by another program; the demo uses port {free}.")

    async def _key(self, *, synthetic: bool) -> str:
        """Create a key of this run; only its hash is stored."""
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
        """Revoke the keys of runs that were killed."""
        for key in await self._revoke(demo_home.keys(self.home)):
            terminal.complain(f"The key {key} of an earlier demo could not be revoked.")

    async def _revoke(self, names: list[str]) -> list[str]:
        """Revoke keys of demos; returns those that could not be revoked."""
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
        """Run without a screen, then print the status; fail unless both arms answered."""
        terminal.say(f"No screen: running for {seconds:g} s.")
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await asyncio.sleep(_LOOK_S)
            if not await node_client.running(self.home):
                raise errors.AppError(
                    f"The node exited during the demo; its log is {self.home.logs / 'node.log'}"
                )
        until = time.monotonic() + _RECORDED_S
        answered = await self.answered()
        while len(answered) < len(setup.SPLIT) and time.monotonic() < until:
            await asyncio.sleep(_LOOK_S)
            answered = await self.answered()
        await status.print_now(as_json=False)
        counted = ", ".join(f"{arm} {count}" for arm, count in sorted(answered.items()))
        if len(answered) < len(setup.SPLIT):
            raise errors.AppError(
                f"Not both arms have answered and been recorded: {counted or 'no request at all'}. "
                f"The logs are in {self.home.logs}"
            )
        terminal.say(f"\nRecorded answers to synthetic requests in this run: {counted}.")

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
        """Stop the load, revoke this run's keys, and with `stop` stop the node."""
        if self.load is not None:
            self.load.stop()
        if not await node_client.running(self.home):
            return
        try:
            for key in await self._revoke(self.minted):
                terminal.complain(f"The key {key} could not be revoked; the next demo tries again.")
        finally:  # a node that was started is stopped, whatever becomes of the keys
            if stop:
                await node_client.stop(self.home)
        if stop:
            terminal.say("The node and the synthetic load have stopped.")
        else:
            terminal.say(
                "The synthetic load has stopped; the node, which ran before this demo, keeps "
                "running.\n"
                f"Stop it: {demo_home.command(self.home, 'stop')}"
            )


def curl(url: str, key: str) -> str:
    """A shell command that asks the service a question it can answer."""
    body = json.dumps(
        {"model": setup.SERVICE, "messages": [{"role": "user", "content": setup.QUESTION}]}
    )
    return (
        f"curl -s {url}/v1/chat/completions -H {shlex.quote(f'authorization: Bearer {key}')} "
        f"-H 'content-type: application/json' -d {shlex.quote(body)}"
    )
