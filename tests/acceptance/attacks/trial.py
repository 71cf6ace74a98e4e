"""Attacks on a box beside another client, and the row of the table that each gives.

The client is measured before, during and after each attack; the span after one attack is the span
before the next. Its p95 under attack is compared with that of both quiet spans together, of at
least `ANSWERS` answers.
"""

from __future__ import annotations

import asyncio
import math
import sys
from dataclasses import dataclass
from typing import Final

import msgspec

from tests.acceptance.attacks.attack import Attack, Target
from tests.acceptance.attacks.victim import Seen, Victim

QUIET_S: Final = 4.0
SECONDS: Final = 7.0
PATIENCE: Final = 3.0
"""How many times longer a span may last until it has its answers."""
ANSWERS: Final = 150
RECOVERED: Final = 2.0
"""An answer counts as recovered within this many times the p95 before the attack."""


@dataclass(frozen=True, slots=True)
class Row:
    """What an attack cost the other client; latencies are p95 in milliseconds."""

    name: str
    quiet_ms: float
    during_ms: float
    quiet_answers: int
    answers: int
    cut: tuple[str, ...]
    refused: tuple[str, ...]
    recovered_s: float
    saw: str

    @property
    def factor(self) -> float:
        """How much the p95 grew."""
        return self.during_ms / self.quiet_ms


class Trials:
    """A box, the client that is measured, and what it measured last while nothing attacked."""

    def __init__(self, target: Target, victim: Victim) -> None:
        self._target = target
        self._victim = victim
        self._quiet: Seen | None = None

    async def run(self, attack: Attack, seconds: float = SECONDS) -> Row:
        """Measure before, attack, measure after."""
        before = self._quiet or await self._span(QUIET_S)
        attacker = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.acceptance.attacks.attacker",
            attack.name, msgspec.json.encode(self._target).decode(),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert attacker.stdout is not None
        await asyncio.wait_for(attacker.stdout.readline(), 60)
        during = await self._span(seconds)
        said, _ = await asyncio.wait_for(attacker.communicate(b""), 60)
        try:
            recovered = await self._victim.until_answered(RECOVERED * before.p95_ms)
        except TimeoutError:
            recovered = math.inf
        after = self._victim.span()
        self._quiet = await self._span(QUIET_S)
        quiet = Seen(before.latencies_us + self._quiet.latencies_us)
        return Row(
            name=attack.name,
            quiet_ms=quiet.p95_ms,
            during_ms=during.p95_ms,
            quiet_answers=len(quiet.latencies_us),
            answers=len(during.latencies_us),
            cut=(*during.cut, *after.cut, *self._quiet.cut),
            refused=(*during.refused, *after.refused, *self._quiet.refused),
            recovered_s=recovered,
            saw=said.decode().strip(),
        )

    async def _span(self, seconds: float) -> Seen:
        """So long, and longer while the client has had too few answers."""
        self._victim.span()
        await asyncio.sleep(seconds)
        return await self._victim.span_of(ANSWERS, (PATIENCE - 1) * seconds)


HEAD: Final = (
    f"{'attack':<44} {'p95 quiet':>9} {'during':>8} {'×':>6} {'answers':>9} {'cut':>4} "
    f"{'refused':>7} {'recovered':>9}  the attacker saw"
)


def line(row: Row) -> str:
    """A row of the table as text; the answers are those of quiet time and those under attack."""
    answers = f"{row.quiet_answers}/{row.answers}"
    return (
        f"{row.name:<44} {row.quiet_ms:>6.0f} ms {row.during_ms:>5.0f} ms {row.factor:>6.2f} "
        f"{answers:>9} {len(row.cut):>4} {len(row.refused):>7} {row.recovered_s:>7.1f} s  "
        f"{row.saw}"
    )
