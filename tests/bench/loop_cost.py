"""What the worker's loop costs beside libllama: its thread's processor time, step by step.

`python -m tests.bench.loop_cost [--streams 1 16] [--steps N] [--sampled] [--computes]
[--model FILE] [--profile]` runs a real worker in this process, with the shipped model or another,
and reads what it sends as a gateway does. The model is not computed, and every step gets the same
logits at once: the figures hardly depend on what else the machine does. With `--computes` it is,
which empties the caches that the loop would find warm; what computing takes is never counted.
Prints microseconds of a step.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import os
import pstats
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from engine.serving import cores, framing, sampling, wire
from engine.serving.adapters import Adapters
from engine.serving.knobs import Knobs
from engine.serving.llama.context import Context
from engine.serving.llama.model import Model
from engine.serving.server_socket import ServerSocket
from engine.serving.worker import Worker
from storage.runtime.reporting import Reports
from tests.home_fixtures import WEIGHTS

CONTEXT_TOKENS: Final = 2048
_WARM: Final = 32
"""Steps at the beginning that do not count."""
_PROMPT: Final = "order " * 20
"""The shipped model repeats itself after it, to the end of the context."""


class Timed:
    """A context that takes the thread's time between its computations, in nanoseconds."""

    def __init__(self, context: Context, model: Model, *, computes: bool) -> None:
        self._context = context
        self._computes = computes
        vocabulary = model.vocabulary
        chance = np.random.default_rng(1)
        self._logits = chance.normal(0, 2, (context.outputs, vocabulary.size)).astype(np.float32)
        self._ends = list(vocabulary.ends)
        self._since_ns: int | None = None
        self.begun: Callable[[], None] = lambda: None
        self.peer: socket.socket | None = None
        self.profile: cProfile.Profile | None = None
        self.took_ns: list[int] = []
        self._unread = bytearray(1 << 16)

    def __getattr__(self, name: str) -> object:
        """Everything else is the context's."""
        return getattr(self._context, name)

    def decode(self, tokens: int, outputs: int) -> sampling.Floats:
        """The logits of a step, while a gateway reads the frame of the last one."""
        if self.profile is not None:
            self.profile.disable()
        if self._since_ns is None:
            self.begun()
        else:
            self.took_ns.append(time.thread_time_ns() - self._since_ns)
        if self.peer is not None:
            with contextlib.suppress(BlockingIOError):
                self.peer.recv_into(self._unread)
        logits = self._context.decode(tokens, outputs) if self._computes else self._logits[:outputs]
        logits[:, self._ends] = -30.0
        self._since_ns = time.thread_time_ns()
        if self.profile is not None and len(self.took_ns) > _WARM:
            self.profile.enable()
        return logits


def measure(
    model: Model,
    *,
    streams: int,
    steps: int,
    temperature: float,
    computes: bool,
    profile: cProfile.Profile | None = None,
) -> list[int]:
    """Nanoseconds of each step in which so many streams decode."""
    adapters = Adapters(
        model, sequence_tokens=CONTEXT_TOKENS, sequences=streams, threads=cores.cores()
    )
    context = adapters.base
    timed = Timed(context, model, computes=computes)
    adapters.base = cast("Any", timed)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as ends:
        path = Path(folder) / "worker.sock"
        server = ServerSocket(path)
        ends.callback(server.close)
        worker = Worker(
            adapters, server, Reports(os.open(os.devnull, os.O_WRONLY)), sha256="", build="",
            sequence_tokens=CONTEXT_TOKENS, sequences=streams, knobs=Knobs(max_running=streams),
        )  # fmt: skip
        peer = ends.enter_context(socket.socket(socket.AF_UNIX))
        peer.connect(str(path))
        settings = wire.Sampling(temperature, 40, 0.95, 0.05, 1)
        asked = tuple(
            wire.Submit(
                number + 1, "", (wire.Segment(_PROMPT, special=False),), settings, _WARM + steps,
                (), 0, "tenant", 60_000_000, -1,
            )
            for number in range(streams)
        )  # fmt: skip
        peer.sendall(framing.encode(wire.Inbox(asked)))
        peer.setblocking(False)
        timed.peer, timed.profile = peer, profile
        timed.begun = lambda: setattr(worker, "draining", True)  # it ends with the last stream
        worker.run()
    context.free()
    return timed.took_ns[_WARM:]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--sampled", action="store_true", help="not greedy")
    parser.add_argument("--computes", action="store_true")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--model", type=Path, default=WEIGHTS)
    asked = parser.parse_args()
    model = Model(asked.model, gpu_layers=0)
    for streams in asked.streams:
        profile = cProfile.Profile() if asked.profile else None
        took = measure(
            model,
            streams=streams,
            steps=asked.steps,
            temperature=0.8 if asked.sampled else 0.0,
            computes=asked.computes,
            profile=profile,
        )
        each = [ns / 1000 for ns in took]
        fifth = statistics.quantiles(each, n=20)[0]
        print(
            f"{streams:3} streams: median {statistics.median(each):6.1f} us of a step, "
            f"mean {statistics.fmean(each):6.1f}, p5 {fifth:6.1f}, {len(each)} steps",
            flush=True,
        )
        if profile is not None:
            pstats.Stats(profile).sort_stats("tottime").print_stats(32)


if __name__ == "__main__":
    main()
