"""The faults that drills inject, by name.

Each harms only what its drill made: its own service, worker, files and load. Imported by
`runbooks.drills.perform`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from typing import Final

import msgspec

from runbooks.drills import site
from runbooks.drills.drill import Fault, Scene
from runbooks.drills.load import Ask
from storage import measures
from storage.intents import State
from storage.processes import Process

_QUIET: Final = Ask(words=8, max_tokens=8)
_LONG: Final = Ask(words=300, max_tokens=300, temperature=2.0)
_TERSE: Final = Ask(words=8, max_tokens=2)
_HEIGHT_S: Final = 8
_FEWEST: Final = 3  # answers or ratings that a figure needs


class LongPromptFlood(Fault):
    """Many long requests at once; high-latency shortens them, then refuses what would wait."""

    runbook = "high-latency"
    recover_s = 420.0

    async def prepare(self, scene: Scene) -> None:
        """How fast it is with one quiet client, on a worker with one slot."""
        one = {"name": "max_running", "value": 1}
        await scene.site.must("knobs.set", await scene.site.deployment(), one)
        scene.load.ask(_QUIET, 1)
        scene.noted["before_ms"] = await _measured(scene)

    async def inject(self, scene: Scene) -> None:
        """Eight clients ask for the longest answers."""
        scene.load.ask(_LONG, 8)

    def limit_ms(self, scene: Scene) -> float:
        """Four times what it took before, at least 200 ms."""
        before = scene.noted["before_ms"]
        return max(4 * before, 200.0) if isinstance(before, int | float) else 200.0

    async def detected(self, scene: Scene) -> str | None:
        """The p95 latency is over the limit."""
        now, limit = await scene.p95_ms(), self.limit_ms(scene)
        return None if now is None or now <= limit else f"p95 {now:.0f} ms, over {limit:.0f} ms"

    async def inputs(self, scene: Scene) -> dict[str, str]:
        """Halve what was found, by answers of eight tokens and a queue of one."""
        until = asyncio.get_running_loop().time() + _HEIGHT_S
        while asyncio.get_running_loop().time() < until:  # the queue grows until all clients wait
            await scene.site.box.news(1.0)
        now = await scene.p95_ms() or self.limit_ms(scene)
        scene.noted["target_ms"] = now / 2
        given = {"limit_ms": f"{now / 2:.0f}", "max_tokens": "8", "queue": "1", "room": "1"}
        return {"service": scene.site.name, **given}

    async def recovered(self, scene: Scene) -> bool:
        """The p95 latency is under half of what it was under the flood, which continues."""
        now, target = await scene.p95_ms(), scene.noted.get("target_ms")
        return now is not None and isinstance(target, float) and now <= target


class SlowCandidate(Fault):
    """A release that answers after three seconds gets the traffic; roll-back takes it back."""

    runbook = "roll-back"
    delay: str = "3"
    text: str = "ok"

    async def prepare(self, scene: Scene) -> None:
        """Two quiet clients, and a candidate without traffic."""
        scene.load.ask(_QUIET, 2)
        scene.noted["before_ms"] = await _measured(scene)
        scene.noted["candidate"] = await scene.site.misbehaving(delay=self.delay, text=self.text)

    async def inject(self, scene: Scene) -> None:
        """All of the traffic goes to it."""
        await scene.site.split(str(scene.noted["candidate"]))

    async def detected(self, scene: Scene) -> str | None:
        """The p95 latency is over two seconds."""
        now = await scene.p95_ms()
        return None if now is None or now <= 2000 else f"p95 {now:.0f} ms, over 2000 ms"  # noqa: PLR2004

    async def recovered(self, scene: Scene) -> bool:
        """It is under two seconds again."""
        now = await scene.p95_ms(4)
        return now is not None and now <= 2000  # noqa: PLR2004


class BadAnswers(SlowCandidate):
    """A release that answers nonsense at once; users dislike it, and roll-back takes it back."""

    delay = "0.1"
    text = "lorem ipsum"
    rate = staticmethod(lambda said: "lorem" not in said)

    async def detected(self, scene: Scene) -> str | None:
        """Fewer than 70 % of the thumbs of the last seconds are up."""
        traffic = await scene.traffic(8)
        liked = measures.satisfaction(traffic)
        if liked is None or measures.ratings(traffic) < _FEWEST or liked >= 0.7:  # noqa: PLR2004
            return None
        return f"{liked:.0%} of the thumbs are up, under 70 %"

    async def recovered(self, scene: Scene) -> bool:
        """Users like the answers again."""
        traffic = await scene.traffic(4)
        liked = measures.satisfaction(traffic)
        return liked is not None and measures.ratings(traffic) >= _FEWEST and liked >= 0.7  # noqa: PLR2004


class CostSpike(Fault):
    """Answers get many times longer; cost-overrun caps them."""

    runbook = "cost-overrun"

    async def prepare(self, scene: Scene) -> None:
        """What an answer takes with short ones."""
        scene.load.ask(_TERSE, 2)
        await _measured(scene)
        scene.noted["before"] = await self.tokens(scene)

    async def tokens(self, scene: Scene, seconds: int = 8) -> float | None:
        """Tokens of a mean answer of the last seconds."""
        tally = (await scene.traffic(seconds)).tally
        return tally.completion_tokens / tally.ok if tally.ok >= _FEWEST else None

    async def inject(self, scene: Scene) -> None:
        """The same clients ask for long answers."""
        scene.load.ask(Ask(words=8, max_tokens=200, temperature=2.0), 4)

    async def detected(self, scene: Scene) -> str | None:
        """A mean answer has more than three times the tokens."""
        now, before = await self.tokens(scene), scene.noted["before"]
        if now is None or not isinstance(before, float) or now <= 3 * before:
            return None
        return f"{now:.0f} tokens an answer, {before:.0f} before"

    async def inputs(self, scene: Scene) -> dict[str, str]:
        """At most twice what an answer had."""
        before = scene.noted["before"]
        most = int(2 * before) if isinstance(before, float) else 16
        return {"service": scene.site.name, "max_tokens": str(most)}

    async def recovered(self, scene: Scene) -> bool:
        """Answers have at most twice the tokens that they had."""
        now, before = await self.tokens(scene, 4), scene.noted["before"]
        return now is not None and isinstance(before, float) and now <= 2 * before


class WorkerKilled(Fault):
    """SIGKILL for the drill's worker; the node starts it again."""

    signal = signal.SIGKILL

    async def prepare(self, scene: Scene) -> None:
        """A quiet client, and the worker that answers it."""
        scene.load.ask(_QUIET, 1)
        worker = await _ready(scene)
        scene.noted |= {"pid": worker.pid, "restarts": worker.restarts}

    async def inject(self, scene: Scene) -> None:
        """The signal, if the process is still the drill's worker."""
        worker = await scene.worker_ready()
        if worker is None or worker.pid != scene.noted["pid"] or worker.pid is None:
            raise site.Broken("the drill's worker was restarted before the fault")
        os.kill(worker.pid, self.signal)

    async def detected(self, scene: Scene) -> str | None:
        """The node says that it died."""
        worker = await scene.site.worker()
        if worker is None or (await self.acted(scene)) is not None:
            return "the node started it again"
        return None if worker.state.value == "ready" else f"{worker.name} is {worker.state.value}"

    async def acted(self, scene: Scene) -> str | None:
        """The node started it again."""
        worker = await scene.site.worker()
        before = scene.noted["restarts"]
        again = worker is not None and isinstance(before, int) and worker.restarts > before
        return "the node restarted the worker" if again else None

    async def recovered(self, scene: Scene) -> bool:
        """It is ready, and a request is answered."""
        return await scene.worker_ready() is not None and await scene.answers()


