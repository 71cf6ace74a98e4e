"""The servers that the bench compares, on loopback, and the decode loop without a server.

A contestant defines how its process is started for a shape, when it is ready, and what a completion
request contains. Measures nothing. Imported by the bench only.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import httpx
import psutil

from storage import releases
from tests import home_fixtures
from tests.bench import figures, peers

START_S: Final = 120.0
SETTLE_S: Final = 30.0
IDLE_SHARE: Final = 0.05
"""A server that takes less of a core than this has started."""


class DidNotStart(Exception):
    """A server did not become ready; the message says where its log is."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What all contestants serve: a model, and the number and length of its sequences."""

    model: Path
    sequences: int
    context_tokens: int
    threads: int
    gpu_layers: int


@dataclass(frozen=True, slots=True)
class Running:
    """A started server: where it listens, and what requests to it must contain."""

    name: str
    port: int
    pid: int
    start_us: int
    model: str
    headers: Mapping[str, str] = field(default_factory=dict)


@asynccontextmanager
async def llama_server(shape: Shape, work: Path) -> AsyncIterator[Running]:
    """llama.cpp's own server, with the same slots as ours."""
    built = peers.build()
    port = home_fixtures.free_port()
    command = [
        str(built.llama_server),
        *("--model", str(shape.model), "--host", "127.0.0.1", "--port", str(port)),
        *("--parallel", str(shape.sequences)),
        *("--ctx-size", str(shape.sequences * shape.context_tokens)),
        *("--threads", str(shape.threads), "--threads-batch", str(shape.threads)),
        *("--gpu-layers", str(max(shape.gpu_layers, 0)), "--no-webui"),
    ]
    async with _server("llama-server", command, port, "/health", work, os.environ) as running:
        yield running


@asynccontextmanager
async def example_server(shape: Shape, work: Path) -> AsyncIterator[Running]:
    """The Python server in llama-cpp-python's examples, over the same build of llama.cpp."""
    built = peers.build()
    port = home_fixtures.free_port()
    settings = {
        "server": {"host": "127.0.0.1", "port": port},
        "model": {
            "path": str(shape.model),
            "alias": "bench",
            "n_ctx": shape.sequences * shape.context_tokens,
            "n_seq_max": shape.sequences,
            "threads": shape.threads,
            "threads_batch": shape.threads,
            "n_gpu_layers": shape.gpu_layers,
            "kv_unified": True,  # its partial sequence copies abort without
            "store_logits": False,
        },
    }
    listed = work / "example.json"
    listed.write_text(json.dumps(settings))
    env = dict(os.environ) | {
        "LLAMA_CPP_LIB_PATH": str(built.libraries),
        "MTMD_CPP_LIB": str(built.libraries),
    }
    command = [sys.executable, str(built.example_server), "-C", str(listed)]
    async with _server("example server", command, port, "/healthz", work, env) as running:
        yield running


@asynccontextmanager
async def paddock(shape: Shape, work: Path) -> AsyncIterator[Running]:
    """The whole node: gateway, control, runner and one instance, on a new home."""
    port = home_fixtures.free_port()
    box = await home_fixtures.furnish(
        work / "home",
        weights=shape.model,
        engine=releases.Engine(
            context_tokens=shape.context_tokens,
            max_sequences=shape.sequences,
            threads=shape.threads,
            gpu_layers=shape.gpu_layers,
        ),
    )
    env = dict(os.environ) | {"PADDOCK_GATEWAY__PORT": str(port)}
    command = [sys.executable, "-m", "engine", "--home", str(box.home.root)]
    async with _server("paddock", command, port, "/readyz", work, env) as running:
        yield replace(
            running,
            model=box.service,
            headers={"authorization": f"Bearer {box.secret}"},
        )


SERVERS: Final = {
    figures.OURS: paddock,
    "llama-server": llama_server,
    "example server": example_server,
}
RAW: Final = "raw loop"


@contextmanager
def raw_loop(shape: Shape, work: Path) -> Iterator[subprocess.Popen[bytes]]:
    """No server: reads a job per line and writes a line for each; see `tests.bench.raw_loop`."""
    command = [
        *(sys.executable, "-m", "tests.bench.raw_loop", "--model", str(shape.model)),
        *("--sequences", str(shape.sequences), "--context-tokens", str(shape.context_tokens)),
        *("--threads", str(shape.threads), "--gpu-layers", str(shape.gpu_layers)),
    ]
    env = dict(os.environ) | {
        "OPENBLAS_NUM_THREADS": "1",
        "GOMP_SPINCOUNT": "1000",
    }  # as in a worker
    with (work / "raw-loop.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            env=env,
            cwd=peers.ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    with process:
        try:
            yield process
        finally:
            process.kill()


@asynccontextmanager
async def _server(
    name: str, command: list[str], port: int, path: str, work: Path, env: Mapping[str, str]
) -> AsyncIterator[Running]:
    log = work / f"{name.replace(' ', '-')}.log"
    with log.open("ab") as said:
        began = time.monotonic_ns()
        process = subprocess.Popen(  # noqa: ASYNC220 starting it is what is timed
            command, env=dict(env), cwd=peers.ROOT, stdin=subprocess.DEVNULL, stdout=said,
            stderr=said,
        )  # fmt: skip
    try:
        await _ready(process, f"http://127.0.0.1:{port}{path}", log)
        took_us = (time.monotonic_ns() - began) // 1000
        await _settled(psutil.Process(process.pid))
        yield Running(name, port, process.pid, took_us, model="bench")
    finally:
        await asyncio.to_thread(_stop, process)


async def _ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + START_S
    async with httpx.AsyncClient(timeout=2) as client:
        while time.monotonic() < until and process.poll() is None:
            try:
                if (await client.get(url)).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.01)
    raise DidNotStart(f"{url} did not answer; the server's log is {log}")


async def _settled(server: psutil.Process) -> None:
    """Wait until it idles: the node's other processes still start when its gateway serves."""
    until = time.monotonic() + SETTLE_S
    used_s = _used_s(server)
    while time.monotonic() < until:
        await asyncio.sleep(1)
        before_s, used_s = used_s, _used_s(server)
        if used_s - before_s < IDLE_SHARE:
            return


def _used_s(server: psutil.Process) -> float:
    """Processor time of a process and all its descendants."""
    times = [each.cpu_times() for each in (server, *server.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
