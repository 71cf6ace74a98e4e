"""`python -m tests.bench.shadow_cost`: what copies for a shadow cost the users.

A real node whose service mirrors a share of its units. In windows that take turns, in random order
within a pair, the same load is sent, either with that share of it by units that are copied or with
none; the next window begins once all copies have come to an end. Nothing else differs, so that
changes of the machine affect both alike. The candidate shares stable's worker, or has one of its
own (`--apart`), which competes for the same cores.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from engine.traffic import mirroring
from storage import keys, rollouts, shadow_figures
from storage.keys import Role
from storage.shadow_figures import Figures
from storage.splits import WHOLE_BP
from tests.engine.node.nodes import BOUND_S, RealNode, opened
from tests.home_fixtures import WEIGHTS

SHARE_BP: Final = 1_000
USERS: Final = 2
PAUSE_S: Final = 0.05
TOKENS: Final = 24
RESAMPLES: Final = 2_000
_ENDS: Final = re.compile(
    r'^paddock_shadow_copies_total\{[^}]*end="(\w+)"[^}]*\} (\S+)$', re.MULTILINE
)
_QUESTIONS: Final = (
    "Where is order 17?", "Which orders are late today?", "Order 214 travels with",
    "Why was ticket 9 reopened?",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cost:
    """p95 with copies / p95 without, its 95 % interval, and what was measured."""

    ratio: float
    interval: tuple[float, float]
    median_ratio: float
    answers: int
    failed: int
    ends: dict[str, int]
    figures: Figures | None

    @property
    def sentence(self) -> str:
        """The result in a line."""
        low, high = self.interval
        ends = ", ".join(f"{count} {end}" for end, count in sorted(self.ends.items()))
        return (
            f"p95 with copies / without: {self.ratio:.3f} ({low:.3f}-{high:.3f}), "
            f"median {self.median_ratio:.3f}; {self.answers} answers, {self.failed} failed; "
            f"copies: {ends}"
        )


@dataclass(slots=True)
class Pair:
    """The latencies of two neighbouring windows, in seconds."""

    copied: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)


async def measure(root: Path, *, pairs: int, seconds: float, apart: bool, seed: int = 1) -> Cost:
    """Measure on a node in a home of its own, from its start to its end."""
    node = RealNode(root / "home", PADDOCK_BEAT_S="20")
    node.start()
    try:
        secret = await _furnish(node, apart=apart)
        return await _measure(node, secret, pairs, seconds, random.Random(seed))
    finally:
        node.end()


async def _furnish(node: RealNode, *, apart: bool) -> str:
    """A service with a shadow under way; the secret of a key that may also read the metrics."""
    await node.must("models.add", "ops", {"model": "ops", "version": "1.0.0", "path": str(WEIGHTS)})
    await node.must("releases.create", "", {"model": "ops"})
    other = {"engine": {"context_tokens": 512}} if apart else {"sampling": {"top_k": 7}}
    await node.must("releases.create", "", {"model": "ops", **other})
    await node.must("services.create", "support", {"release": "r1"})
    minted = keys.mint()
    key = {"name": "b", "prefix": minted.prefix, "sha256": minted.sha256, "tenant": "b"}
    await node.must("keys.add", "b", {**key, "role": Role.OPERATOR.value})
    mirror = {"type": "mirror", "share_bp": SHARE_BP, "at_least": 1_000_000}
    steps = [mirror, {"type": "set_weight", "weight_bp": 10_000}, {"type": "pause"}]
    guards = [{"measure": "error_rate", "allowed_bp": 5_000}]
    started = {"release": "r2", "strategy": "shadow", "steps": steps, "guards": guards}
    await node.must("rollouts.start", "support", started)
    async with asyncio.timeout(BOUND_S), opened(node.home) as store:
        while True:
            async with store.read() as s:
                found = await rollouts.latest(s, "support")
            if found is not None and found.mirror is not None:
                return minted.secret
            await store.wait_changed(0.25)


async def _measure(
    node: RealNode, secret: str, pairs: int, seconds: float, chance: random.Random
) -> Cost:
    salt = mirroring.salt(1)
    units = [f"user-{number}" for number in range(400)]
    chosen = {
        copied: [u for u in units if mirroring.copied(salt, u, SHARE_BP) is copied]
        for copied in (True, False)
    }
    base = f"http://127.0.0.1:{node.environment['PADDOCK_GATEWAY__PORT']}"
    headers = {"authorization": f"Bearer {secret}"}
    measured, failed, offered = [Pair() for _ in range(pairs)], 0, 0
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=BOUND_S) as http:
        await _window(http, chosen, 0.0, 2.0, chance)  # warm
        for pair in measured:
            for copied in chance.sample((True, False), 2):
                share = SHARE_BP / WHOLE_BP if copied else 0.0
                took, copies, errors = await _window(http, chosen, share, seconds, chance)
                (pair.copied if copied else pair.alone).extend(took)
                failed += errors
                offered += copies
                ends = await _drained(http, offered)
    async with opened(node.home) as store, store.read() as s:
        figures = await shadow_figures.of(s, await rollouts.find(s, 1))
    return _cost(measured, failed, ends, figures, chance)


async def _window(
    http: httpx.AsyncClient,
    units: Mapping[bool, Sequence[str]],
    share: float,
    seconds: float,
    chance: random.Random,
) -> tuple[list[float], int, int]:
    """The latencies of one window, how many of its answers were copied, how many failed."""
    took: list[float] = []
    copies = failed = 0
    until = time.monotonic() + seconds

    async def user() -> None:
        nonlocal copies, failed
        while time.monotonic() < until:
            copied = chance.random() < share
            turn = {"role": "user", "content": chance.choice(_QUESTIONS)}
            body = {
                "model": "support", "messages": [turn], "max_tokens": TOKENS,
                "user": chance.choice(units[copied]),
            }  # fmt: skip
            began = time.monotonic()
            answer = await http.post("/v1/chat/completions", json=body)
            if answer.status_code == httpx.codes.OK:
                took.append(time.monotonic() - began)
                copies += copied
            else:
                failed += 1
            await asyncio.sleep(chance.expovariate(1 / PAUSE_S))

    await asyncio.gather(*(user() for _ in range(USERS)))
    return took, copies, failed


async def _drained(http: httpx.AsyncClient, offered: int) -> dict[str, int]:
    """How the copies ended, once all have."""
    async with asyncio.timeout(10 * BOUND_S):
        while True:
            text = (await http.get("/metrics")).text
            ends = {end: int(float(count)) for end, count in _ENDS.findall(text)}
            if sum(ends.values()) >= offered:
                return ends
            await asyncio.sleep(0.2)


def _cost(
    pairs: Sequence[Pair],
    failed: int,
    ends: dict[str, int],
    figures: Figures | None,
    chance: random.Random,
) -> Cost:
    """The ratio of the pooled p95; its interval by resampling whole pairs of windows."""
    ratios = sorted(_ratio([chance.choice(pairs) for _ in pairs], 0.95) for _ in range(RESAMPLES))
    edge = RESAMPLES * 25 // 1000
    return Cost(
        ratio=_ratio(pairs, 0.95),
        interval=(ratios[edge], ratios[-edge - 1]),
        median_ratio=_ratio(pairs, 0.5),
        answers=sum(len(each.copied) + len(each.alone) for each in pairs),
        failed=failed,
        ends=ends,
        figures=figures,
    )


def _ratio(pairs: Sequence[Pair], q: float) -> float:
    copied = [took for each in pairs for took in each.copied]
    alone = [took for each in pairs for took in each.alone]
    return _quantile(copied, q) / _quantile(alone, q)


def _quantile(values: Sequence[float], q: float) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[round(q * 100) - 1]


def main() -> None:
    """Print the cost."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.shadow_cost", description=__doc__)
    parser.add_argument("--pairs", type=int, default=40, help="Pairs of windows.")
    parser.add_argument("--seconds", type=float, default=2.5, help="Of a window.")
    parser.add_argument("--apart", action="store_true", help="The candidate has its own worker.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        cost = asyncio.run(
            measure(Path(root), pairs=given.pairs, seconds=given.seconds, apart=given.apart)
        )
    print(cost.sentence)
    print(cost.figures)


if __name__ == "__main__":
    main()
