"""One attack on a box beside another client, and the row of the table that it gives."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from tests.acceptance.attacks.attack import Attack, Target
from tests.acceptance.attacks.victim import Victim

BEFORE_S: Final = 6.0
SECONDS: Final = 12.0
RECOVERED: Final = 2.0
"""An answer counts as recovered within this many times the p95 before the attack."""


@dataclass(frozen=True, slots=True)
class Row:
    """What an attack cost the other client; latencies are p95 in milliseconds."""

    name: str
    before_ms: float
    during_ms: float
    answered: int
    cut: tuple[str, ...]
    refused: tuple[str, ...]
    recovered_s: float
    saw: str

    @property
    def factor(self) -> float:
        """How much the p95 grew."""
        return self.during_ms / self.before_ms


async def run(attack: Attack, target: Target, victim: Victim, seconds: float = SECONDS) -> Row:
    """Measure before, attack, measure after."""
    victim.span()
    await asyncio.sleep(BEFORE_S)
    before = victim.span()
    attacker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.acceptance.attacks.attacker",
        attack.name, msgspec.json.encode(target).decode(), str(seconds),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, _ = await asyncio.wait_for(attacker.communicate(), seconds + 60)
    during = victim.span()
    try:
        recovered = await victim.until_answered(RECOVERED * before.p95_ms)
    except TimeoutError:
        recovered = math.inf
    after = victim.span()
    return Row(
        name=attack.name,
        before_ms=before.p95_ms,
        during_ms=during.p95_ms,
        answered=len(during.latencies_us),
        cut=(*during.cut, *after.cut),
        refused=(*during.refused, *after.refused),
        recovered_s=recovered,
        saw=said.decode().strip(),
    )


HEAD: Final = (
    f"{'attack':<38} {'p95 before':>10} {'during':>8} {'×':>5} {'answers':>7} {'cut':>4} "
    f"{'refused':>7} {'recovered':>9}  the attacker saw"
)


def line(row: Row) -> str:
    """A row of the table as text."""
    return (
        f"{row.name:<38} {row.before_ms:>7.0f} ms {row.during_ms:>5.0f} ms {row.factor:>5.2f} "
        f"{row.answered:>7} {len(row.cut):>4} {len(row.refused):>7} {row.recovered_s:>7.1f} s  "
        f"{row.saw}"
    )


def table(rows: Iterable[Row]) -> str:
    """All rows, with their head."""
    return "\n".join([HEAD, *map(line, rows)])
