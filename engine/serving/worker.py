"""The loop of one worker: hear, plan, compute, draw, tell.

One thread, one step at a time; between steps it polls the socket, idle it sleeps on it. Beats come
from this thread, so a computation that hangs stops them. Knows nothing of HTTP, services or
releases. Imported by `python -m engine.serving`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from engine.process.reporting import Reports
from engine.serving import admission, errors, step_io, wire
from engine.serving.adapters import Adapters
from engine.serving.generation import Prompts, Stream
from engine.serving.knobs import Knobs
from engine.serving.scheduler import Scheduler
from engine.serving.sequences import Class, Sequence
from engine.serving.server_socket import HIGH_WATER, Link
from engine.serving.step_plan import Plan, Refusal

BEAT_US: Final = 900_000
STALL_MOST_US: Final = 10_000_000


def monotonic_us() -> int:
    """Microseconds of a clock that never jumps."""
    return time.monotonic_ns() // 1000


class Worker:
    """Everything between the socket and libllama."""

    def __init__(
        self,
        adapters: Adapters,
        link: Link,
        reports: Reports,
        *,
        sha256: str,
        build: str,
        sequence_tokens: int,
        sequences: int,
        knobs: Knobs,
        now_us: Callable[[], int] = monotonic_us,
    ) -> None:
        """Take over loaded adapters and a listening link."""
        self._adapters = adapters
        self._link = link
        self._reports = reports
        self._sha256 = sha256
        self._build = build
        self._sequences = sequences
        self._now_us = now_us
        self._vocabulary = adapters.model.vocabulary
        self._prompts = Prompts(self._vocabulary.tokenise)
        room = adapters.contexts[""].room
        self._scheduler = Scheduler(
            slots=sequences, sequence_tokens=sequence_tokens, room=room, knobs=knobs
        )
        self._scheduler.open("")
        self._streams: dict[int, Stream] = {}
        self._news: list[wire.FromWorker] = []
        self._finished: list[wire.Finished] = []
        self._refused: list[wire.Refused] = []
        self._number = 0
        self._waited_us = 0
        self._mark_us = self._beat_us = self._token_us = now_us()
        self.draining = False
        self._announced = False

    # the loop

    def run(self) -> None:
        """Serve until told to drain and nothing is left."""
        while True:
            self._hear()
            if self.draining and not self._announced:
                self._announced = True
                self._news.append(wire.Draining())
            if self.draining and not self._scheduler.live:
                self._leave()
                return
            plan = self._scheduler.plan(self._now_us())
            self._refuse(plan.refusals)
            if plan.rows:
                self._step(plan)
            elif self._finished or self._refused or self._news:
                self._tell(None, ())
            self._beat()

    def _hear(self) -> None:
        """Take what came; sleep when there is nothing to compute, or nobody takes the tokens."""
        self._listen(self._patience_s())
        stalled_us = 0
        while self._link.pending >= HIGH_WATER:
            stalled_us += self._listen(0.1)
            if stalled_us > STALL_MOST_US:
                self._link.drop()
            self._beat()

    def _leave(self) -> None:
        """Say the last words and see them taken, for as long as a stalled gateway is borne."""
        self._tell(None, ())
        stalled_us = 0
        while self._link.pending and stalled_us <= STALL_MOST_US:
            stalled_us += self._listen(0.1)
            self._beat()

    def _patience_s(self) -> float:
        if self._scheduler.live or self.draining:
            return 0.0
        return max(self._beat_us + BEAT_US - self._now_us(), 0) / 1e6

    def _listen(self, timeout_s: float) -> int:
        """Wait for the gateway and do what it says; return how long that waited."""
        began = self._now_us()
        inboxes = self._link.wait(timeout_s)
        waited = self._now_us() - began if timeout_s else 0
        self._waited_us += waited
        if self._link.lost:
            self._link.lost = False
            self._forget()
        if self._link.arrived:
            self._link.arrived = False
            self._news.append(self._hello())
            self._announced = False
        for inbox in inboxes:
            for item in inbox.items:
                self._take(item)
        return waited

    def _beat(self) -> None:
        now = self._now_us()
        if now - self._beat_us < BEAT_US:
            return
        self._beat_us = now
        scheduler = self._scheduler
        self._reports.say(
            beat=time.time_ns() // 1000,
            step=self._number,
            running=scheduler.running,
            waiting=scheduler.waiting,
            since_token_us=now - self._token_us,
        )
        if not scheduler.live:
            self._tell(None, ())  # so that idle time shows every second, not when it is over

    # what the gateway says

    def _hello(self) -> wire.Hello:
        vocabulary = self._vocabulary
        return wire.Hello(
            pid=os.getpid(),
            sha256=self._sha256,
            build=self._build,
            sequence_tokens=self._scheduler.sequence_tokens,
            max_sequences=self._sequences,
            vocabulary=vocabulary.size,
            chat_template=self._adapters.model.chat_template,
            bos=vocabulary.text(vocabulary.bos),
            eos=vocabulary.text(vocabulary.eos),
            control_tokens=vocabulary.control_texts,
            adapters=tuple(self._adapters.contexts),
            knobs=self._scheduler.knobs.values(),
        )

    def _take(self, item: wire.ToWorker) -> None:
        match item:
            case wire.Submit():
                self._submit(item)
            case wire.Cancel():
                self._cancel(item.id)
            case wire.LoadAdapter():
                self._open(item)
            case wire.SetKnobs():
                self._scheduler.knobs = self._scheduler.knobs.changed(item.values)
                self._news.append(wire.KnobsSet(self._scheduler.knobs.values()))

    def _submit(self, submit: wire.Submit) -> None:
        if submit.id in self._scheduler.live:
            self._link.drop()  # two sequences under one id: the peer has lost count
            return
        now = self._now_us()
        sequence = Sequence(
            id=submit.id,
            adapter=submit.adapter,
            class_=Class(min(max(submit.class_, 0), 2)),
            tenant=submit.tenant,
            prompt=0,
            limit=submit.max_tokens,
            arrived_us=now,
            deadline_us=now + submit.queue_us,
        )
        if self.draining:
            message = "this worker is draining; its successor takes new requests"
            self._refuse((Refusal(sequence, "draining", message, 1_000_000),))
            return
        size = sum(len(segment.text.encode("utf-8", "replace")) for segment in submit.prompt)
        least = size // self._vocabulary.piece_most
        if least >= self._scheduler.sequence_tokens:  # not worth the time to count exactly
            refusal = admission.too_long(sequence, least, self._scheduler.sequence_tokens)
            self._refuse((refusal,))
            return
        tokens = self._prompts.tokens(submit.prompt)
        sequence.prompt = len(tokens)
        self._streams[submit.id] = Stream(sequence, submit, tokens)
        self._refuse(self._scheduler.submit(sequence, now))

    def _cancel(self, id: int) -> None:
        stream = self._streams.pop(id, None)
        if stream is not None:
            self._scheduler.end(stream.sequence)
            self._finished.append(stream.finished("cancelled"))

    def _forget(self) -> None:
        """The gateway is gone: so is everything it wanted."""
        for stream in self._streams.values():
            self._scheduler.end(stream.sequence)
        self._streams.clear()
        self._news.clear()
        self._finished.clear()
        self._refused.clear()

    def _open(self, wanted: wire.LoadAdapter) -> None:
        """Load an adapter; the time it takes is nobody's, so it counts as waiting.

        The node hears before that it begins: libllama may take this process along.
        """
        began = self._now_us()
        self._reports.say(opening=wanted.adapter)
        try:
            self._adapters.open(wanted.adapter, Path(wanted.path), wanted.sha256)
        except errors.EngineFault as fault:
            broken = isinstance(fault, errors.BROKEN)
            self._reports.say(unopened=wanted.adapter, failed=str(fault), broken=broken)
            self._news.append(wire.AdapterFailed(wanted.adapter, str(fault)))
        else:
            if wanted.adapter not in self._scheduler.adapters:
                self._scheduler.open(wanted.adapter)
            self._reports.say(opened=wanted.adapter)
            self._news.append(wire.AdapterLoaded(wanted.adapter, wanted.sha256))
        self._waited_us += self._now_us() - began

    def _refuse(self, refusals: tuple[Refusal, ...]) -> None:
        for sequence, code, message, retry_after_us in refusals:
            self._streams.pop(sequence.id, None)
            self._refused.append(
                wire.Refused(sequence.id, code, message, retry_after_us, sequence.busy_us)
            )

    # one step

    def _step(self, plan: Plan) -> None:
        context = self._adapters.contexts[plan.adapter]
        try:
            for source, target in plan.carries:
                if source < 0:
                    context.clear(target)
                else:
                    context.move(source, target)
            rows = step_io.fill(context.batch, plan, self._streams)
            logits = context.decode(plan.decode + plan.prefill, len(rows))
        except errors.Computing as fault:
            self._lose(plan.adapter, fault)
            return
        except errors.EngineFault as fault:
            for row in plan.rows:
                self._fail(row.sequence, str(fault))
            return
        streams = [self._streams[row.sequence.id] for row in rows]
        drawn = step_io.draw(streams, logits, self._vocabulary)
        now = self._now_us()
        busy = now - self._mark_us - self._waited_us
        self._scheduler.settle(plan, [stream.sequence for stream, _ in drawn.ended], busy, now)
        self._token_us = now
        for stream, reason in drawn.ended:
            del self._streams[stream.sequence.id]
            self._finished.append(stream.finished(reason))
        for stream in drawn.broken:
            self._fail(stream.sequence, "the model produced no number to draw from")
        self._number += 1
        self._tell(plan, tuple(drawn.deltas), now)

    def _fail(self, sequence: Sequence, message: str) -> None:
        self._scheduler.end(sequence)
        self._refuse((Refusal(sequence, "engine", message, 0),))

    def _lose(self, adapter: str, fault: errors.Computing) -> None:
        """An adapter that failed while computing is closed; without the base there is no worker."""
        if not adapter:
            raise fault
        for stream in [s for s in self._streams.values() if s.sequence.adapter == adapter]:
            self._fail(stream.sequence, str(fault))
        del self._scheduler.adapters[adapter]
        self._adapters.close(adapter)
        self._news.append(wire.AdapterFailed(adapter, str(fault)))

    def _tell(
        self, plan: Plan | None, deltas: tuple[wire.Delta, ...], now: int | None = None
    ) -> None:
        """Send one frame: the step, or an empty one, with all that has ended since the last."""
        now = self._now_us() if now is None else now
        wall = now - self._mark_us
        idle = self._waited_us if plan is not None else wall
        scheduler = self._scheduler
        step = wire.Step(
            number=self._number,
            adapter=plan.adapter if plan else "",
            wall_us=wall,
            busy_us=wall - idle,
            idle_us=idle,
            prefill_tokens=plan.prefill if plan else 0,
            decode_tokens=plan.decode if plan else 0,
            running=scheduler.running,
            waiting=scheduler.waiting,
            oldest_waiting_us=scheduler.oldest_waiting_us(now),
            kv_used_tokens=scheduler.resident_tokens(),
            kv_total_tokens=scheduler.sequence_tokens * self._sequences * len(scheduler.adapters),
            deltas=deltas,
            finished=tuple(self._finished),
            refused=tuple(self._refused),
        )
        self._mark_us = now
        self._waited_us = 0
        self._link.send(wire.Outbox((*self._news, step)))
        self._news.clear()
        self._finished.clear()
        self._refused.clear()
