"""A gateway process over a real store, with real workers or fake ones, on a port of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx

from storage import deployments, keys, prompts, releases, services
from storage import store as stores
from storage.home import paths as homes
from storage.home.paths import Home
from storage.keys import Role
from storage.releases import Engine, Limits, Release, Sampling
from storage.services import Arm
from storage.store import Store
from tests import home_fixtures
from tests.home_fixtures import ADAPTER, WEIGHTS

ENGINE = Engine(context_tokens=512, max_sequences=16, threads=1)


@dataclass
class Stack:
    """What a test needs to know of it."""

    home: Home
    port: int
    secrets: dict[str, str]
    releases: dict[str, Release]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _readers: dict[str, threading.Thread] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where clients go."""
        return f"http://127.0.0.1:{self.port}"

    def http(self, key: str | None = "client", **headers: str) -> httpx.Client:
        """A plain HTTP client with a key."""
        if key is not None:
            headers["authorization"] = f"Bearer {self.secrets[key]}"
        return httpx.Client(base_url=self.url, headers=headers, timeout=120)

    def kill(self, name: str) -> None:
        """As a crash does."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()
        self._readers.pop(name).join()

    def stop(self, name: str) -> int:
        """As the node does."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
        self._readers.pop(name).join()
        return code

    def start_worker(self, release: Release, number: int = 1, model: Path = WEIGHTS) -> str:
        """A real instance of a release's deployment; returns its name when it is ready."""
        engine = release.engine
        assert engine is not None
        instance = deployments.instance(release.deployment, number)
        name = release.deployment if number == 1 else instance
        self._start(
            name,
            "engine.serving",
            *("--socket", str(self.home.worker(instance)), "--model", str(model)),
            *("--name", release.deployment, "--sha256", home_fixtures.digest(model)),
            *("--max-sequences", str(engine.max_sequences), "--threads", "1"),
            *("--context-tokens", str(engine.context_tokens)),
            *("--task", engine.task),
        )
        return name

    def start_gateway(
        self,
        *arguments: str,
        files: int | None = None,
        through: tuple[str, ...] = (),
        **settings: str,
    ) -> None:
        """The gateway; returns when it listens.

        `files` is its limit of open files, `through` a command that runs it; `settings` are those
        of `[gateway]`.
        """
        under = through if files is None else ("sh", "-c", f'ulimit -n {files}; exec "$@"', "sh")
        self._start(
            "gateway",
            "engine.gateway",
            *("--home", str(self.home.root), *arguments),
            under=under,
            settings=settings,
        )

    def until_ready(self) -> None:
        """Wait until every arm produces tokens."""
        with self.http(None) as client:
            while client.get("/readyz").status_code != 200:
                assert self.processes["gateway"].poll() is None

    def _start(
        self,
        name: str,
        module: str,
        *arguments: str,
        under: tuple[str, ...] = (),
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        environment = os.environ | {"PADDOCK_GATEWAY__PORT": str(self.port)}
        environment |= {f"PADDOCK_GATEWAY__{key.upper()}": value for key, value in settings.items()}
        with self.home.log(name).open("ab") as log:
            process = subprocess.Popen(
                [*under, sys.executable, "-m", module, *arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
            )
        assert process.stdout is not None
        if not any(json.loads(line).get("ready") for line in process.stdout):
            with process:
                raise AssertionError(self.home.log(name).read_text())
        self.processes[name] = process
        self._readers[name] = threading.Thread(target=_drain, args=(process.stdout,))
        self._readers[name].start()


def _drain(pipe: Any) -> None:
    with pipe:
        for _ in pipe:
            pass


async def furnish(root: Path) -> Stack:
    """A home with two releases of one service, a plain one, and a key of each kind."""
    home = homes.make(Home(root))
    store = await stores.open(home)
    secrets = {"wrong": keys.mint().secret}
    made: dict[str, Release] = {}

    async def work(s: Any) -> None:
        base = await home_fixtures.add_model(s, WEIGHTS)
        adapter = await home_fixtures.add_model(s, ADAPTER, "1.1.0", base)
        prompt = await prompts.add(
            s,
            prompt="terse",
            messages=[
                prompts.Message(role="system", template="You are a helpful {{ kind }}.{{ more }}")
            ],
            variables=[
                prompts.Variable(name="kind", default="assistant"),
                prompts.Variable(name="more", default=""),
            ],
            author="t",
            comment="",
            at_us=1,
        )
        broken = await prompts.add(
            s,
            prompt="broken",
            messages=[prompts.Message(role="system", template="one\n{{ nobody }}")],
            variables=[],
            author="t",
            comment="",
            at_us=1,
        )
        for name, model, own, limits in (
            ("plain", base, None, Limits(max_tokens=48)),
            ("prompted", base, prompt, Limits(max_tokens=48, max_tokens_cap=400)),
            ("adapted", adapter, prompt, Limits(max_tokens=48)),
            ("broken", base, broken, Limits()),
            ("hasty", base, None, Limits(queue_s=0.05)),
        ):
            made[name] = await releases.create(
                s,
                model_version=model,
                base=base if model is adapter else None,
                prompt_version=own,
                sampling=Sampling(temperature=0.0),
                limits=limits,
                engine=ENGINE,
                comment="",
                actor="t",
                at_us=2,
            )
        for service, release, record in (
            ("ops", made["prompted"], True),
            ("raw", made["plain"], False),
            ("faulty", made["broken"], False),
        ):
            await services.create(
                s, name=service, release=release.number, record_text=record, actor="t", at_us=3
            )
        await services.set_split(
            s,
            service="ops",
            arms=[
                Arm(release=made["prompted"].number, weight_bp=5000),
                Arm(release=made["adapted"].number, weight_bp=5000),
            ],
            expected_version=None,
            actor="t",
            at_us=4,
        )
        for name in ("client", "viewer", "operator", "synthetic", "other"):
            secrets[name] = await home_fixtures.add_key(
                s,
                name,
                Role(name) if name in {"viewer", "operator"} else Role.CLIENT,
                tenant="elsewhere" if name == "other" else "here",
                synthetic=name == "synthetic",
            )

    await store.write(work)
    await store.close()
    return Stack(home, home_fixtures.free_port(), secrets, made)


@contextmanager
def running(stack: Stack) -> Iterator[Stack]:
    """Whatever it has started is gone afterwards."""
    try:
        yield stack
    finally:
        for name in list(stack.processes):
            stack.kill(name)


@contextmanager
def serving(home: Path) -> Iterator[Stack]:
    """A stack whose gateway and one worker, of the plain release, are ready."""
    made = asyncio.run(furnish(home))
    with running(made):
        made.start_worker(made.releases["plain"])
        made.start_gateway()
        made.until_ready()
        yield made


async def opened(stack: Stack) -> Store:
    """The store of a stack."""
    return await stores.open(stack.home)
