"""A process is kept running as it is wanted, with real processes at the other end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from engine.node.specs import Fact, LoadFailure, Preparation, Spec
from engine.node.supervised import Prepare, SupervisedProcess
from engine.node.supervision import SECOND_US, Plan
from storage.home import clock

READY = "import json, signal, sys, time\nprint(json.dumps({'ready': True}), flush=True)\n"
TOLD = "import json, signal, sys\ndef tell(**said): print(json.dumps(said), flush=True)\n"
OBEDIENT = READY + "signal.sigwait([signal.SIGTERM])\n"
BLOCKED = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
BEATING = READY + (
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
    "while True:\n"
    "    print(json.dumps({'beat': 1, 'step': 7, 'running': 1, 'waiting': 0,\n"
    "                      'since_token_us': int(sys.argv[1])}), flush=True)\n"
    "    time.sleep(0.02)\n"
)


class Watched:
    """A supervised process with all its facts, and a way to wait for the next."""

    def __init__(
        self,
        folder: Path,
        script: str,
        plan: Plan,
        *words: str,
        prepare: Prepare | None = None,
    ) -> None:
        self.facts: list[Fact] = []
        self._news = asyncio.Event()
        spec = Spec(
            name="ops-1.0.0:1",
            kind="worker",
            command=(sys.executable, "-c", script, *words),
            log=folder / "process.log",
            plan=plan,
            model=1,
            deployment="ops-1.0.0",
        )
        self.process = SupervisedProcess(
            spec, monotonic_us=clock.monotonic_us, tell=self._tell, prepare=prepare
        )

    def _tell(self, fact: Fact) -> None:
        self.facts.append(fact)
        self._news.set()

    async def until(self, holds: Callable[[list[Fact]], bool]) -> None:
        """Return as soon as what was told satisfies `holds`."""
        async with asyncio.timeout(60):
            while not holds(self.facts):
                self._news.clear()
                await self._news.wait()

    @property
    def states(self) -> list[str]:
        """The states in the order in which they were told."""
        return [fact.state for fact in self.facts]


@contextlib.asynccontextmanager
async def running(watched: Watched) -> AsyncIterator[Watched]:
    """The process, which has ended when this does."""
    task = asyncio.create_task(watched.process.run())
    try:
        yield watched
    finally:
        watched.process.stop()
        watched.process.kill()
        async with asyncio.timeout(60):
            await task


async def test_a_process_becomes_ready_and_exits_when_it_is_asked_to(tmp_path: Path) -> None:
    """Starting, ready, draining, stopped: each is reported once."""
    script = BLOCKED + OBEDIENT
    watched = Watched(tmp_path, script, Plan())
    task = asyncio.create_task(watched.process.run())
    await watched.until(lambda facts: facts[-1:] != [] and facts[-1].state == "ready")
    watched.process.stop()
    async with asyncio.timeout(60):
        await task
    assert watched.states == ["starting", "ready", "draining", "stopped"]


async def test_a_killed_process_is_restarted_immediately(tmp_path: Path) -> None:
    """The crash is reported with its signal, and the new process is another one."""
    async with running(Watched(tmp_path, BLOCKED + OBEDIENT, Plan())) as watched:
        await watched.until(lambda facts: facts[-1:] != [] and facts[-1].state == "ready")
        first = watched.process.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await watched.until(lambda facts: facts[-1].state == "ready" and len(facts) > 2)
        assert watched.states == ["starting", "ready", "crashed", "starting", "ready"]
        assert watched.facts[2].reason == "it was killed by SIGKILL"
        assert watched.facts[-1].restarts == 1
        assert watched.process.pid != first


async def test_a_stopped_process_is_replaced(tmp_path: Path) -> None:
    """SIGSTOP: the heartbeats stop, the process is killed and another takes its place."""
    plan = Plan(beats=True, beat_us=SECOND_US // 2)
    async with running(Watched(tmp_path, BEATING, plan, "0")) as watched:
        await watched.until(lambda facts: facts[-1:] != [] and facts[-1].state == "ready")
        first = watched.process.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        await watched.until(lambda facts: facts[-1].state == "ready" and len(facts) > 2)
        assert "its heartbeats stopped" in [fact.reason for fact in watched.facts]


async def test_a_stopped_process_is_reported_silent_until_it_is_heard_again(
    tmp_path: Path,
) -> None:
    """It runs, so it is neither crashed nor restarted; but it is not green either."""
    plan = Plan(beats=True, late_us=SECOND_US // 4)
    async with running(Watched(tmp_path, BEATING, plan, "0")) as watched:
        await watched.until(lambda facts: facts[-1:] != [] and facts[-1].state == "ready")
        pid = watched.process.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        await watched.until(lambda facts: facts[-1].silent_us is not None)
        silent = watched.facts[-1]
        assert (silent.state, silent.reason, silent.pid) == ("ready", "its heartbeats stopped", pid)
        os.kill(pid, signal.SIGCONT)
        await watched.until(lambda facts: facts[-1].silent_us is None)
        assert (watched.facts[-1].reason, watched.process.pid) == (None, pid)


async def test_a_hung_process_is_replaced_although_its_heartbeats_arrive(tmp_path: Path) -> None:
    """Work waits and heartbeats arrive, but no tokens: that is not health."""
    plan = Plan(beats=True, token_us=SECOND_US // 2)
    async with running(Watched(tmp_path, BEATING, plan, "60000000")) as watched:
        await watched.until(lambda facts: "starting" in [fact.state for fact in facts[1:]])
        assert "work is waiting and no token was produced" in [
            fact.reason for fact in watched.facts
        ]


async def test_a_process_that_ignores_sigterm_is_killed_after_the_drain_timeout(
    tmp_path: Path,
) -> None:
    """Leaving is bounded."""
    script = BLOCKED + READY + "signal.sigwait([signal.SIGUSR1])\n"
    watched = Watched(tmp_path, script, Plan(drain_us=SECOND_US // 5))
    task = asyncio.create_task(watched.process.run())
    await watched.until(lambda facts: facts[-1:] != [] and facts[-1].state == "ready")
    watched.process.stop()
    async with asyncio.timeout(60):
        await task
    assert watched.facts[-1].state == "stopped"
    assert watched.facts[-1].reason == "it did not exit within the drain timeout"


async def test_what_cannot_work_is_not_started_again(tmp_path: Path) -> None:
    """A broken file stays broken; its own reason is reported."""
    script = TOLD + "tell(failed='the file is truncated', broken=True); raise SystemExit(3)"
    async with running(Watched(tmp_path, script, Plan())) as watched:
        await watched.until(lambda facts: facts[-1:] != [] and facts[-1].state == "crashed")
        assert watched.states == ["starting", "crashed"]
        assert watched.facts[-1].load_failure == LoadFailure("", "the file is truncated")
        assert watched.process.given_up


async def test_what_was_given_up_is_started_once_more_when_it_may(tmp_path: Path) -> None:
    """The file has been repaired."""
    script = TOLD + (
        "import os\nif not os.path.exists(sys.argv[1]):\n"
        "    tell(failed='torn', broken=True); raise SystemExit(3)\n"
    )
    there = tmp_path / "there"
    async with running(Watched(tmp_path, script + OBEDIENT, Plan(), str(there))) as watched:
        await watched.until(lambda facts: facts[-1:] != [] and facts[-1].load_failure is not None)
        there.touch()
        watched.process.retry()
        await watched.until(lambda facts: facts[-1].state == "ready")
        assert not watched.process.given_up


async def test_what_the_box_lacks_is_tried_again_until_it_is_there(tmp_path: Path) -> None:
    """A mount that comes late, memory that is taken: the reason is given and no file blamed."""
    script = TOLD + (
        "import os\nif not os.path.exists(sys.argv[1]):\n"
        "    tell(failed='there is no model file'); raise SystemExit(4)\n"
    )
    plan, there = Plan(backoff_us=1000), tmp_path / "there"
    async with running(Watched(tmp_path, script + OBEDIENT, plan, str(there))) as watched:
        await watched.until(lambda facts: [fact.state for fact in facts].count("crashed") == 4)
        assert watched.facts[-1].reason == "there is no model file"
        there.touch()
        await watched.until(lambda facts: facts[-1].state == "ready")
        assert {fact.load_failure for fact in watched.facts} == {None}


async def test_an_adapter_that_takes_its_worker_along_is_blamed_and_the_worker_comes_back(
    tmp_path: Path,
) -> None:
    """Three times in a row while it was loaded; the file of the weights is not at fault."""
    script = TOLD + "import os\ntell(ready=True)\ntell(loading_adapter='lora')\nos.abort()\n"
    async with running(Watched(tmp_path, script, Plan(backoff_us=1000))) as watched:
        await watched.until(lambda facts: facts[-1:] != [] and facts[-1].load_failure is not None)
        assert watched.states == ["starting", "ready", "crashed"] * 3
        assert watched.facts[-1].load_failure == LoadFailure(
            "lora", "it was killed by SIGABRT while loading the adapter, 3 times in a row"
        )
        assert [fact.load_failure for fact in watched.facts[:-1]] == [None] * 8
        await watched.until(lambda facts: [fact.state for fact in facts].count("ready") > 3)
        assert not watched.process.given_up


async def test_an_adapter_that_cannot_be_loaded_costs_the_worker_nothing(tmp_path: Path) -> None:
    """One that is broken is blamed at once, one that is away is not."""
    script = TOLD + (
        "tell(ready=True)\n"
        "for name, broken in (('away', False), ('torn', True)):\n"
        "    tell(loading_adapter=name)\n"
        "    tell(adapter_failed=name, failed='it is ' + name, broken=broken)\n"
        "signal.sigwait([signal.SIGTERM])\n"
    )
    async with running(Watched(tmp_path, BLOCKED + script, Plan())) as watched:
        await watched.until(lambda facts: facts[-1:] != [] and facts[-1].load_failure is not None)
        assert watched.states == ["starting", "ready", "ready"]
        assert watched.facts[-1].load_failure == LoadFailure("torn", "it is torn")


async def test_a_worker_that_hangs_while_it_loads_an_adapter_is_replaced(tmp_path: Path) -> None:
    """Heartbeats continue during a load, so that their end means a hung loop."""
    script = (
        READY + "print(json.dumps({'loading_adapter': 'lora'}), flush=True)\ntime.sleep(3600)\n"
    )
    plan = Plan(beats=True, beat_us=SECOND_US // 2)
    async with running(Watched(tmp_path, script, plan)) as watched:
        await watched.until(lambda facts: [fact.state for fact in facts].count("ready") == 2)
        assert "its heartbeats stopped" in [fact.reason for fact in watched.facts]


async def test_a_fault_after_the_weights_are_loaded_is_no_fault_of_their_file(
    tmp_path: Path,
) -> None:
    """The memory for contexts may be taken by another process for a while."""
    script = TOLD + "import os\ntell(loaded=True)\nos.abort()\n"
    async with running(Watched(tmp_path, script, Plan(backoff_us=1000))) as watched:
        await watched.until(lambda facts: [fact.state for fact in facts].count("crashed") == 4)
        assert {fact.load_failure for fact in watched.facts} == {None}


async def test_what_is_unfit_meanwhile_is_not_started_again(tmp_path: Path) -> None:
    """It is looked at before each start, not before the first alone."""
    answers = iter([Preparation(), Preparation(refusal="the file was replaced", permanent=True)])

    async def prepare() -> Preparation:
        return next(answers)

    watched = Watched(tmp_path, BLOCKED + OBEDIENT, Plan(), prepare=prepare)
    async with running(watched):
        await watched.until(lambda facts: facts[-1:] != [] and facts[-1].state == "ready")
        watched.process.kill()
        await watched.until(lambda facts: facts[-1].load_failure is not None)
        assert watched.states == ["starting", "ready", "crashed", "crashed"]
        assert watched.facts[-1].reason == "the file was replaced"
        assert watched.process.pid is None


async def test_what_is_stopped_while_it_is_looked_at_is_never_started(tmp_path: Path) -> None:
    """The look may take as long as a large file is read."""
    asked, answer = asyncio.Event(), asyncio.Event()

    async def prepare() -> Preparation:
        asked.set()
        await answer.wait()
        return Preparation()

    watched = Watched(tmp_path, BLOCKED + OBEDIENT, Plan(), prepare=prepare)
    task = asyncio.create_task(watched.process.run())
    await asked.wait()
    watched.process.stop()
    answer.set()
    async with asyncio.timeout(60):
        await task
    assert watched.states == []


async def test_who_faults_while_loading_again_and_again_is_given_up(tmp_path: Path) -> None:
    """Libllama may abort on a file whose header was fine: three times are enough."""
    plan = Plan(backoff_us=1000)
    async with running(Watched(tmp_path, "import os; os.abort()", plan)) as watched:
        await watched.until(lambda facts: facts[-1:] != [] and facts[-1].load_failure is not None)
        assert watched.states == ["starting", "crashed"] * 3
        assert watched.facts[-1].load_failure == LoadFailure(
            "", "it was killed by SIGABRT while loading, 3 times in a row"
        )


async def test_faults_of_the_probe_are_the_files_unless_memory_was_short(tmp_path: Path) -> None:
    """The weights are loaded and tried; a device without memory aborts as a damaged file does."""
    script = TOLD + (
        "import os\ntell(loaded=True)\ntell(probing=True)\n"
        "print(sys.argv[1], file=sys.stderr, flush=True)\nos.abort()\n"
    )
    plan = Plan(backoff_us=1000)
    async with running(Watched(tmp_path, script, plan, "CUDA error: out of memory")) as watched:
        await watched.until(lambda facts: [fact.state for fact in facts].count("crashed") == 4)
        assert {fact.load_failure for fact in watched.facts} == {None}
    other = tmp_path / "other"
    other.mkdir()
    async with running(Watched(other, script, plan, "unordered_map::at")) as watched:
        await watched.until(lambda facts: facts[-1:] != [] and facts[-1].load_failure is not None)
        assert watched.facts[-1].load_failure == LoadFailure(
            "", "it was killed by SIGABRT while computing a probe, 3 times in a row"
        )
        assert watched.process.given_up


async def test_a_crash_loop_waits_longer_each_time(tmp_path: Path) -> None:
    """The second failure in a row is followed by a wait, and the state says so meanwhile."""
    script = "raise SystemExit('no such file: ops.gguf')"
    async with running(Watched(tmp_path, script, Plan(backoff_us=3600 * SECOND_US))) as watched:
        await watched.until(lambda facts: [fact.state for fact in facts].count("crashed") == 2)
        assert watched.facts[-1].state == "crashed"
        assert watched.facts[-1].reason == "it exited with code 1: no such file: ops.gguf"
        crashed = [fact.backoff_us for fact in watched.facts if fact.state == "crashed"]
        assert crashed == [0, Plan().backoff_cap_us]


async def test_noise_on_standard_output_is_passed_over(tmp_path: Path) -> None:
    """Whatever a library prints, the lines of the part are still heard."""
    noise = (
        "import sys\nsys.stdout.buffer.write(b'\\xff\\x00 not json\\n[1]\\n{}\\n' + b'x'*200000)\n"
    )
    script = BLOCKED + noise + "print()\n" + OBEDIENT
    async with running(Watched(tmp_path, script, Plan())) as watched:
        await watched.until(lambda facts: facts[-1:] != [] and facts[-1].state == "ready")
        assert watched.states == ["starting", "ready"]


async def test_a_program_that_is_not_there_is_a_crash_and_no_exception(tmp_path: Path) -> None:
    """A failure to spawn is reported like any other end."""
    watched = Watched(tmp_path, OBEDIENT, Plan(backoff_us=3600 * SECOND_US))
    object.__setattr__(watched.process.spec, "command", ("/nonexistent/program",))
    async with running(watched):
        await watched.until(lambda facts: len(facts) >= 2)
        assert watched.facts[-1].state == "crashed"
        assert "could not be started" in (watched.facts[-1].reason or "")


async def test_what_is_missing_for_now_is_looked_for_again(tmp_path: Path) -> None:
    """A GPU that is not there yet: the reason is reported, no file is blamed, and it is retried."""
    answers = iter([*[Preparation(refusal="there is no GPU 3")] * 3, Preparation({"NAMED": "3"})])

    async def prepare() -> Preparation:
        return next(answers)

    script = TOLD + "import os\ntell(ready=True, sha256=os.environ['NAMED'])\n"
    plan = Plan(backoff_us=1000)
    async with running(
        Watched(tmp_path, BLOCKED + script + OBEDIENT, plan, prepare=prepare)
    ) as watched:
        await watched.until(lambda facts: facts[-1:] != [] and facts[-1].state == "ready")
        assert watched.states == [*["crashed"] * 3, "starting", "ready"]
        assert watched.facts[0].reason == "there is no GPU 3"
        assert {fact.load_failure for fact in watched.facts} == {None}
        assert watched.facts[-1].sha256 == "3"


async def test_a_death_while_serving_has_its_evidence(tmp_path: Path) -> None:
    """How it ended, how far it had come, and the last lines of its log."""
    script = TOLD + (
        "import os\ntell(ready=True)\ntell(beat=1, step=int(sys.argv[1]), running=1)\n"
        "print('GGML_ASSERT(n_outputs_max) failed', file=sys.stderr, flush=True)\nos.abort()\n"
    )
    for step in (0, 7):
        async with running(Watched(tmp_path, script, Plan(), str(step))) as watched:
            await watched.until(lambda facts: facts[-1:] != [] and facts[-1].state == "crashed")
            death = watched.facts[2].death
        assert death is not None
        assert death.stepped == (step > 0)
        assert death.how == "it was killed by SIGABRT"
        assert death.last_lines[-1] == "GGML_ASSERT(n_outputs_max) failed"


async def test_a_kill_from_outside_is_no_death_of_requests(tmp_path: Path) -> None:
    """SIGKILL says nothing about the model, nor does the end of one that never was ready."""
    async with running(Watched(tmp_path, BLOCKED + OBEDIENT, Plan())) as watched:
        await watched.until(lambda facts: facts[-1:] != [] and facts[-1].state == "ready")
        watched.process.kill()
        await watched.until(lambda facts: any(fact.state == "crashed" for fact in facts))
        assert {fact.death for fact in watched.facts} == {None}
    plan = Plan(backoff_us=3600 * SECOND_US)
    async with running(Watched(tmp_path, "raise SystemExit(1)", plan)) as watched:
        await watched.until(lambda facts: facts[-1:] != [] and facts[-1].state == "crashed")
        assert {fact.death for fact in watched.facts} == {None}
