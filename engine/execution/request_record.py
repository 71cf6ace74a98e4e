"""What is written down about one request, when it has ended. Imported by the gateway."""

from __future__ import annotations

from dataclasses import dataclass

from engine.execution import calls
from engine.execution.calls import Flight
from engine.gateway import errors
from engine.serving import wire
from storage.keys import Key
from storage.releases import Release
from storage.requests import Class, Outcome, Request
from storage.texts import Text


@dataclass(frozen=True, slots=True)
class Ticket:
    """Who asked for what, and who was to answer. `at_us` is its arrival by the clock."""

    id: str
    at_us: int
    arrived_us: int
    """Its arrival, monotonic."""
    endpoint: str
    service: str
    release: Release
    key: Key
    klass: Class
    stream: bool
    seed: int
    prompt: str | None
    """Its text, where the service records texts."""

    def refused(self, problem: errors.Problem, now_us: int) -> Request:
        """It never came as far as a worker."""
        return self._request(
            latency_us=now_us - self.arrived_us,
            outcome=_outcome(problem),
            error_code=problem.code,
        )

    def ended(self, flight: Flight, prompts: int) -> Request:
        """It was under way with so many prompts, and the worker has said its last word."""
        ends = [choice.finish for choice in flight.choices if choice.finish is not None]
        problem = flight.problem
        outcome = Outcome.OK
        if flight.gone or (problem is not None and problem.code == "slow_reader"):
            outcome = Outcome.CANCELLED
        elif problem is not None:
            outcome = _outcome(problem)
        began = flight.first_us
        return self._request(
            prompt_tokens=calls.prompt_tokens(flight.choices, prompts),
            completion_tokens=sum(max(c.tokens, _drawn(c.finish)) for c in flight.choices),
            queue_us=max((end.queue_us for end in ends), default=0),
            ttft_us=None if began is None else began - self.arrived_us,
            latency_us=(flight.ended_us or flight.now_us()) - self.arrived_us,
            busy_us=flight.busy_us + sum(end.busy_us for end in ends),
            outcome=outcome,
            finish_reason=ends[0].reason if ends and outcome is Outcome.OK else None,
            error_code=None if problem is None else problem.code,
        )

    def text(self, completion: str) -> Text | None:
        """What was said, where that is kept."""
        if self.prompt is None:
            return None
        return Text(request_id=self.id, prompt=self.prompt, completion=completion, at_us=self.at_us)

    def _request(self, *, outcome: Outcome, **fields: int | str | None) -> Request:
        return Request(
            id=self.id,
            at_us=self.at_us,
            service=self.service,
            release=self.release.number,
            worker=self.release.deployment,
            endpoint=self.endpoint,
            key_id=self.key.id,
            tenant=self.key.tenant,
            class_=self.klass,
            synthetic=self.key.synthetic,
            stream=self.stream,
            outcome=outcome,
            seed=self.seed,
            **fields,  # type: ignore[arg-type]
        )


def _drawn(finish: wire.Finished | None) -> int:
    return finish.completion_tokens if finish is not None else 0


def _outcome(problem: errors.Problem) -> Outcome:
    if isinstance(problem, errors.Overloaded) or problem.code == "deadline":
        return Outcome.REFUSED
    return Outcome.FAILED
