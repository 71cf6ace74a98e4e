"""What a drill makes for itself: a model, releases, a service, a key, silences; and its removal.

Everything has the drill's own name, is made through intents on behalf of the person who started
the drill, and is removed in the same way, however the drill ended. Imported by `runbooks.drills`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from runbooks.drills import made
from runbooks.walk.box import Box
from storage import (
    alerts,
    deployments,
    errors,
    keys,
    knobs,
    models,
    processes,
    releases,
    retired_releases,
)
from storage.alert_rules import Rule
from storage.control_socket import client
from storage.home import config
from storage.home.paths import Home
from storage.intents import Intent, State
from storage.processes import Process

MODEL: Final = "drill"
CONTEXT: Final = 1024
_OUTCOME_S: Final = 120.0
_ALERTS_S: Final = 60.0
_SHIPPED: Final = "ops-1.0.0.gguf"


class Broken(Exception):
    """A drill cannot be prepared; the message says why."""


class Site:
    """The service of a drill and all that belongs to it."""

    def __init__(self, box: Box, home: Home, intent: Intent, name: str) -> None:
        self.box = box
        self.home = home
        self.name = f"drill-{name}"
        self.key = keys.mint()
        self.releases: list[str] = []
        self._intent = intent
        self._token = secrets.token_hex(4)
        self._asked = 0

    @property
    def url(self) -> str:
        """Where the gateway listens."""
        gateway = config.readable(self.home)[0].gateway
        host = "127.0.0.1" if gateway.host in {"0.0.0.0", "::"} else gateway.host  # noqa: S104
        return f"http://{host}:{gateway.port}"

    async def ask(
        self, verb: str, target: str, arguments: Mapping[str, Any] | None = None, confirm: str = ""
    ) -> Intent:
        """Ask for something and wait for how it ended."""
        self._asked += 1
        accepted = await client.ask(
            self.home, verb, target, arguments or {}, reason=made.reason(self.name),
            on_behalf_of=self._intent.id, confirm=confirm,
            idempotency_key=f"drill {self._intent.id} {self._token} {self._asked}",
        )  # fmt: skip
        store = self.box.store
        return await self.box.patiently(lambda: client.wait(store, accepted.intent_id, _OUTCOME_S))

    async def must(self, verb: str, target: str, arguments: Mapping[str, Any], **more: str) -> str:
        """The same, and it has to be applied; its outcome's sentence.

        Raises:
            Broken: it was refused, failed, or did not end.
        """
        ended = await self.ask(verb, target, arguments, **more)
        if ended.state is not State.APPLIED:
            raise Broken(f"{verb} {target}: {ended.outcome or 'it did not end'}")
        return ended.outcome or ""

    async def prepare(self) -> None:
        """The model that ships with Paddock, a release on its own worker, the service, a key."""
        known = {each.name for each in await self.box.read(models.every)}
        if f"{MODEL}@1.0.0" not in known:
            added = {"model": MODEL, "version": "1.0.0", "path": str(shipped())}
            await self.must("models.add", MODEL, added)
        stable = await self.release(
            {
                "model": f"{MODEL}@1.0.0",
                "engine": {
                    "context_tokens": CONTEXT, "max_sequences": 4, "threads": 1,
                    "prefill_budget": 200 + abs(hash_of(self.name)) % 300,
                },
            }
        )  # fmt: skip
        await self._as_new()
        await self.must("services.create", self.name, {"release": stable})
        await self.must(
            "keys.add",
            self.key_name,
            {
                "name": self.key_name, "prefix": self.key.prefix, "sha256": self.key.sha256,
                "role": "client", "tenant": self.name, "synthetic": True,
            },
        )  # fmt: skip

    async def _as_new(self) -> None:
        """Set the knobs to their defaults that the drill before left on the same deployment."""
        name = await self.deployment()
        engine = (await self.box.read(lambda s: deployments.find(s, name))).engine
        known = {} if engine is None else knobs.defaults(engine)
        for knob, value in (await self.box.read(lambda s: knobs.of(s, name))).items():
            if knob in known and value != known[knob]:
                await self.must("knobs.set", name, {"name": knob, "value": known[knob]})

    @property
    def key_name(self) -> str:
        """A key's name is never used twice, so the drill's number is part of it."""
        return f"{self.name}-{self._intent.id}"[:36]

    async def release(self, content: Mapping[str, Any]) -> str:
        """A release for this drill; its name.

        It is that of the drill before, which retired it, where its content is the same.
        """
        said = await self.must("releases.create", "", {**content, "comment": self.name})
        name = said.split()[0]
        self.releases.append(name)
        if name.removeprefix("r") in {
            str(each) for each in await self.box.read(retired_releases.every)
        }:
            await self.must("releases.unretire", name, {})
        return name

    async def misbehaving(self, **how: str) -> str:
        """A release on a server with given answers and delay (see `runbooks.drills.server`)."""
        command = [sys.executable, "-m", "runbooks.drills.server", "--port", "{port}"]
        for name, value in how.items():
            command += [f"--{name}", value]
        server = {"command": command, "model": MODEL, "context_tokens": CONTEXT}
        return await self.release({"server": server})

    async def split(self, release: str) -> None:
        """All of the traffic to one release."""
        await self.must("services.split", self.name, {"arms": {release: 10_000}})

    async def quiet(self, for_s: int) -> None:
        """Silence alerts about what the drill made; each silence has an end in any case."""
        deployment = await self.deployment()
        instance = deployments.instance(deployment, 1)
        for matcher in (
            f"service={self.name}", f"deployment={deployment}", f"process={instance}",
            f"worker={instance}",
        ):  # fmt: skip
            await self.must("alerts.silence", "alerts", {"matchers": [matcher], "for_s": for_s})

    async def rule(self, rule: Rule) -> None:
        """A rule that is in force until the drill ends; it has the drill's name."""
        await self.must("alerts.set_rules", "alerts", {"rules": [msgspec.to_builtins(rule)]})

    async def names(self) -> frozenset[str]:
        """What alerts about the drill call what it made."""
        if not self.releases:
            return frozenset({self.name})
        deployment = await self.deployment()
        return frozenset({self.name, deployment, deployments.instance(deployment, 1)})

    async def deployment(self) -> str:
        """The deployment of the first release."""
        return (await self.box.read(lambda s: releases.find(s, self.releases[0]))).deployment

    async def worker(self) -> Process | None:
        """The first instance of that deployment as it is now; None while there is none."""
        if not self.releases:
            return None
        name = deployments.instance(await self.deployment(), 1)
        found = {each.name: each for each in await self.box.read(processes.every)}
        return found.get(name)

    async def remove(self) -> list[str]:
        """Remove all of it; what could not be removed, in sentences."""
        left = []
        found = await self.box.read(lambda s: made.own(s, self.name, self.box.now_us()))
        for service in found.services:
            left += await self._gone(
                "services.remove", service, {"despite_traffic": True}, confirm=service
            )
        for key in found.keys:
            left += await self._gone("keys.revoke", key, {}, confirm=key)
        for release in found.releases:
            left += await self._gone("releases.retire", release, {})
        for rule in found.rules:
            left += await self._gone("alerts.remove_rule", rule, {})
        if found.silences and await self._alerts_end():
            for silence in found.silences:
                left += await self._gone("alerts.unsilence", silence, {})
        return left

    async def _alerts_end(self) -> bool:
        """Whether the alerts about the drill end; where they do not, the silences outlive it."""
        names = await self.names()
        until = asyncio.get_running_loop().time() + _ALERTS_S
        while asyncio.get_running_loop().time() < until:
            active = await self.box.read(alerts.active)
            if not any(names & set(each.about.values()) for each in active):
                return True
            await self.box.news(1.0)
        return False

    async def _gone(
        self, verb: str, target: str, arguments: dict[str, Any], **more: str
    ) -> list[str]:
        try:
            ended = await self.ask(verb, target, arguments, **more)
        except errors.StorageError as error:
            return [f"{verb} {target}: {error}"]
        if ended.state is State.APPLIED:
            return []
        return [f"{verb} {target}: {ended.outcome or 'it did not end'}"]


def shipped() -> Path:
    """The small model that ships with the engine; found without importing it.

    Raises:
        Broken: the engine is not installed beside the runner.
    """
    spec = importlib.util.find_spec("engine")
    if spec is None or spec.origin is None:
        raise Broken("The engine is not installed beside the runner.")
    return Path(spec.origin).parent / "shipped" / _SHIPPED


def hash_of(name: str) -> int:
    """A number for a name, the same in every process."""
    return sum(position * ord(letter) for position, letter in enumerate(name, 1))
