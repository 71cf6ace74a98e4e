"""The loop of a worker that makes embeddings or ranks documents: receive, choose, compute, send.

One thread, one step at a time, as in `worker`, without sequences that live longer than a step.
Knows nothing of HTTP, services or releases. Imported by `python -m engine.serving`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

import numpy as np

from engine.serving import errors, tokens, wire
from engine.serving.embedding import Embedder, Floats, Unembeddable, Work, class_of
from engine.serving.gateway_link import GatewayLink, Load
from engine.serving.input_queue import Asked, InputQueue
from engine.serving.knobs import Knobs
from engine.serving.llama.model import Model
from engine.serving.server_socket import ServerSocket
from engine.serving.worker import monotonic_us
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
        self._sha256 = sha256
        self._build = build
        self._sequences = sequences
        self._knobs = knobs
        self._now_us = now_us
        self._queue = InputQueue()
        self._works: dict[int, Work] = {}
        self._link = GatewayLink(
            socket,
            reports,
            now_us,
            hello=self._hello,
            take=self._take,
            taken=lambda: None,
            forget=self._forget,
            load=self._current_load,
        )
        self.draining = False

    # the loop

    def run(self) -> None:
        """Serve until `draining` is set and nothing is left."""
        while True:
            self._link.receive(idle=not (self._works or self.draining))
            if self.draining:
                self._link.announce_draining()
            if self.draining and not self._works:
                self._link.finish()
                return
            for late in self._queue.expired(self._now_us()):
                self._refuse(late.id, "deadline", "not begun within the time that it allows")
            chosen = self._queue.take(self._step_tokens(), self._most(), self._now_us())
            if chosen:
                self._step(chosen)
            else:
                self._link.send_news()
            self._link.heartbeat()

    def _step_tokens(self) -> int:
        return min(self._knobs.prefill_budget, self._embedder.context.room)

    def _most(self) -> int:
        return min(self._knobs.max_running, self._sequences)

    # what the gateway asks

    def _current_load(self, now_us: int) -> Load:
        running = sum(work.asked.taken > 0 for work in self._works.values())
        return Load(
            running=running,
            waiting=len(self._works) - running,
            oldest_waiting_us=self._queue.oldest_us(now_us),
            kv_used_tokens=0,
            kv_total_tokens=self._embedder.context.room,
        )

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
                    self._link.refused.append(told)
                else:
                    self._link.news.append(told)
            case wire.Cancel():
                self._cancel(item.id)
            case wire.LoadAdapter():
                reason = "a worker that makes embeddings loads no adapters"
                self._link.news.append(wire.AdapterFailed(item.adapter, reason))
            case wire.SetKnobs():
                self._knobs = self._knobs.changed(item.values)
                self._link.news.append(wire.KnobsSet(self._knobs.values()))

    def _admit(self, request: wire.Embed) -> None:
        if request.id in self._works:
            self._link.drop()  # two requests under one id: the gateway has lost count
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
            self._link.finished.append(work.cancelled())

    def _forget(self) -> None:
        """The gateway has disconnected: cancel everything it asked for."""
        for work in self._works.values():
            self._queue.drop(work.asked)
        self._works.clear()

    def _refuse(
        self, id: int, code: str, message: str, *, retry_after_us: int = 0, place: int = -1
    ) -> None:
        work = self._works.pop(id, None)
        busy_us = 0
        if work is not None:
            self._queue.drop(work.asked)
            busy_us = work.asked.busy_us
        self._link.refused.append(wire.Refused(id, code, message, retry_after_us, busy_us, place))

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
        self._charge(chosen, self._link.busy_us(now))
        self._link.computed_us = now
        if vectors is None:
            for id in dict.fromkeys(asked.id for asked, _ in chosen):
                self._refuse(id, "engine", fault)
        else:
            self._settle(chosen, vectors)
        self._link.number += 1
        prefill = 0 if vectors is None else sum(map(len, inputs))
        self._link.send(stepped=True, prefill=prefill)

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
                self._link.news.append(work.result())

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
