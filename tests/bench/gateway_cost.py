"""What a token costs the gateway: its loop's processor time while answers are streamed.

`python -m tests.bench.gateway_cost [--streams 1 16] [--profile]` runs a gateway in this process.
Beside it a thread is both its worker, which computes nothing, and its clients: each step is sent
when all clients have the tokens of the one before, so that every step wakes the loop, as it does
where computing takes a while. Only the loop's own thread is counted. Prints microseconds of a step.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import os
import pstats
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from engine.gateway import server
from engine.gateway.http import address
from engine.serving import framing, wire
from storage import deployments
from storage.home import config
from storage.runtime import logs
from storage.runtime.reporting import Reports
from tests.engine.gateway import gateway_processes
from tests.engine.gateway.gateway_processes import Stack

TOKENS: Final = 400
_WARM: Final = 50
"""Steps of an answer that do not count, at its beginning and at its end."""
_TEMPLATE: Final = "{% for message in messages %}{{ message.content }}{% endfor %}"
_BOUND_S: Final = 60


class Peers:
    """The worker and the clients of a gateway, step by step."""

    def __init__(self, stack: Stack, loop: asyncio.AbstractEventLoop) -> None:
        self._stack = stack
        self._loop = loop
        self._splitter = framing.Splitter()
        self._number = 0
        release = stack.releases["plain"]
        path = stack.home.worker(deployments.instance(release.deployment, 1))
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            listener.settimeout(_BOUND_S)
            self._worker, _ = listener.accept()
        self._worker.settimeout(_BOUND_S)
        hello = wire.Hello(
            pid=1, sha256="0" * 64, build="", devices=("CPU",), sequence_tokens=512,
            max_sequences=16, vocabulary=100, chat_template=_TEMPLATE, bos="", eos="",
            control_tokens=(), adapters=("",), knobs={},
        )  # fmt: skip
        self._worker.sendall(framing.encode(wire.Outbox((hello, self._step((), ())))))

    def answer(self, streams: int, profile: cProfile.Profile | None) -> float:
        """Microseconds of the gateway for each step in which so many answers grow."""
        with ExitStack() as ends:
            clients = [ends.enter_context(self._ask()) for _ in range(streams)]
            ids = list(self._submitted(streams))
            for number in range(TOKENS):
                if number == _WARM:
                    before_ns = self._spent_ns(profile, begins=True)
                if number == TOKENS - _WARM:
                    spent_ns = self._spent_ns(profile, begins=False) - before_ns
                self._send(tuple(wire.Delta(id, " token", 1, ()) for id in ids))
                for client in clients:
                    while b"finish_reason" not in client.recv(1 << 16):
                        pass
            self._send((), tuple(wire.Finished(id, "length", 9, TOKENS, 1, 1, 1) for id in ids))
            for client in clients:
                while b"[DONE]" not in client.recv(1 << 16):
                    pass
        return spent_ns / 1000 / (TOKENS - 2 * _WARM)

    def _ask(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self._stack.port), _BOUND_S)
        turn = {"role": "user", "content": "Where is order 17?"}
        body = {"model": "raw", "messages": [turn], "stream": True, "max_tokens": TOKENS}
        raw = msgspec.json.encode(body)
        secret = self._stack.secrets["client"]
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {secret}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(raw)}\r\n\r\n"
        )
        client.sendall(head.encode() + raw)
        return client

    def _submitted(self, count: int) -> Iterator[int]:
        """The ids of the next requests."""
        while count:
            for body in self._splitter.feed(self._worker.recv(1 << 16)):
                for item in framing.decode_inbox(body).items:
                    if isinstance(item, wire.Submit):
                        count -= 1
                        yield item.id

    def _send(
        self, deltas: tuple[wire.Delta, ...], finished: tuple[wire.Finished, ...] = ()
    ) -> None:
        self._worker.sendall(framing.encode(wire.Outbox((self._step(deltas, finished),))))

    def _step(
        self, deltas: tuple[wire.Delta, ...], finished: tuple[wire.Finished, ...]
    ) -> wire.Step:
        self._number += bool(deltas)
        count = len(deltas)
        return wire.Step(
            self._number, "", 4000, 4000, 0, 0, count, count, 0, 0, 0, 8192, deltas, finished, ()
        )

    def _spent_ns(self, profile: cProfile.Profile | None, *, begins: bool) -> int:
        """Processor time of the loop's thread until now."""
        done: list[int] = []
        ready = threading.Event()

        def look() -> None:
            if profile is not None and not begins:
                profile.disable()
            done.append(time.thread_time_ns())
            if profile is not None and begins:
                profile.enable()
            ready.set()

        self._loop.call_soon_threadsafe(look)
        ready.wait(_BOUND_S)
        return done[0]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", action="store_true")
    asked = parser.parse_args()
    profile = cProfile.Profile() if asked.profile else None

    def work(stack: Stack, loop: asyncio.AbstractEventLoop) -> None:
        try:
            peers = Peers(stack, loop)
            for streams in asked.streams:
                took = min(peers.answer(streams, profile) for _ in range(asked.rounds))
                print(
                    f"{streams:3} streams: {took:6.1f} us of a step, "
                    f"{took / streams:5.1f} of a token", flush=True,
                )  # fmt: skip
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    async def serve(stack: Stack) -> None:
        settings = config.load(stack.home)
        listening = address.listen("127.0.0.1", stack.port)
        gateway = server.Gateway(stack.home, settings, Reports(os.open(os.devnull, os.O_WRONLY)))
        loop = asyncio.get_running_loop()
        threading.Thread(target=work, args=(stack, loop), daemon=True).start()
        await gateway.run(listening)

    with tempfile.TemporaryDirectory() as folder:
        stack = asyncio.run(gateway_processes.furnish(Path(folder) / "home"))
        uvloop.run(serve(stack))
    if profile is not None:
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)


if __name__ == "__main__":
    logs.configure()
    main()
