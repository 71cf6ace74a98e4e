"""A supervised process: started, listened to, asked to exit, killed, restarted.

Acts on the decisions of `engine.node.supervision`. A process reports its state by JSON lines on its
standard output; its standard error is its log. Nothing here knows what a process does, and nothing
here writes to the store: facts are passed to the caller. Imported by `engine.node`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog

from engine.node import endings, process_logs, specs, supervision
from engine.node.child import Child
from engine.node.facts import Facts
from engine.node.load_failures import LoadTracker
from engine.node.specs import Evidence, Fact, LoadFailure, Preparation, Spec
from engine.node.status_lines import StatusLine
from engine.node.supervision import Act, Death, Observed, Reason
from engine.process import computing

_LATE_US: Final = supervision.SECOND_US
_EVIDENCE_LINES: Final = 3

Prepare = Callable[[], Awaitable[Preparation]]

_log = structlog.get_logger("node.processes")


class SupervisedProcess:
    """Keeps one process running until it is no longer wanted.

    `started` is a process that was started for it before; it is taken over first. `prepare` is
    asked before each further start for the environment, or a refusal.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        monotonic_us: Callable[[], int],
        tell: Callable[[Fact], None],
        started: subprocess.Popen[bytes] | None = None,
        prepare: Prepare | None = None,
    ) -> None:
        self.spec = spec
        self._facts = Facts(spec, tell)
        self._now = monotonic_us
        self._started = started
        self._prepare = prepare
        self._observed = Observed(wanted=True)
        self._child: Child | None = None
        self._step = -1
        self._changed = asyncio.Event()
        self._ready_us: int | None = None
        self._killed_for: Reason | None = None
        self._cannot_work: str | None = None
        self._log_begin = 0
        self._memory_kills = endings.MemoryKills()
        self._loads = LoadTracker()
        self._spawns = 0
        self.was_ready = False

    @property
    def fact(self) -> Fact:
        """The latest fact."""
        return self._facts.latest

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._child.pid if self._child else None

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self._observed.running

    @property
    def stopping(self) -> bool:
        """Whether it is no longer wanted."""
        return not self._observed.wanted

    @property
    def working(self) -> bool:
        """Whether it had work at its last heartbeat."""
        return self._observed.running and self._observed.working

    @property
    def given_up(self) -> bool:
        """Whether its file cannot be loaded, so that it is not restarted."""
        return self._observed.failed is not None

    def retry(self) -> None:
        """Start it again after it was given up."""
        self._change(failed=None, failures=0)

    def give_up(self, reason: str) -> None:
        """Kill it for a fault of its file, which it did not find itself; see `retry`."""
        if self._observed.running:
            self._cannot_work = reason
            self._change(failed=reason)
            self.kill()

    def note_missing(self, path: str) -> None:
        """Its file is gone while it serves from memory; "" when it is there again."""
        if (loaded := self.fact.loaded) is not None:
            self._facts.report_loaded(dataclasses.replace(loaded, missing=path))

    def stop(self) -> None:
        """It is no longer wanted: let it finish its work and exit."""
        self._change(wanted=False)

    def kill(self) -> None:
        """Do not wait for it any longer."""
        self._signal(signal.SIGKILL)

    async def run(self) -> None:
        """Act on decisions until the process is neither wanted nor running."""
        try:
            while True:
                now = self._now()
                decision = supervision.decide(self._observed, self.spec.plan, now)
                if decision.reason is Reason.GONE:
                    return
                if decision.act is Act.WAIT:
                    self._report_silence(decision, now)
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
            self._change(terminated_us=self._now())
            self._report("draining", decision.reason.value)
            return
        _log.warning("killing a process", name=self.spec.name, reason=decision.reason.value)
        self._signal(signal.SIGKILL)
        while self._observed.running:  # the kernel always reports its end
            await self._wait(None)

    async def _wait(self, until_us: int | None) -> None:
        timeout = None if until_us is None else max(0.0, (until_us - self._now()) / 1e6)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), timeout)
        self._changed.clear()
        if until_us is not None and (late := self._now() - until_us) > _LATE_US:
            self._observed = supervision.after_pause(self._observed, late)
            self._changed.set()

    def _change(self, **fields: object) -> None:
        self._observed = dataclasses.replace(self._observed, **fields)  # type: ignore[arg-type]
        self._changed.set()

    def _report(self, state: str, reason: str | None = None, **fields: object) -> None:
        restarts = max(0, self._spawns - 1)
        self._facts.report(state, reason, pid=self.pid, restarts=restarts, **fields)

    def _report_silence(self, decision: supervision.Decision, now: int) -> None:
        """Report that a ready process has gone silent, why, and when that is over."""
        since = decision.silent_since_us
        if (since is None) == (self.fact.silent_us is None):
            return
        if since is None:
            _log.info("a process responds again", name=self.spec.name)
            self._report("ready")
        else:
            _log.warning("a process is silent", name=self.spec.name, reason=decision.reason.value)
            self._report("ready", decision.reason.value, silent_us=now - since)

    async def _start(self) -> None:
        preparation = Preparation()
        if self._prepare is not None and self._started is None:
            preparation = await self._prepare()
        if not self._observed.wanted:  # it was stopped meanwhile
            return
        if preparation.refusal is None:
            self._spawn(preparation.environment)
            return
        _log.error("a process cannot be started", name=self.spec.name, reason=preparation.refusal)
        self._ready_us = self._killed_for = self._cannot_work = None
        if preparation.permanent:
            self._cannot_work = preparation.refusal
            self._change(failed=preparation.refusal)
        self._ended(preparation.refusal)

    def _spawn(self, environment: Mapping[str, str]) -> None:
        now = self._now()
        self._step = -1
        self._loads.now = None if self.spec.model is None else ""
        self._ready_us = self._killed_for = self._cannot_work = None
        if self._started is None:
            self._log_begin = process_logs.end(self.spec.log)
        try:
            started = self._started or specs.start(self.spec, environment)
        except OSError as error:
            self._ended(f"could not be started: {error.strerror or error}")
            return
        self._started = None
        self._spawns += 1
        self._observed = Observed(
            wanted=self._observed.wanted,
            running=True,
            heard_us=now,
            token_us=now,
            step_us=now,
            failures=self._observed.failures,
        )
        self._child = Child(started, hear=self._hear, ended=self._reap)
        _log.info("started", name=self.spec.name, pid=self._child.pid)
        self._report("starting", sha256=None, build=None, loaded=None, failed=None)

    def _hear(self, line: StatusLine) -> None:
        now = self._now()
        failure = self._loads.hear(line)
        if line.about_adapter:
            self._adapter(line, failure, now)
        elif line.failed is not None:
            _log.error("a process cannot work", name=self.spec.name, reason=line.failed)
            self._cannot_work = line.failed
            self._change(failed=line.failed if line.broken else None, heard_us=now)
        elif line.beat is not None and line.beat is not False:
            self._heartbeat(line, now)
        else:
            self._change(heard_us=now)
            if line.ready and not self._observed.ready:
                self._ready(line, now)

    def _heartbeat(self, line: StatusLine, now: int) -> None:
        moved, self._step = line.step != self._step, line.step
        self._observed = supervision.after_heartbeat(
            self._observed,
            busy=line.running + line.waiting > 0,
            moved=moved,
            stepped=line.step > 0,
            since_token_us=line.since_token_us,
            unanswered_us=line.unanswered_us,
            now_us=now,
        )
        self._changed.set()
        self._memory_kills.look()

    def _ready(self, line: StatusLine, now: int) -> None:
        self._ready_us = now
        self.was_ready = True
        self._change(ready=True)
        if self._observed.terminated_us is None:
            self._report(
                "ready",
                sha256=line.sha256,
                build=line.build,
                loaded=_evidence(line),
                port=line.port,
            )

    def _adapter(self, line: StatusLine, failure: LoadFailure | None, now: int) -> None:
        """Handle a line about an adapter, which does not change the state of the worker."""
        self._change(heard_us=now)
        if line.adapter_failed:
            _log.error(
                "an adapter cannot be loaded",
                name=self.spec.name,
                adapter=line.adapter_failed,
                reason=line.failed,
            )
        if (loaded := self.fact.loaded) is not None:
            adapters = dict(loaded.adapters)
            if line.adapter_loaded and line.sha256:
                adapters[line.adapter_loaded] = line.sha256
            if line.adapter_unloaded:
                adapters.pop(line.adapter_unloaded, None)
            self._facts.report_loaded(dataclasses.replace(loaded, adapters=adapters))
        if failure is not None:
            self._facts.report_failure(failure)

    def _reap(self, code: int) -> None:
        self._child = None
        fault, memory = endings.is_fault(code), self._memory_kills.look()
        self._ended(
            endings.how(code),
            evidence=endings.evidence(code, self.spec.log, self._log_begin, out_of_memory=memory),
            fault=fault,
            death=code > 0 or fault,
        )

    def _ended(
        self, how: str, *, evidence: str = "", fault: bool = False, death: bool = False
    ) -> None:
        """Note that the process has ended, and report what follows from how it did.

        `fault`: it crashed. `death`: it counts against its deployment if it was serving.
        """
        now, before = self._now(), self._observed
        terminated = before.terminated_us is not None
        loading = self._loads.now is not None
        failures = supervision.failures_after(before, self.spec.plan, self._ready_us, now)
        self._change(
            running=False,
            ready=False,
            terminated_us=None,
            ended_us=now,
            failures=0 if terminated else failures,
        )
        why = self._killed_for.value if self._killed_for and not terminated else how
        failure = None if terminated else self._blamed(why, fault=loading and fault)
        if self._cannot_work is not None:
            final = LoadFailure("", self._cannot_work) if self.given_up else None
            self._report(
                "crashed",
                self._cannot_work,
                failed=self._cannot_work,
                load_failure=final,
                backoff_us=self._backoff_us(),
            )
        elif terminated or not before.wanted:
            forced = self._killed_for is Reason.STUBBORN
            self._report("stopped", Reason.STUBBORN.value if forced else None)
        else:
            _log.warning("a process ended", name=self.spec.name, reason=why, failures=failures)
            if evidence and self._killed_for is None:
                why = f"{why}: {evidence}"
            reason = failure.reason if failure else why
            counted = death and not loading and self._killed_for is None
            self._report(
                "crashed",
                reason,
                load_failure=failure,
                death=self._death(how, now) if counted else None,
                backoff_us=self._backoff_us(),
            )

    def _blamed(self, why: str, *, fault: bool) -> LoadFailure | None:
        """The file to blame for its death, if there is one; faulty weights end all restarts."""
        file_fault = fault and not process_logs.tells_of_memory(self.spec.log)
        failure = self._loads.died(why, fault=file_fault)
        if failure is not None and not failure.adapter:
            self._cannot_work = failure.reason
            self._change(failed=failure.reason)
        return failure

    def _backoff_us(self) -> int | None:
        """How long after its end it is started again; None where it is not."""
        if self.given_up or not self._observed.wanted:
            return None
        return supervision.backoff_us(self._observed.failures, self.spec.plan)

    def _death(self, how: str, now: int) -> Death | None:
        """The death, if the process was serving."""
        if self._ready_us is None:
            return None
        return Death(
            at_us=now,
            lived_us=now - self._ready_us,
            stepped=self._observed.stepped,
            how=how,
            last_lines=process_logs.last_lines(self.spec.log, _EVIDENCE_LINES),
            adapter="" if self.spec.computing is None else computing.read(self.spec.computing),
        )

    def _signal(self, number: signal.Signals) -> None:
        if self._child is not None:
            self._child.signal(number)


def _evidence(line: StatusLine) -> Evidence | None:
    """The files of a ready worker; None for processes that load none."""
    if line.sha256 is None or line.how is None:
        return None
    return Evidence(line.sha256, line.how, line.template or "")
