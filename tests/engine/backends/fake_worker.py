"""A worker without a model: frames over a Unix socket, and the prompt's words as the answer.

Passes the same contract tests as the real one. A sequence's tokens are the words of its prompt, one
a step, repeated until its limit. Tests may hold its steps, drop its connection and look at what it
received.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from engine.serving import framing, wire

BOUND_S: Final = 120.0


@dataclass
class _Sequence:
    submit: wire.Submit
    words: list[str]
    completion_tokens: int = 0


@dataclass
class FakeWorker:
    """Started by `start`, ended by `stop`.

    `deaf` workers take requests and never step, `silent` ones take scorings and never answer.
    """

    socket: Path
    sequence_tokens: int = 64
    longest_token: int = 0
    chat_template: str = ""
    control_tokens: tuple[str, ...] = ("<|im_end|>", "<|im_start|>")
    deaf: bool = False
    leaving: bool = False
    silent: bool = False
    received: list[wire.ToWorker] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin with nothing."""
        self._knobs = {"max_running": 4, "prefill_budget": 64, "queue_limit": 8}
        self._adapters = [""]
        self._live: dict[int, _Sequence] = {}
        self._finished: list[wire.Finished] = []
        self._refused: list[wire.Refused] = []
        self._news: list[wire.FromWorker] = []
        self._number = 0
        self._writer: asyncio.StreamWriter | None = None
        self._server: asyncio.Server | None = None
        self._stirred = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.heard = asyncio.Condition()
        self.refusing = asyncio.Event()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_unix_server(self._serve, self.socket)

    async def stop(self) -> None:
        """As if killed: the connection ends, the socket file stays."""
        if self._server is not None:
            self._server.close()
        self.drop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def drop(self) -> None:
        """End the connection, as a crash does."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def wake(self) -> None:
        """Step again."""
        self.deaf = False
        self._stirred.set()

    async def got(self, kind: type, count: int = 1) -> None:
        """Wait until so many items of a kind have come in; fails soon if they do not."""
        async with asyncio.timeout(BOUND_S), self.heard:
            await self.heard.wait_for(
                lambda: sum(isinstance(item, kind) for item in self.received) >= count
            )

    def say(self, *items: wire.FromWorker) -> None:
        """Send a frame."""
        if self._writer is not None:
            self._writer.write(framing.encode(wire.Outbox(items)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._writer = writer
        self._live.clear()
        self.say(self._hello(), self._step(()))
        steps = asyncio.create_task(self._run())
        splitter = framing.Splitter()
        try:
            while data := await reader.read(65536):
                for body in splitter.feed(data):
                    for item in framing.decode_inbox(body).items:
                        self.received.append(item)
                        self._take(item)
                self._stirred.set()
                async with self.heard:
                    self.heard.notify_all()
        except OSError:
            pass
        finally:
            steps.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await steps
            writer.close()

    def _take(self, item: wire.ToWorker) -> None:
        match item:
            case wire.Submit():
                self._submit(item)
            case wire.Cancel():
                if (live := self._live.pop(item.id, None)) is not None:
                    self._finished.append(self._ended(live, "cancelled"))
            case wire.Score():
                self._score(item)
            case wire.LoadAdapter():
                self._open(item)
            case wire.UnloadAdapter():
                self._adapters.remove(item.adapter)
                self._news.append(wire.AdapterUnloaded(item.adapter))
            case wire.SetKnobs():
                self._knobs |= {k: v for k, v in item.values.items() if k in self._knobs}
                self._news.append(wire.KnobsSet(dict(self._knobs)))

    def _submit(self, submit: wire.Submit) -> None:
        words = "".join(segment.text for segment in submit.prompt).split()
        code, message, retry = "", "", 0
        if self.leaving:
            code, message, retry = "draining", "this worker is draining", 1_000_000
        elif submit.adapter not in self._adapters:
            code, message = "no_adapter", f"no adapter {submit.adapter!r}"
        elif not words:
            code, message = "empty", "the prompt holds no tokens"
        elif len(words) >= self.sequence_tokens:
            code = "too_long"
            message = f"the prompt has {len(words)} tokens, a sequence holds {self.sequence_tokens}"
        elif len(self._live) >= self._knobs["max_running"] + self._knobs["queue_limit"]:
            code, message, retry = "queue_full", "the queue is full", 1_500_000
        if code:
            self._refused.append(wire.Refused(submit.id, code, message, retry))
        else:
            self._live[submit.id] = _Sequence(submit, words)

    def _score(self, score: wire.Score) -> None:
        """Every word of a continuation has the same probability."""
        words = "".join(segment.text for segment in score.prompt).split()
        tokens = tuple(
            wire.Logprob(word.encode(), -0.5) for word in re.findall(r"\s*\S+", score.continuation)
        )
        if self.silent:
            return
        if score.adapter not in self._adapters:
            message = f"adapter {score.adapter!r} is not loaded"
            self._refused.append(wire.Refused(score.id, "no_adapter", message, 0))
        elif not words or not tokens:
            self._refused.append(wire.Refused(score.id, "empty", "nothing to score", 0))
        elif len(words) + len(tokens) > self.sequence_tokens:
            self._refused.append(wire.Refused(score.id, "too_long", "it does not fit", 0))
        else:
            self._news.append(wire.Scored(score.id, tokens, len(words), 10, 30))

    def _open(self, wanted: wire.LoadAdapter) -> None:
        path = Path(wanted.path)
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == wanted.sha256:
            self._adapters = sorted({*self._adapters, wanted.adapter})
            self._news.append(wire.AdapterLoaded(wanted.adapter, wanted.sha256))
        else:
            self._news.append(wire.AdapterFailed(wanted.adapter, f"no such adapter at {path}"))

    async def _run(self) -> None:
        while True:
            if self.deaf or not (self._live or self._finished or self._refused or self._news):
                self._stirred.clear()
                await self._stirred.wait()
                continue
            refusing = bool(self._refused)
            self.say(*self._news, self._step(self._advance()))
            if refusing:
                self.refusing.set()
            self._news.clear()
            await asyncio.sleep(0)

    def _advance(self) -> tuple[wire.Delta, ...]:
        running = list(itertools.islice(self._live.values(), self._knobs["max_running"]))
        self._number += bool(running)
        deltas = []
        for sequence in running:
            submit = sequence.submit
            word = sequence.words[sequence.completion_tokens % len(sequence.words)]
            text = word if sequence.completion_tokens == 0 else f" {word}"
            sequence.completion_tokens += 1
            stopped = any(stop in text for stop in submit.stop)
            chosen = wire.Logprob(text.encode(), -0.5)
            logprob = wire.TokenLogprob(chosen, (chosen,) * submit.logprobs)
            deltas.append(
                wire.Delta(
                    submit.id,
                    "" if stopped else text,
                    1,
                    (logprob,) if submit.logprobs >= 0 else (),
                )
            )
            limit = min(submit.max_tokens, self.sequence_tokens - len(sequence.words))
            if stopped or sequence.completion_tokens >= limit:
                del self._live[submit.id]
                self._finished.append(self._ended(sequence, "stop" if stopped else "length"))
        return tuple(deltas)

    def _ended(self, sequence: _Sequence, reason: str) -> wire.Finished:
        words = len(sequence.words)
        return wire.Finished(
            sequence.submit.id, reason, words, sequence.completion_tokens, 10, 20, 30
        )

    def _step(self, deltas: tuple[wire.Delta, ...]) -> wire.Step:
        step = wire.Step(
            number=self._number, adapter="", wall_us=1000, busy_us=900, idle_us=100,
            prefill_tokens=0, decode_tokens=len(deltas), running=len(self._live), waiting=0,
            oldest_waiting_us=0, kv_used_tokens=0, kv_total_tokens=256, deltas=deltas,
            finished=tuple(self._finished), refused=tuple(self._refused),
        )  # fmt: skip
        self._finished.clear()
        self._refused.clear()
        return step

    def _hello(self) -> wire.Hello:
        return wire.Hello(
            pid=1, sha256="0" * 64, build="fake", devices=("CPU",),
            sequence_tokens=self.sequence_tokens,
            max_sequences=4, vocabulary=100, chat_template=self.chat_template, bos="", eos="",
            control_tokens=self.control_tokens, adapters=tuple(self._adapters),
            knobs=dict(self._knobs), longest_token=self.longest_token,
            control_ids=tuple(range(len(self.control_tokens))),
        )  # fmt: skip
