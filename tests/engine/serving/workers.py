"""A real worker process with the shipped model, and a gateway's client of it."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.serving import wire
from tests.engine.backends.one_worker import OneWorker
from tests.home_fixtures import ADAPTER, SHIPPED, WEIGHTS

NO_END = "order " * 20
"""The shipped model repeats itself after it, to the end of the context."""


@dataclass
class Heard:
    """A receiver that keeps everything; `again`: after a death, generate again."""

    again: bool = False
    deltas: list[wire.Delta] = field(default_factory=list)
    end: wire.Finished | wire.Refused | None = None
    is_lost: bool = False
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(delta.text for delta in self.deltas)

    def delta(self, delta: wire.Delta, _: int) -> None:
        """One more delta."""
        self.deltas.append(delta)
        self.begun.set()

    def finished(self, finished: wire.Finished) -> None:
        """The regular end."""
        self.end = finished
        self.over.set()

    def refused(self, refused: wire.Refused) -> None:
        """The end by refusal."""
        self.end = refused
        self.over.set()

    def lost(self) -> bool:
        """The worker died."""
        self.is_lost = True
        if self.again:
            self.deltas.clear()
        else:
            self.over.set()
        return self.again

    async def finish(self) -> wire.Finished:
        """Wait for the regular end."""
        async with asyncio.timeout(60):
            await self.over.wait()
        assert isinstance(self.end, wire.Finished), self.end
        return self.end

    async def refusal(self) -> wire.Refused:
        """Wait for the refusal."""
        async with asyncio.timeout(60):
            await self.over.wait()
        assert isinstance(self.end, wire.Refused), self.end
        return self.end


@dataclass
class Gateway:
    """The client, with every step that the worker reported."""

    client: OneWorker
    steps: list[wire.Step]

    def ask(self, submit: wire.Submit) -> Heard:
        """Submit one."""
        heard = Heard()
        self.client.submit(submit, heard)
        return heard

    async def together(self, submits: Sequence[wire.Submit]) -> list[str]:
        """All at once; each one's text."""
        many = [self.ask(submit) for submit in submits]
        for heard in many:
            await heard.finish()
        return [heard.text for heard in many]

    async def one_by_one(self, submits: Sequence[wire.Submit]) -> list[str]:
        """One after the other; each one's text."""
        return [text for submit in submits for text in await self.together([submit])]


def order(prompt: str, **fields: Any) -> wire.Submit:
    """A request, greedy by default; fields of Submit and Sampling by name."""
    greedy = {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "seed": 1}
    own = {name: fields.pop(name) for name in wire.Sampling.__struct_fields__ if name in fields}
    sampling = wire.Sampling(**(greedy | own))
    plain: dict[str, Any] = {
        "adapter": "", "max_tokens": 48, "stop": (), "class_": 0, "tenant": "t",
        "queue_us": 60_000_000, "logprobs": -1,
    }  # fmt: skip
    segment = wire.Segment(prompt, fields.pop("special", True))
    return wire.Submit(id=0, prompt=(segment,), sampling=sampling, **(plain | fields))


def questions(count: int) -> list[str]:
    """Held-out questions of all kinds, rendered by the chat template."""
    items = list(map(json.loads, (SHIPPED / "held_out.jsonl").read_text().splitlines()))
    return [_asked(item) for item in items[:: len(items) // count][:count]]


def _asked(item: dict[str, str]) -> str:
    concise = " Be concise." if item["system_style"] == "concise" else ""
    return (
        f"<|im_start|>system\nYou are a helpful assistant.{concise}<|im_end|>\n"
        f"<|im_start|>user\n{item['context']}\n\n{item['question']}<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


@functools.cache
def lora() -> wire.LoadAdapter:
    """The shipped adapter."""
    return wire.LoadAdapter("lora", str(ADAPTER), hashlib.sha256(ADAPTER.read_bytes()).hexdigest())


def score(prompt: str, continuation: str, **fields: Any) -> wire.Score:
    """A continuation of a prompt, in class background by default."""
    plain: dict[str, Any] = {"adapter": "", "class_": 2, "tenant": "t", "queue_us": 60_000_000}
    segments = (wire.Segment(prompt, fields.pop("special", True)),)
    return wire.Score(id=0, prompt=segments, continuation=continuation, **(plain | fields))


def command(
    socket: Path,
    *,
    model: Path | Sequence[Path] = WEIGHTS,
    sequences: int = 16,
    context_tokens: int = 512,
    kv_cache_type: str = "f16",
) -> list[str]:
    """How a worker is started; `model` is a file, or the parts of a split model."""
    files = [model] if isinstance(model, Path) else model
    return [
        sys.executable, "-m", "engine.serving", "--socket", str(socket),
        *(word for each in files for word in ("--model", str(each))),
        "--max-sequences", str(sequences), "--context-tokens", str(context_tokens),
        "--kv-cache-type", kv_cache_type, "--threads", "1",
    ]  # fmt: skip


@contextmanager
def running(
    socket: Path,
    *,
    model: Path | Sequence[Path] = WEIGHTS,
    sequences: int = 16,
    context_tokens: int = 512,
    kv_cache_type: str = "f16",
) -> Iterator[subprocess.Popen[bytes]]:
    """A ready worker, killed afterwards."""
    arguments = command(
        socket,
        model=model,
        sequences=sequences,
        context_tokens=context_tokens,
        kv_cache_type=kv_cache_type,
    )
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert any("ready" in json.loads(line) for line in process.stdout)
        yield process
        process.kill()


@asynccontextmanager
async def connected(socket: Path) -> AsyncIterator[Gateway]:
    """A connected client while the block runs."""
    greeted, steps = asyncio.Event(), list[wire.Step]()
    client = OneWorker(socket, on_hello=lambda _: greeted.set(), on_step=steps.append)
    client.start()
    async with asyncio.timeout(60):
        await greeted.wait()
    yield Gateway(client, steps)
    await client.stop()
