"""Counts the events of the current second: by arm, tenant, instance, and in the gateway.

Quiet subjects get a row only every four seconds, and hundreds of quiet arms more rarely: their rows
are bounded to spare the store. The idle time of an instance in the seconds between is in that row,
so that busy and idle time add up to wall time. Never touches the store. Imported by the gateway.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from engine.serving import wire
from storage import samples
from storage.requests import Request
from storage.samples import GatewaySample, InstanceSample, Kind, Sample
from storage.tallies import Tally

IDLE_S: Final = 4
QUIET_ROWS: Final = 64
"""Rows of quiet arms in a second."""
KEPT_S: Final = 3600
"""How long an arm that no split names is kept after its last request."""

Row = tuple[int, Kind, str, Sample]
"""Second, kind, subject, sample."""


class Requests:
    """The requests of one release, or of one tenant, of a service."""

    def __init__(self, kind: Kind, subject: str) -> None:
        self.kind = kind
        self.subject = subject
        self.used: int | None = None
        """The second of its last request, as far as it was closed."""
        self.gaps: list[int] = []
        """Microseconds between the tokens of a sequence, appended as tokens arrive."""
        self.quiet_s = IDLE_S
        """How long after its last row a quiet one follows."""
        self.quiet = False
        """Whether nothing happened in the second of its last row."""
        self._tally = Tally()
        self._written = 0

    def ended(self, request: Request) -> None:
        """A request has ended."""
        self._tally.count(request)

    def judged(self, score: int, before: int | None = None) -> None:
        """A client rated an answer, 1 or -1; `before` is the rating that this one replaces.

        A second may thus hold a negative count; its sum with the earlier seconds is right.
        """
        self._tally.rate(score, before)

    def close(self, second: int, *, live: bool) -> Iterator[Row]:
        """The row of the second that is over, if there is one; quiet rows only while `live`."""
        if self.gaps:
            self._tally.inter_token.add_all(self.gaps)
            self.gaps.clear()
        if self.used is None or not self._tally.empty:
            self.used = second
        if self._tally.empty and (not live or _recent(self._written, second, self.quiet_s)):
            return
        self._written, self.quiet = second, self._tally.empty
        yield second, self.kind, self.subject, self._tally.sample()
        self._tally = Tally()

    def idle(self, second: int) -> bool:
        """Whether the last request ended so long ago that the window can be forgotten."""
        return self.used is not None and second - self.used > KEPT_S


def _recent(written: int, second: int, within_s: int = IDLE_S) -> bool:
    """Whether a row was written less than that ago; False after the clock was set back."""
    return 0 <= second - written < within_s


@dataclass(slots=True)
class _Sums:
    """Sums over the frames since the last row."""

    steps: int = 0
    prefill: int = 0
    decode: int = 0
    busy_us: int = 0
    idle_us: int = 0
    batch_max: int = 0


class Instance:
    """One worker, from the frames of its steps."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._step: wire.Step | None = None
        self._sums = _Sums()
        self._quiet: tuple[int, wire.Step, _Sums] | None = None
        self._written = 0

    def step(self, step: wire.Step) -> None:
        """Add the frame of a step."""
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
        """The rows of complete seconds; none without a connection (`hello` is None)."""
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
        if active or not _recent(self._written, second):
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
        sample = InstanceSample(
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
        return second, Kind.INSTANCE, self.name, sample


class Gateway:
    """The gateway itself."""

    def __init__(self) -> None:
        self._refused: Counter[str] = Counter()
        self._rejected: Counter[str] = Counter()
        self._last: GatewaySample | None = None
        self._written = 0

    def refused(self, reason: str) -> None:
        """A connection was refused, or closed because of a limit or a timeout."""
        self._refused[reason] += 1

    def rejected(self, code: str) -> None:
        """A request was answered with an error and not recorded; `code` is the error's."""
        self._rejected[code] += 1

    def close(self, second: int, held: int, connections: int) -> Iterator[Row]:
        """The row of the second that is over, if anything has changed since the last one."""
        sample = GatewaySample(
            held=held,
            connections=connections,
            refused=dict(self._refused),
            rejected=dict(self._rejected),
        )
        quiet = not (sample.refused or sample.rejected)
        if quiet and sample == self._last and _recent(self._written, second):
            return
        self._written, self._last = second, sample
        self._refused.clear()
        self._rejected.clear()
        yield second, Kind.GATEWAY, samples.GATEWAY, sample


class Windows:
    """The windows of all arms, tenants and instances, and the gateway's own."""

    def __init__(self) -> None:
        self.gateway = Gateway()
        self._arms: dict[tuple[str, int], Requests] = {}
        self._tenants: dict[tuple[str, str], Requests] = {}
        self._instances: dict[str, Instance] = {}

    def ended(self, request: Request) -> None:
        """A request has ended; one that no release had was rejected and is counted elsewhere."""
        if request.release is not None:
            self.arm(request.service, request.release).ended(request)
            self.tenant(request.service, request.tenant).ended(request)

    def judged(self, request: Request, score: int, before: int | None) -> None:
        """A client rated the answer to a request, see `Requests.judged`."""
        if request.release is not None:
            self.arm(request.service, request.release).judged(score, before)
            self.tenant(request.service, request.tenant).judged(score, before)

    def arm(self, service: str, release: int) -> Requests:
        """The window of a release of a service."""
        key = service, release
        if key not in self._arms:
            self._arms[key] = Requests(Kind.ARM, f"{service}/r{release}")
        return self._arms[key]

    def tenant(self, service: str, tenant: str) -> Requests:
        """The window of a tenant's requests to a service."""
        key = service, tenant
        if key not in self._tenants:
            self._tenants[key] = Requests(Kind.TENANT, f"{service}/{tenant}")
        return self._tenants[key]

    def instance(self, name: str) -> Instance:
        """The window of an instance, by its name (ops-1.0.0:1)."""
        if name not in self._instances:
            self._instances[name] = Instance(name)
        return self._instances[name]

    def close(self, second: int, live: AbstractSet[tuple[str, int]]) -> Iterator[Row]:
        """The rows of all arms and tenants; `live` are arms with traffic in the current splits.

        Tenants, and arms that are not live, are forgotten an hour after their last request.
        """
        for arm in live:
            self.arm(*arm)
        quiet_s, left = max(IDLE_S, -(-len(live) // QUIET_ROWS)), QUIET_ROWS
        for key, window in list(self._arms.items()):
            window.quiet_s = quiet_s
            for row in window.close(second, live=key in live and left > 0):
                left -= window.quiet
                yield row
            if key not in live and window.idle(second):
                del self._arms[key]
        for tenant, requests in list(self._tenants.items()):
            yield from requests.close(second, live=False)
            if requests.idle(second):
                del self._tenants[tenant]

    def keep(self, instances: Container[str]) -> None:
        """Forget the instances that the gateway is no longer connected to."""
        for name in [name for name in self._instances if name not in instances]:
            del self._instances[name]
