"""The loop of a worker that makes embeddings or ranks documents: receive, choose, compute, send.

One thread, one step at a time, as in `worker`, without sequences that live longer than a step.
Knows nothing of HTTP, services or releases. Imported by `python -m engine.serving`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

import numpy as np

from engine.serving import errors, tokens, wire
from engine.serving.embedding import Embedder, Floats, Unembeddable, Work, class_of
from engine.serving.input_queue import Asked, InputQueue
from engine.serving.knobs import Knobs
from engine.serving.llama.model import Model
from engine.serving.server_socket import HIGH_WATER, ServerSocket
from engine.serving.worker import HEARTBEAT_US, STALL_LIMIT_US, monotonic_us
from storage.runtime.reporting import Reports

_RETRY_US: Final = 1_000_000


class EmbeddingWorker:
    """Everything between the socket and libllama."""

    def __init__(
        self,
        model: Model,
        embedder: Embedder,
        socket: ServerSocket,
        reports: Reports,
        *,
        sha256: str,
        build: str,
        sequences: int,
        knobs: Knobs,
        now_us: Callable[[], int] = monotonic_us,
    ) -> None:
        """Take over loaded weights and a listening socket."""
        self._model = model
        self._embedder = embedder
        self._socket = socket
        self._reports = reports
        self._sha256 = sha256
        self._build = build
        self._sequences = sequences
        self._knobs = knobs
        self._now_us = now_us
        self._queue = InputQueue()
        self._works: dict[int, Work] = {}
        self._news: list[wire.FromWorker] = []
        self._finished: list[wire.Finished] = []
        self._refused: list[wire.Refused] = []
        self._number = 0
        self._waited_us = 0
        self._mark_us = self._heartbeat_us = self._computed_us = now_us()
        self.draining = False
        self._announced = False

    # the loop

    def run(self) -> None:
        """Serve until `draining` is set and nothing is left."""
        while True:
            self._receive()
            if self.draining and not self._announced:
                self._announced = True
                self._news.append(wire.Draining())
            if self.draining and not self._works:
                self._finish_sending()
                return
            for late in self._queue.expired(self._now_us()):
                self._refuse(late.id, "deadline", "not begun within the time that it allows")
            chosen = self._queue.take(self._step_tokens(), self._most(), self._now_us())
            if chosen:
                self._step(chosen)
            elif self._finished or self._refused or self._news:
                self._send()
            self._heartbeat()

    def _step_tokens(self) -> int:
        return min(self._knobs.prefill_budget, self._embedder.context.room)

    def _most(self) -> int:
        return min(self._knobs.max_running, self._sequences)

    def _receive(self) -> None:
        """Take what arrived; wait when there is nothing to compute or the outbox is full."""
        idle = not (self._works or self.draining)
        self._wait(max(self._heartbeat_us + HEARTBEAT_US - self._now_us(), 0) / 1e6 if idle else 0)
        stalled_us = 0
        while self._socket.pending >= HIGH_WATER:
            stalled_us += self._wait(0.1)
            if stalled_us > STALL_LIMIT_US:
                self._socket.drop()
            self._heartbeat()

    def _finish_sending(self) -> None:
        """Send what is left and wait until the gateway has read it, within the stall limit."""
        self._send()
        stalled_us = 0
        while self._socket.pending and stalled_us <= STALL_LIMIT_US:
            stalled_us += self._wait(0.1)
            self._heartbeat()

    def _wait(self, timeout_s: float) -> int:
        """Wait for the gateway and do what it asks; return how long the wait took."""
        began = self._now_us()
        inboxes = self._socket.wait(timeout_s)
        waited = self._now_us() - began if timeout_s else 0
        self._waited_us += waited
        if self._socket.lost:
            self._socket.lost = False
            self._forget()
        if self._socket.accepted:
            self._socket.accepted = False
            self._news.append(self._hello())
            self._announced = False
        for inbox in inboxes:
            for item in inbox.items:
                self._take(item)
        return waited

    def _heartbeat(self) -> None:
        now = self._now_us()
        if now - self._heartbeat_us < HEARTBEAT_US:
            return
        self._heartbeat_us = now
        self._reports.say(
            beat=time.time_ns() // 1000,
            step=self._number,
            running=self._running,
            waiting=len(self._works) - self._running,
            since_token_us=now - self._computed_us,
        )
        if not self._works:
            self._send()  # idle time is reported every second, not when it is over

    @property
    def _running(self) -> int:
        """The requests of which an input was computed."""
        return sum(work.asked.taken > 0 for work in self._works.values())

    # what the gateway asks

    def _hello(self) -> wire.Hello:
        vocabulary = self._model.vocabulary
        return wire.Hello(
            pid=os.getpid(),
            sha256=self._sha256,
            build=self._build,
            devices=self._model.devices,
            sequence_tokens=self._embedder.longest,
            max_sequences=self._sequences,
            vocabulary=vocabulary.size,
            chat_template="",
            bos=vocabulary.text(vocabulary.bos),
            eos=vocabulary.text(vocabulary.eos),
            control_tokens=vocabulary.control_texts,
            adapters=("",),
            knobs=self._knobs.values(),
            longest_token=vocabulary.piece_most,
        )

    def _take(self, item: wire.ToWorker) -> None:
        match item:
            case wire.Embed():
                self._admit(item)
            case wire.Submit() | wire.Score():
                self._refuse(item.id, "task", "the worker generates no text")
            case wire.Tokenise() | wire.Detokenise():
                longest = self._embedder.longest
                told = tokens.tell(self._model.vocabulary, item, longest, whole=True)
                if isinstance(told, wire.Refused):
                    self._refused.append(told)
                else:
                    self._news.append(told)
            case wire.Cancel():
                self._cancel(item.id)
            case wire.LoadAdapter():
                reason = "a worker that makes embeddings loads no adapters"
                self._news.append(wire.AdapterFailed(item.adapter, reason))
            case wire.SetKnobs():
                self._knobs = self._knobs.changed(item.values)
                self._news.append(wire.KnobsSet(self._knobs.values()))

    def _admit(self, request: wire.Embed) -> None:
        if request.id in self._works:
            self._socket.drop()  # two requests under one id: the gateway has lost count
            return
        if self.draining:
            message = "this worker is draining; its successor takes new requests"
            self._refuse(request.id, "draining", message, retry_after_us=_RETRY_US)
            return
        if not request.request and not self._room(request):
            self._refuse_full(request.id)
            return
        try:
            work = self._embedder.work(request, self._now_us())
        except Unembeddable as error:
            self._refuse(request.id, error.code, str(error), place=error.place)
            return
        self._works[request.id] = work
        self._queue.push(work.asked)

    def _room(self, request: wire.Embed) -> bool:
        """Whether the queue takes a request; others may have to leave it."""
        knobs = self._knobs
        displaced = self._queue.displaced(
            request.tenant, class_of(request), knobs.queue_limit, knobs.queue_tokens_limit
        )
        for asked in displaced or ():
            self._refuse_full(asked.id)
        return displaced is not None

    def _refuse_full(self, id: int) -> None:
        knobs = self._knobs
        message = (
            f"the queue is full ({knobs.queue_limit} requests or "
            f"{knobs.queue_tokens_limit} prompt tokens of a tenant)"
        )
        self._refuse(id, "queue_full", message, retry_after_us=_RETRY_US)

    def _cancel(self, id: int) -> None:
        work = self._works.pop(id, None)
        if work is not None:
            self._queue.drop(work.asked)
            self._finished.append(work.cancelled())

    def _forget(self) -> None:
        """The gateway has disconnected: cancel everything it asked for."""
        for work in self._works.values():
            self._queue.drop(work.asked)
        self._works.clear()
        self._news.clear()
        self._finished.clear()
        self._refused.clear()

    def _refuse(
        self, id: int, code: str, message: str, *, retry_after_us: int = 0, place: int = -1
    ) -> None:
        work = self._works.pop(id, None)
        busy_us = 0
        if work is not None:
            self._queue.drop(work.asked)
            busy_us = work.asked.busy_us
        self._refused.append(wire.Refused(id, code, message, retry_after_us, busy_us, place))

    # one step

    def _step(self, chosen: list[tuple[Asked, int]]) -> None:
        inputs = [asked.inputs[index] for asked, index in chosen]
        vectors: Floats | None = None
        fault = ""
        try:
            vectors = self._embedder.context.compute(inputs)
        except errors.ComputeFailed:
            raise
        except errors.EngineFault as error:
            fault = str(error)
        now = self._now_us()
        self._charge(chosen, now - self._mark_us - self._waited_us)
        self._computed_us = now
        if vectors is None:
            for id in dict.fromkeys(asked.id for asked, _ in chosen):
                self._refuse(id, "engine", fault)
        else:
            self._settle(chosen, vectors)
        self._number += 1
        self._send(0 if vectors is None else sum(map(len, inputs)), stepped=True)

    def _settle(self, chosen: list[tuple[Asked, int]], vectors: Floats) -> None:
        """Give each request the vectors of its inputs; tell what is complete or cannot be."""
        for (asked, index), vector in zip(chosen, vectors, strict=True):
            work = self._works.get(asked.id)
            if work is None:  # another of its inputs was refused in this step
                continue
            if not np.isfinite(vector).all():
                self._embedder.context.cleanse()
                message = "the model computed NaN or infinite values"
                self._refuse(asked.id, "model_fault", message, place=index)
                continue
            work.take(index, vector)
            if not work.left:
                del self._works[asked.id]
                self._news.append(work.result())

    def _charge(self, chosen: list[tuple[Asked, int]], busy_us: int) -> None:
        """Share the time of a step by tokens, so that the parts add up to the whole."""
        total = sum(len(asked.inputs[index]) for asked, index in chosen)
        left_us = busy_us
        for asked, index in chosen:
            size = len(asked.inputs[index])
            part = left_us * size // total
            asked.busy_us += part
            left_us -= part
            total -= size

    def _send(self, prefill: int = 0, *, stepped: bool = False) -> None:
        """Send one frame: the step, or an empty one, with everything since the previous frame."""
        now = self._now_us()
        wall = now - self._mark_us
        idle = self._waited_us if stepped else wall
        running = self._running
        step = wire.Step(
            number=self._number,
            adapter="",
            wall_us=wall,
            busy_us=wall - idle,
            idle_us=idle,
            prefill_tokens=prefill,
            decode_tokens=0,
            running=running,
            waiting=len(self._works) - running,
            oldest_waiting_us=self._queue.oldest_us(now),
            kv_used_tokens=0,
            kv_total_tokens=self._embedder.context.room,
            deltas=(),
            finished=tuple(self._finished),
            refused=tuple(self._refused),
        )
        self._mark_us = now
        self._waited_us = 0
        self._socket.send(wire.Outbox((*self._news, step)))
        self._news.clear()
        self._finished.clear()
        self._refused.clear()
