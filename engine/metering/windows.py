"""What happened in the second that is going on: by arm and by worker, until it is written down.

While nothing happens an arm or a worker gets a row every four seconds only; the idle time of the
seconds between is in it, so that busy and idle time add up to wall time. Never touches the store.
Imported by the gateway.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from engine.serving import wire
from storage.requests import Outcome, Request
from storage.samples import ArmSample, Kind, Sample, WorkerSample
from storage.sketches import Sketch

IDLE_S: Final = 4

Row = tuple[int, Kind, str, Sample]
"""Second, kind, subject, sample."""


class Arm:
    """One release of a service."""

    def __init__(self, service: str, release: int) -> None:
        self.subject = f"{service}/r{release}"
        self.gaps: list[int] = []
        """Microseconds between the tokens of a sequence; whoever sees tokens appends."""
        self._ended: list[Request] = []
        self._thumbs = {1: 0, -1: 0}
        self._written = 0

    def ended(self, request: Request) -> None:
        """A request of this arm has ended."""
        self._ended.append(request)

    def judged(self, score: int, before: int | None = None) -> None:
        """Somebody said what an answer was worth; what they said `before` counts no more.

        So a second may hold fewer thumbs than none: its sum with the earlier ones is right.
        """
        self._thumbs[score] += 1
        if before is not None:
            self._thumbs[before] -= 1

    def close(self, second: int, *, live: bool) -> Iterator[Row]:
        """The row of the second that is over, if it is worth one; quiet rows only while `live`."""
        active = bool(self._ended or self.gaps or any(self._thumbs.values()))
        if not active and (not live or _just(self._written, second)):
            return
        self._written = second
        yield second, Kind.ARM, self.subject, self._sample()
        self._ended, self._thumbs = [], {1: 0, -1: 0}
        self.gaps.clear()

    def _sample(self) -> ArmSample:
        ended = self._ended
        outcomes = [request.outcome for request in ended]
        return ArmSample(
            requests=len(ended),
            ok=outcomes.count(Outcome.OK),
            failed=outcomes.count(Outcome.FAILED),
            refused=outcomes.count(Outcome.REFUSED),
            cancelled=outcomes.count(Outcome.CANCELLED),
            synthetic=sum(request.synthetic for request in ended),
            prompt_tokens=sum(request.prompt_tokens for request in ended),
            completion_tokens=sum(request.completion_tokens for request in ended),
            busy_us=sum(request.busy_us for request in ended),
            latency=_sketched(r.latency_us for r in ended if r.outcome is Outcome.OK),
            ttft=_sketched(r.ttft_us for r in ended if r.ttft_us is not None),
            inter_token=_sketched(self.gaps),
            thumbs_up=self._thumbs[1],
            thumbs_down=self._thumbs[-1],
        )


def _just(written: int, second: int) -> bool:
    """Whether a row was written a moment ago; a clock that was set back makes none so."""
    return 0 <= second - written < IDLE_S


def _sketched(values: Iterable[int]) -> dict[str, object]:
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    return sketch.to_dict()


@dataclass(slots=True)
class _Sums:
    """Over the frames since the last row."""

    steps: int = 0
    prefill: int = 0
    decode: int = 0
    busy_us: int = 0
    idle_us: int = 0
    batch_max: int = 0


class Worker:
    """One worker, from the frames of its steps."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._step: wire.Step | None = None
        self._sums = _Sums()
        self._quiet: tuple[int, wire.Step, _Sums] | None = None
        self._written = 0

    def step(self, step: wire.Step) -> None:
        """A frame came."""
        self._step = step
        sums = self._sums
        sums.busy_us += step.busy_us
        sums.idle_us += step.idle_us
        if step.prefill_tokens or step.decode_tokens:
            sums.steps += 1
            sums.prefill += step.prefill_tokens
            sums.decode += step.decode_tokens
            sums.batch_max = max(sums.batch_max, len(step.deltas))

    def close(
        self, second: int, hello: wire.Hello | None, knobs: Mapping[str, int]
    ) -> Iterator[Row]:
        """The rows of what is over; without a connection nothing is heard and nothing told."""
        step, sums = self._step, self._sums
        if hello is None:
            self._step, self._quiet, self._sums = None, None, _Sums()
            return
        if step is None:
            return
        active = bool(sums.steps or step.running or step.waiting)
        if self._quiet is not None and active:
            yield self._row(*self._quiet, hello, knobs)
            self._quiet = None
        elif self._quiet is not None:
            sums.busy_us += self._quiet[2].busy_us
            sums.idle_us += self._quiet[2].idle_us
            self._quiet = None
        if active or not _just(self._written, second):
            self._written = second
            yield self._row(second, step, sums, hello, knobs)
        else:
            self._quiet = second, step, sums
        self._sums = _Sums()

    def _row(
        self,
        second: int,
        step: wire.Step,
        sums: _Sums,
        hello: wire.Hello,
        knobs: Mapping[str, int],
    ) -> Row:
        sample = WorkerSample(
            running=step.running,
            waiting=step.waiting,
            max_running=knobs.get("max_running", hello.max_sequences),
            oldest_waiting_us=step.oldest_waiting_us,
            sequences=hello.max_sequences,
            kv_used_tokens=step.kv_used_tokens,
            kv_total_tokens=step.kv_total_tokens,
            steps=sums.steps,
            prefill_tokens=sums.prefill,
            decode_tokens=sums.decode,
            busy_us=sums.busy_us,
            idle_us=sums.idle_us,
            batch_max=sums.batch_max,
        )
        return second, Kind.WORKER, self.name, sample


class Windows:
    """All arms and workers that were seen."""

    def __init__(self) -> None:
        self._arms: dict[tuple[str, int], Arm] = {}
        self._workers: dict[str, Worker] = {}

    def arm(self, service: str, release: int) -> Arm:
        """The window of a release of a service."""
        key = service, release
        if key not in self._arms:
            self._arms[key] = Arm(service, release)
        return self._arms[key]

    def worker(self, name: str) -> Worker:
        """The window of a worker."""
        if name not in self._workers:
            self._workers[name] = Worker(name)
        return self._workers[name]

    def close(self, second: int, live: set[tuple[str, int]]) -> Iterator[Row]:
        """The rows of all arms; `live` are those that get traffic."""
        for arm in live:
            self.arm(*arm)
        for key, window in self._arms.items():
            yield from window.close(second, live=key in live)