class WorkerStopped(WorkerKilled):
    """SIGSTOP for the drill's worker; the node sees that it is silent, kills and restarts it."""

    signal = signal.SIGSTOP

    async def detected(self, scene: Scene) -> str | None:
        """The node says that it gives no sign of life."""
        worker = await scene.site.worker()
        if worker is not None and worker.silent_since_us is not None:
            return f"{worker.name} is silent: {worker.reason}"
        return await super().detected(scene)

    async def end(self, scene: Scene) -> None:
        """Let it continue, if it is still there."""
        worker = await scene.site.worker()
        if worker is not None and worker.pid is not None and worker.pid == scene.noted.get("pid"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGCONT)


class CorruptModel(Fault):
    """A model file that was cut off; it is refused, and the service keeps answering."""

    async def prepare(self, scene: Scene) -> None:
        """A quiet client, and the file."""
        scene.load.ask(_QUIET, 1)
        await _measured(scene)
        path = scene.scratch / "cut-off.gguf"
        await asyncio.to_thread(shutil.copyfile, site.shipped(), path)
        os.truncate(path, path.stat().st_size // 2)
        scene.noted["path"] = str(path)

    async def inject(self, scene: Scene) -> None:
        """Add it as a model."""
        added = {"model": "drill-cut-off", "version": "1.0.0", "path": scene.noted["path"]}
        ended = await scene.site.ask("models.add", "drill-cut-off", added)
        scene.noted["refused"] = ended.outcome if ended.state is not State.APPLIED else None

    async def detected(self, scene: Scene) -> str | None:
        """It was refused, with the reason."""
        said = scene.noted["refused"]
        return None if said is None else str(said)

    async def acted(self, scene: Scene) -> str | None:
        """Refusing it was all that was needed."""
        return "the file was refused" if scene.noted["refused"] is not None else None

    async def recovered(self, scene: Scene) -> bool:
        """The service answers as before."""
        return await scene.answers()


class DiskFull(Fault):
    """A store of its own whose files may not grow; room comes back, and nothing was lost."""

    needs_service = False

    async def inject(self, scene: Scene) -> None:
        """A process with a limit; what it says is read as it comes."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "runbooks.drills.disk", str(scene.scratch / "store"),
            str(os.getpid()),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            said, _ = await process.communicate()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        for line in said.splitlines():
            found = msgspec.json.decode(line)
            scene.noted[found["what"]] = found["why"] or str(found["rows"])
            scene.noted[f"{found['what']}_at_us"] = found["at_us"]

    async def detected(self, scene: Scene) -> str | None:
        """The store refused a write, with the reason."""
        said = scene.noted.get("full")
        return None if said is None else str(said)

    async def acted(self, scene: Scene) -> str | None:
        """There was room again."""
        return "there was room again" if "room" in scene.noted else None

    async def recovered(self, scene: Scene) -> bool:
        """It writes again, and every row that was acknowledged is there."""
        return "kept" in scene.noted


FAULTS: Final[Mapping[str, type[Fault]]] = {
    "long-prompt-flood": LongPromptFlood,
    "slow-candidate": SlowCandidate,
    "worker-killed": WorkerKilled,
    "worker-stopped": WorkerStopped,
    "corrupt-model": CorruptModel,
    "disk-full": DiskFull,
    "cost-spike": CostSpike,
    "bad-answers": BadAnswers,
}


async def _ready(scene: Scene) -> Process:
    """The drill's worker as soon as it is ready and a request was answered."""
    async with asyncio.timeout(120):
        while True:
            worker = await scene.worker_ready()
            if worker is not None and scene.load.answered:
                return worker
            await scene.site.box.news(1.0)


async def _measured(scene: Scene) -> float | None:
    """The p95 latency in ms, once a few requests were answered and recorded."""
    async with asyncio.timeout(120):
        while True:
            if (await scene.traffic(8)).tally.ok >= _FEWEST:
                return await scene.p95_ms()
            await scene.site.box.news(1.0)
