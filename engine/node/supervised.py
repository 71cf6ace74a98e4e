"""One supervised process: spawned, listened to, told to stop, killed, put back.

The thin actor below `engine.node.supervision`, which decides. A part tells its state by JSON
lines on its standard output; its standard error is its log. Nothing here knows what a part does,
and nothing here writes to the store: facts go to whoever asked for them. Imported by
`engine.node`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import signal
import subprocess
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from engine.node import specs, status_lines, supervision
from engine.node.child import Process
from engine.node.load_failures import Loads
from engine.node.specs import Broken, Fact, Spec
from engine.node.supervision import Act, Observed, Reason

_LATE_US: Final = supervision.SECOND_US

_log = structlog.get_logger("node.parts")


class Part:
    """Keeps one process as it is wanted, until it is not wanted any more.

    `started` is a process that was begun for it before; it takes that over first. `fit` is asked
    before each start of another one; what it says against it holds until `again`.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        monotonic_us: Callable[[], int],
        tell: Callable[[Fact], None],
        started: subprocess.Popen[bytes] | None = None,
        fit: Callable[[], Awaitable[str | None]] | None = None,
    ) -> None:
        self.spec = spec
        self.fact = Fact(spec.name, spec.kind, "stopped", model=spec.model)
        self._now = monotonic_us
        self._tell = tell
        self._started = started
        self._fit = fit
        self._observed = Observed(wanted=True)
        self._process: Process | None = None
        self._step = -1
        self._poked = asyncio.Event()
        self._ready_us: int | None = None
        self._killed_for: Reason | None = None
        self._last_words: str | None = None
        self._loads = Loads()
        self._spawns = 0
        self.was_ready = False

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process else None

    @property
    def working(self) -> bool:
        """Whether it had work when it was last heard."""
        return self._observed.running and self._observed.working

    @property
    def given_up(self) -> bool:
        """Whether its file is broken, so that it is not started again by itself."""
        return self._observed.failed is not None

    def again(self) -> None:
        """Try once more what was given up."""
        self._change(failed=None, failures=0)

    def stop(self) -> None:
        """It is not wanted any more: let it finish its work and leave."""
        self._change(wanted=False)

    def kill(self) -> None:
        """Do not wait for it any longer."""
        self._signal(signal.SIGKILL)

    async def run(self) -> None:
        """Act on decisions until the part is neither wanted nor running."""
        try:
            while True:
                now = self._now()
                decision = supervision.decide(self._observed, self.spec.plan, now)
                if decision.reason is Reason.GONE:
                    return
                if decision.act is Act.WAIT:
                    await self._wait(decision.again_us)
                else:
                    await self._act(decision)
        finally:
            self.kill()

    async def _act(self, decision: supervision.Decision) -> None:
        if decision.act is Act.SPAWN:
            await self._start()
            return
        self._killed_for = decision.reason
        if decision.act is Act.TERMINATE:
            self._signal(signal.SIGTERM)
            self._change(told_us=self._now())
            self._say("draining", decision.reason.value)
            return
        _log.warning("killing a part", part=self.spec.name, reason=decision.reason.value)
        self._signal(signal.SIGKILL)
        while self._observed.running:  # the kernel's answer, which always comes
            await self._wait(None)

    async def _wait(self, until_us: int | None) -> None:
        timeout = None if until_us is None else max(0.0, (until_us - self._now()) / 1e6)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._poked.wait(), timeout)
        self._poked.clear()
        if until_us is not None and (late := self._now() - until_us) > _LATE_US:
            self._observed = supervision.forgiven(self._observed, late)
            self._poked.set()

    def _change(self, **fields: object) -> None:
        self._observed = dataclasses.replace(self._observed, **fields)  # type: ignore[arg-type]
        self._poked.set()

    def _say(
        self, state: str, reason: str | None = None, broken: Broken | None = None, **fields: object
    ) -> None:
        self.fact = dataclasses.replace(
            self.fact,
            state=state,
            reason=reason,
            broken=broken,
            pid=self.pid,
            restarts=max(0, self._spawns - 1),
            **fields,  # type: ignore[arg-type]
        )
        self._tell(self.fact)

    async def _start(self) -> None:
        why = None if self._fit is None or self._started is not None else await self._fit()
        if not self._observed.wanted:  # it was stopped meanwhile
            return
        if why is None:
            self._spawn()
            return
        _log.error("a part may not be started", part=self.spec.name, reason=why)
        self._ready_us = self._killed_for = None
        self._last_words = why
        self._change(failed=why)
        self._ended(why)

    def _spawn(self) -> None:
        now = self._now()
        self._step = -1
        self._loads.now = None if self.spec.model is None else ""
        self._ready_us = self._killed_for = self._last_words = None
        try:
            started, self._started = self._started or specs.start(self.spec), None
        except OSError as error:
            self._ended(f"could not be started: {error.strerror or error}")
            return
        self._spawns += 1
        self._observed = Observed(
            wanted=self._observed.wanted,
            running=True,
            heard_us=now,
            token_us=now,
            step_us=now,
            failures=self._observed.failures,
        )
        self._process = Process(started, hear=self._hear, ended=self._reap)
        _log.info("spawned", part=self.spec.name, pid=self._process.pid)
        self._say("starting", sha256=None, build=None, failed=None)

    def _hear(self, said: status_lines.Said) -> None:
        now, seen = self._now(), self._observed
        busy = said.running + said.waiting > 0
        broken = self._loads.hear(said)
        if said.opening or said.opened or said.unopened:
            self._lane(said, broken, now)
            return
        if said.failed is not None:
            _log.error("a part cannot work", part=self.spec.name, reason=said.failed)
            self._last_words = said.failed
            self._change(failed=said.failed if said.broken else None, heard_us=now)
            return
        if said.beat is not None and said.beat is not False:
            moved, self._step = said.step != self._step, said.step
            self._observed = supervision.beaten(
                seen, busy=busy, moved=moved, since_token_us=said.since_token_us, now_us=now
            )
            self._poked.set()
            return
        self._change(heard_us=now)
        if said.ready and not seen.ready:
            self._ready_us = now
            self.was_ready = True
            self._change(ready=True)
            if seen.told_us is None:
                self._say("ready", sha256=said.sha256, build=said.build)

    def _lane(self, said: status_lines.Said, broken: Broken | None, now: int) -> None:
        """A worker opens an adapter; how that ends is nobody's state but the adapter's."""
        self._change(heard_us=now, token_us=now, opening=self._loads.opening)
        if said.unopened:
            _log.error("a lane failed", part=self.spec.name, lane=said.unopened, reason=said.failed)
        if broken is not None:
            self._tell(dataclasses.replace(self.fact, broken=broken))

    def _reap(self, code: int) -> None:
        self._process = None
        self._ended(status_lines.ending(code), fault=status_lines.is_fault(code))

    def _ended(self, how: str, *, fault: bool = False) -> None:
        now, seen = self._now(), self._observed
        told = seen.told_us is not None
        failures = supervision.failures_after(seen, self.spec.plan, self._ready_us, now)
        self._change(
            running=False, ready=False, told_us=None, ended_us=now, failures=0 if told else failures
        )
        why = self._killed_for.value if self._killed_for and not told else how
        broken = None if told else self._loads.died(why, fault=fault)
        if broken is not None and not broken.lane:
            self._last_words = broken.why
            self._change(failed=broken.why)
        if self._last_words is not None:
            final = Broken("", self._last_words) if self.given_up else None
            self._say("crashed", self._last_words, final, failed=self._last_words)
        elif told or not seen.wanted:
            forced = self._killed_for is Reason.STUBBORN
            self._say("stopped", Reason.STUBBORN.value if forced else None)
        else:
            _log.warning("a part ended", part=self.spec.name, reason=why, failures=failures)
            self._say("crashed", broken.why if broken else why, broken)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.signal(number)
