"""What the scheduler hands out: the plan of one step, and refusals with their reasons.

Frozen data; standard library alone. Imported by the scheduler and the worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from engine.serving.sequences import Sequence
from engine.serving.slots import Carry


class Row(NamedTuple):
    """Feed `tokens` known tokens of a sequence from `start`; `draws` asks for a new one after."""

    sequence: Sequence
    start: int
    tokens: int
    draws: bool


class Refusal(NamedTuple):
    """Why a sequence does not go on; `code` as in wire.Refused."""

    sequence: Sequence
    code: str
    message: str
    retry_after_us: int


@dataclass(frozen=True, slots=True)
class Plan:
    """One step: first the `carries`, then the rows, by slot; no rows, no step.

    `decode` rows feed the token drawn last; `prefill` counts the other tokens. `upper` says whether
    any class above background had work anywhere when this was planned.
    """

    adapter: str
    carries: tuple[Carry, ...]
    rows: tuple[Row, ...]
    decode: int
    prefill: int
    upper: bool
    refusals: tuple[Refusal, ...]
