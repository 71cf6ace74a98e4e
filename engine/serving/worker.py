"""The loop of one worker: receive, plan, compute, sample, send.

One thread, one step at a time; between steps it polls the socket, and when idle it waits on it.
Heartbeats come from this thread, so that a computation that hangs stops them. Only adapters are
loaded beside it, in a thread of `adapters`. Knows nothing of HTTP, services or releases. Imported
by `python -m engine.serving`.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from pathlib import Path

from engine.serving import arrivals, errors, generation, step_io, tokens, wire
from engine.serving.adapters import Adapters, Failed, Loaded, Outcome, Unloaded
from engine.serving.admission import Refusal
from engine.serving.constraints.held import Constraints
from engine.serving.device_filter import DeviceFilter
from engine.serving.gateway_link import GatewayLink, Load
from engine.serving.generation import Generation, Prompts, Scoring
from engine.serving.knobs import Knobs
from engine.serving.llama import constraint_tokens
from engine.serving.llama.context import SCORED_MOST
from engine.serving.scheduler import Scheduler
from engine.serving.scored_prompts import ScoredPrompts
from engine.serving.sequences import Sequence
from engine.serving.server_socket import ServerSocket
from engine.serving.step_plan import Plan
from storage.runtime.reporting import Reports


def monotonic_us() -> int:
    """Microseconds of a clock that never jumps."""
    return time.monotonic_ns() // 1000


class Worker:
    """Everything between the socket and libllama."""

    def __init__(
        self,
        adapters: Adapters,
        socket: ServerSocket,
        reports: Reports,
        *,
        sha256: str,
        build: str,
        sequence_tokens: int,
        sequences: int,
        knobs: Knobs,
        now_us: Callable[[], int] = monotonic_us,
        computing: Callable[[str], None] = lambda _: None,
        filter_pays: bool = False,
    ) -> None:
        """Take over loaded weights and a listening socket.

        `computing` is called with the adapter of a step before it, and with "" after it.
        `filter_pays` is what `device_filter.pays` found.
        """
        self._computing = computing
        self._device_filter = DeviceFilter(pays=filter_pays)
        self._adapters = adapters
        self._sha256 = sha256
        self._build = build
        self._sequences = sequences
        self._now_us = now_us
        self._vocabulary = adapters.model.vocabulary
        self._prompts = Prompts(self._vocabulary.tokenise)
        self._scheduler = Scheduler(
            slots=sequences,
            sequence_tokens=sequence_tokens,
            room=adapters.base.room,
            knobs=knobs,
            scored_outputs=SCORED_MOST,
            cuts=adapters.base.cuts,
        )
        self._scheduler.add_adapter("")
        tokens = functools.partial(constraint_tokens.tokenizer, self._vocabulary)
        self._constraints = Constraints(
            tokens, self._vocabulary.size, sequences, now_us, socket.wake
        )
        self._works: dict[int, Generation | Scoring] = {}
        self._known = ScoredPrompts()
        self._link = GatewayLink(
            socket,
            reports,
            now_us,
            hello=self._hello,
            take=self._take,
            taken=self._taken,
            forget=self._forget,
            load=self._current_load,
        )
        self.draining = False

    # the loop

    def run(self) -> None:
        """Serve until `draining` is set and nothing is left."""
        while True:
            busy = self._scheduler.live or (self.draining and not self._constraints.waiting)
            self._link.receive(idle=not busy)
            if self.draining:
                self._link.announce_draining()
            if self.draining and not (self._scheduler.live or self._constraints.waiting):
                self._link.finish()
                return
            plan = self._scheduler.plan(self._now_us())
            self._refuse(plan.refusals)
            if plan.rows:
                self._step(plan)
            else:
                self._link.send_news()
            self._link.heartbeat()

    # what the gateway asks

    def _taken(self) -> None:
        """What was prepared beside the loop meanwhile."""
        for submit in self._constraints.released():
            self._admit(submit)
        for outcome in self._adapters.outcomes():
            self._adapter_changed(outcome)

    def _current_load(self, now_us: int) -> Load:
        scheduler = self._scheduler
        return Load(
            running=scheduler.running,
            waiting=scheduler.waiting,
            oldest_waiting_us=scheduler.oldest_waiting_us(now_us),
            kv_used_tokens=scheduler.resident_tokens(),
            kv_total_tokens=scheduler.sequence_tokens * self._sequences * len(scheduler.adapters),
        )

    def _hello(self) -> wire.Hello:
        vocabulary = self._vocabulary
        return wire.Hello(
            pid=os.getpid(),
            sha256=self._sha256,
            build=self._build,
            devices=self._adapters.model.devices,
            sequence_tokens=self._scheduler.sequence_tokens,
            max_sequences=self._sequences,
            vocabulary=vocabulary.size,
            chat_template=self._adapters.model.chat_template,
            bos=vocabulary.text(vocabulary.bos),
            eos=vocabulary.text(vocabulary.eos),
            control_tokens=vocabulary.control_texts,
            adapters=tuple(self._scheduler.adapters),
            knobs=self._scheduler.knobs.values(),
            longest_token=vocabulary.piece_most,
            infill=vocabulary.infill,
            control_ids=tuple(map(vocabulary.controls.__getitem__, vocabulary.control_texts)),
        )

    def _take(self, item: wire.ToWorker) -> None:
        match item:
            case wire.Submit() | wire.Score() if not self._constraints.hold(item):
                self._admit(item)
            case wire.Tokenise() | wire.Detokenise() | wire.Embed():
                self._tell(item)
            case wire.Cancel():
                self._cancel(item.id)
            case wire.LoadAdapter():
                self._load(item)
            case wire.UnloadAdapter():
                self._unload(item.adapter)
            case wire.SetKnobs():
                self._scheduler.knobs = self._scheduler.knobs.changed(item.values)
                self._link.news.append(wire.KnobsSet(self._scheduler.knobs.values()))

    def _admit(self, request: wire.Submit | wire.Score) -> None:
        if request.id in self._scheduler.live:
            self._link.drop()  # two sequences under one id: the gateway has lost count
            return
        now = self._now_us()
        most = self._scheduler.sequence_tokens
        sequence = arrivals.sequence(request, now)
        if self.draining:
            message = "this worker is draining; its successor takes new requests"
            self._refuse((Refusal(sequence, "draining", message, 1_000_000),))
            return
        work = arrivals.work(
            request, sequence, self._prompts, self._vocabulary, most, self._constraints
        )
        if isinstance(work, Refusal):
            self._refuse((work,))
            return
        if isinstance(work, wire.Scored):
            self._link.news.append(work)
            return
        if isinstance(work, Scoring) and work.whole and self._scheduler.knobs.prefix_cache:
            work.know(self._known.find(sequence, work.tokens, work.alternatives))
        self._works[request.id] = work
        self._refuse(self._scheduler.submit(sequence, now))

    def _tell(self, request: wire.Tokenise | wire.Detokenise | wire.Embed) -> None:
        """Answer what needs no computation, at once."""
        told = tokens.tell(self._vocabulary, request, self._scheduler.sequence_tokens)
        if isinstance(told, wire.Refused):
            self._link.refused.append(told)
        else:
            self._link.news.append(told)

    def _cancel(self, id: int) -> None:
        work = self._works.pop(id, None)
        if work is not None:
            self._scheduler.end(work.sequence)
            self._link.finished.append(generation.finished(work, "cancelled"))
        elif self._constraints.drop(id):
            self._link.finished.append(wire.Finished(id, "cancelled", 0, 0, 0, 0, 0))

    def _forget(self) -> None:
        """The gateway has disconnected: cancel everything it asked for."""
        for work in self._works.values():
            self._scheduler.end(work.sequence)
        self._works.clear()
        self._constraints.forget()

    def _load(self, wanted: wire.LoadAdapter) -> None:
        if wanted.adapter in self._scheduler.adapters:
            self._link.news.append(wire.AdapterLoaded(wanted.adapter, wanted.sha256))
        else:
            self._adapters.load(wanted.adapter, Path(wanted.path), wanted.sha256)

    def _unload(self, adapter: str) -> None:
        if adapter and adapter in self._scheduler.adapters:
            self._remove(adapter, "no_adapter", f"adapter {adapter!r} is being unloaded")
        self._adapters.unload(adapter)

    def _remove(self, adapter: str, code: str, message: str) -> None:
        """Refuse an adapter's sequences; after that nothing of the loop uses its context."""
        self._known.forget(adapter)
        ended = self._scheduler.remove_adapter(adapter)
        self._refuse(tuple(Refusal(sequence, code, message, 0) for sequence in ended))

    def _adapter_changed(self, outcome: Outcome) -> None:
        match outcome:
            case Loaded():
                self._scheduler.add_adapter(outcome.adapter)
                self._link.news.append(wire.AdapterLoaded(outcome.adapter, outcome.sha256))
            case Failed():
                self._link.news.append(wire.AdapterFailed(outcome.adapter, outcome.reason))
            case Unloaded():
                self._link.news.append(wire.AdapterUnloaded(outcome.adapter))

    def _refuse(self, refusals: tuple[Refusal, ...]) -> None:
        for sequence, code, message, retry_after_us, place in refusals:
            self._works.pop(sequence.id, None)
            self._link.refused.append(
                wire.Refused(sequence.id, code, message, retry_after_us, sequence.busy_us, place)
            )

    # one step

    def _step(self, plan: Plan) -> None:
        context = self._adapters.context(plan.adapter)
        try:
            for move in plan.moves:
                context.move(*move)
            rows = step_io.fill(context.batch, plan, self._works)
            outputs = sum(row.outputs for row, _ in rows)
            self._computing(plan.adapter)
            masks = self._constraints.begin(step_io.matchers(rows))
            knob = self._scheduler.knobs.backend_sampling
            works = (work for _, work in rows)
            filters = self._device_filter.set(knob, plan.adapter, context, works)
            decode = context.decode_best if filters else context.decode
            logits = decode(plan.decode + plan.prefill, outputs)
            self._computing("")
        except errors.ComputeFailed as fault:
            self._give_up(plan.adapter, fault)
            return
        except errors.EngineFault as fault:
            for row in plan.rows:
                self._fail(row.sequence, str(fault))
            return
        gained = step_io.read(rows, logits, self._vocabulary, masks)
        now = self._now_us()
        busy = self._link.busy_us(now)
        ended = [work.sequence for work, _ in gained.ended]
        ended += [work.sequence for work in gained.scored]
        self._scheduler.settle(plan, ended, busy, now)
        self._link.computed_us = now
        for sequence in ended:
            del self._works[sequence.id]
        self._link.finished += [generation.finished(work, reason) for work, reason in gained.ended]
        if gained.scored:
            raw, hides = self._vocabulary.raw, self._vocabulary.hides
            self._link.news += [work.scored(raw, hides) for work in gained.scored]
            self._known.remember(gained.scored, reuse=bool(self._scheduler.knobs.prefix_cache))
        if gained.broken:
            context.cleanse({work.sequence.slot for work in gained.broken})
        for work in gained.broken:
            self._fault(work)
        for work in gained.unmatched:
            self._fail(work.sequence, work.matcher.fault if work.matcher else "", "constraint")
        self._link.number += 1
        self._link.send(
            stepped=True,
            adapter=plan.adapter,
            prefill=plan.prefill,
            decode=plan.decode,
            deltas=tuple(gained.deltas),
            now_us=now,
        )

    def _fault(self, work: Generation | Scoring) -> None:
        """Refuse a sequence whose logits are no distribution; the others are not affected."""
        at = work.sequence.resident
        message = f"the logits of the model are NaN or infinite at token {at}"
        self._fail(work.sequence, message, "model_fault")

    def _fail(self, sequence: Sequence, message: str, code: str = "engine") -> None:
        self._scheduler.end(sequence, keep=False)
        self._refuse((Refusal(sequence, code, message, 0),))

    def _give_up(self, adapter: str, fault: errors.ComputeFailed) -> None:
        """Unload an adapter that failed while computing; without the base, end the process."""
        if not adapter:
            raise fault
        self._remove(adapter, "engine", str(fault))
        self._adapters.unload(adapter)
        self._link.news.append(wire.AdapterFailed(adapter, str(fault)))
