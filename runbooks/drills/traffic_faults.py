"""Faults of traffic: too much of it, a release that answers slowly or nonsense, a cost spike.

Each is asked for by the drill's own clients of the drill's own service. Imported by
`runbooks.drills.faults`.
"""

from __future__ import annotations

import asyncio
from typing import Final

from runbooks.drills.drill import FEWEST, Fault, Scene
from runbooks.drills.load import MOST, Ask
from storage import measures
from storage.alert_rules import Rule, Severity

_QUIET: Final = Ask(pause_s=0.5)
_LONG: Final = Ask(words=300, max_tokens=300, temperature=2.0)
_TERSE: Final = Ask(max_tokens=2, pause_s=0.5)
_HEIGHT_S: Final = 8
_SLOW_MS: Final = 2000
_LIKED: Final = 0.7


class LongPromptFlood(Fault):
    """Many long requests at once; high-latency shortens them, then refuses what would wait."""

    runbook = "high-latency"
    rules = ("queue-length", "queue-wait", "latency-p95-critical", "latency-p95")
    detect_s = 420.0
    recover_s = 420.0

    async def prepare(self, scene: Scene) -> None:
        """How fast it is with one quiet client, on a worker with one slot."""
        one = {"name": "max_running", "value": 1}
        await scene.site.must("knobs.set", await scene.site.deployment(), one)
        scene.load.ask(_QUIET, 1)
        scene.noted["before_ms"] = await scene.measured()

    async def inject(self, scene: Scene) -> None:
        """As many clients as a drill may have ask for the longest answers."""
        scene.load.ask(_LONG, MOST)

    def limit_ms(self, scene: Scene) -> float:
        """Four times what it took before, at least 200 ms."""
        before = scene.noted["before_ms"]
        return max(4 * before, 200.0) if isinstance(before, int | float) else 200.0

    async def measured(self, scene: Scene) -> str | None:
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
        """The p95 latency is under half of what it was, or where automation acted under 2 s.

        As many clients ask as before.
        """
        now, target = await scene.p95_ms(), scene.noted.get("target_ms", _SLOW_MS)
        return now is not None and isinstance(target, int | float) and now <= target


class SlowCandidate(Fault):
    """A release that answers after ten seconds gets the traffic; roll-back takes it back."""

    runbook = "roll-back"
    rules: tuple[str, ...] = ("latency-p95-critical", "latency-p95")
    detect_s = 480.0
    delay: str = "10"
    text: str = "ok"

    async def prepare(self, scene: Scene) -> None:
        """Two quiet clients, and a candidate without traffic."""
        scene.load.ask(_QUIET, 2)
        scene.noted["before_ms"] = await scene.measured()
        scene.noted["candidate"] = await scene.site.misbehaving(delay=self.delay, text=self.text)

    async def inject(self, scene: Scene) -> None:
        """It gets all of the traffic, of more clients: each of them waits ten seconds an answer."""
        await scene.site.split(str(scene.noted["candidate"]))
        scene.load.ask(_QUIET, MOST // 2)

    async def measured(self, scene: Scene) -> str | None:
        """The p95 latency is over two seconds."""
        now = await scene.p95_ms()
        return None if now is None or now <= _SLOW_MS else f"p95 {now:.0f} ms, over {_SLOW_MS} ms"

    async def recovered(self, scene: Scene) -> bool:
        """It is under two seconds again."""
        now = await scene.p95_ms(4)
        return now is not None and now <= _SLOW_MS


class BadAnswers(SlowCandidate):
    """A release that answers nonsense at once; users dislike it, and roll-back takes it back.

    The shipped rule waits for a quarter of an hour, because single thumbs say little.
    """

    rules = ("satisfaction",)
    detect_s = 1_500.0
    delay = "0.1"
    text = "lorem ipsum"
    rate = staticmethod(lambda said: "lorem" not in said)

    async def inject(self, scene: Scene) -> None:
        """It gets all of the traffic, of two slow clients, because the drill takes 15 minutes."""
        await scene.site.split(str(scene.noted["candidate"]))
        scene.load.ask(Ask(pause_s=1.5), 2)

    async def measured(self, scene: Scene) -> str | None:
        """Fewer than 70 % of the thumbs of the last seconds are up."""
        liked = await self._liked(scene)
        if liked is None or liked >= _LIKED:
            return None
        return f"{liked:.0%} of the thumbs are up, under {_LIKED:.0%}"

    async def recovered(self, scene: Scene) -> bool:
        """Users like the answers again."""
        liked = await self._liked(scene)
        return liked is not None and liked >= _LIKED

    async def _liked(self, scene: Scene) -> float | None:
        traffic = await scene.traffic(8)
        return measures.satisfaction(traffic) if measures.ratings(traffic) >= FEWEST else None


class CostSpike(Fault):
    """Answers get many times longer; cost-overrun caps them.

    The shipped rules are about the bill of the day of the whole box, which no drill may raise, so
    one about the length of the drill's own answers is in force while it runs.
    """

    runbook = "cost-overrun"
    detect_s = 240.0

    async def prepare(self, scene: Scene) -> None:
        """What an answer takes with short ones."""
        scene.load.ask(_TERSE, 2)
        await scene.measured()
        scene.noted["before"] = await self.tokens(scene)

    async def rule(self, scene: Scene) -> Rule | None:
        """A mean answer of the last minute has more than three times the tokens."""
        name, before = scene.site.name, scene.noted["before"]
        most = 3 * before if isinstance(before, float) else 3.0
        tokens = f'paddock_tokens_total{{service="{name}",kind="completion"}}[1m]'
        answers = f'paddock_requests_total{{service="{name}",outcome="ok"}}[1m]'
        return Rule(
            name=name,
            expression=f"sum by (service) (rate({tokens})) / sum by (service) (rate({answers})) "
            f"> {most:.2f}",
            severity=Severity.INFO,
            summary="An answer of {{ $labels.service }} has {{ $value | humanize }} tokens.",
            runbook=self.runbook,
        )

    async def tokens(self, scene: Scene, seconds: int = 8) -> float | None:
        """Tokens of a mean answer of the last seconds."""
        tally = (await scene.traffic(seconds)).tally
        return tally.completion_tokens / tally.ok if tally.ok >= FEWEST else None

    async def inject(self, scene: Scene) -> None:
        """More clients ask for long answers."""
        scene.load.ask(Ask(max_tokens=200, temperature=2.0), 4)

    async def measured(self, scene: Scene) -> str | None:
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
