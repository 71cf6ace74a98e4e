"""What steps cost, measured while they run, and how their time is apportioned.

Fits step time = fixed + decode x rows + prefill x tokens with exponential forgetting, and splits
each step's time among its sequences so that the parts add up to the whole. Decides nothing. Imports
the standard library only. Imported by the scheduler.
"""

from __future__ import annotations

import math
from collections.abc import Sequence as Many
from typing import Final

_KEEP: Final = 0.98
_ENOUGH: Final = 8
_RIDERS: Final = 8
_MANY: Final = 1 << 30


class Cost:
    """Microseconds of a step: `fixed`, `decode` per decoded row, `prefill` per prompt token."""

    def __init__(self) -> None:
        """Unknown; all figures are zero until enough steps were observed."""
        self.fixed = self.decode = self.prefill = 0.0
        self.observed = 0
        self._sums = [0.0] * 9  # n, d, p, dd, dp, pp, t, dt, pt

    @property
    def known(self) -> bool:
        """Whether enough steps were observed to judge by."""
        return self.observed >= _ENOUGH

    def observe(self, rows: int, tokens: int, took_us: int) -> None:
        """A step of `rows` decoded rows and `tokens` prompt tokens took that long."""
        n, d, p, dd, dp, pp, t, dt, pt = self._sums
        self._sums = [
            n * _KEEP + 1,
            d * _KEEP + rows,
            p * _KEEP + tokens,
            dd * _KEEP + rows * rows,
            dp * _KEEP + rows * tokens,
            pp * _KEEP + tokens * tokens,
            t * _KEEP + took_us,
            dt * _KEEP + rows * took_us,
            pt * _KEEP + tokens * took_us,
        ]
        self.observed += 1
        if self.observed <= _ENOUGH or self.observed % 16 == 0:
            self._fit()

    def step_us(self, rows: int, tokens: int) -> float:
        """The expected time of a step of this shape."""
        return self.fixed + self.decode * rows + self.prefill * tokens

    def within(self, steps: int, rows: int) -> int:
        """How many prompt tokens beside so many rows make a step as long as `steps` of one row."""
        return self.tokens(steps * self.step_us(1, 0) - self.step_us(rows, 0))

    def tokens(self, time_us: float) -> int:
        """How many prompt tokens lengthen a step by so much."""
        return max(0, int(time_us / self.prefill)) if self.known else _MANY

    def riders(self, rows: int, tokens: int) -> float:
        """The microseconds by which the rows of others may lengthen a step: an eighth."""
        return self.step_us(rows, tokens) / _RIDERS if self.known else math.inf

    def _fit(self) -> None:
        """Weighted least squares; a small ridge keeps it solvable and the figures positive.

        What steps of one shape do not tell stays as it was when there were others.
        """
        n, d, p, dd, dp, pp, t, dt, pt = self._sums
        share = t / max(n + d + p, 1e-9)
        ridge = 1e-3
        fixed, decode, prefill = (
            value or share for value in (self.fixed, self.decode, self.prefill)
        )
        rows = [
            [n * (1 + ridge), d, p, t + ridge * n * fixed],
            [d, dd + ridge * (dd + n), dp, dt + ridge * (dd + n) * decode],
            [p, dp, pp + ridge * (pp + n), pt + ridge * (pp + n) * prefill],
        ]
        solved = _solve(rows)
        least = share * 1e-3
        self.fixed, self.decode, self.prefill = (max(value, least) for value in solved)


def _solve(rows: list[list[float]]) -> list[float]:
    """Gauss-Jordan for three unknowns; the ridge keeps the pivots away from zero."""
    for i in range(3):
        pivot = rows[i][i] or 1e-12
        rows[i] = [value / pivot for value in rows[i]]
        for j in range(3):
            if j != i:
                factor = rows[j][i]
                rows[j] = [a - factor * b for a, b in zip(rows[j], rows[i], strict=True)]
    return [row[3] for row in rows]


def shares(total_us: int, weights: Many[float]) -> list[int]:
    """Split whole microseconds by weight; the parts are whole and add up to the total."""
    whole = sum(weights)
    if len(weights) <= 1:
        return [total_us] * len(weights)
    if whole <= 0:
        weights = [1.0] * len(weights)
        whole = float(len(weights))
    parts: list[int] = []
    reached = 0.0
    given = 0
    for weight in weights:
        reached += weight
        upto = round(total_us * (reached / whole))
        parts.append(upto - given)
        given = upto
    parts[-1] += total_us - given
    return parts


class Rates:
    """What requests took lately: time per token, all of a step's included, and their sizes.

    `prompt_us` and `completion_us` are per token that was computed, `request_us` per request;
    `completion` is the mean length of an answer. All None before there was one.
    """

    def __init__(self) -> None:
        """Nothing was measured yet."""
        self._prompt = _Ratio()
        self._whole = _Ratio()
        self._completion = _Ratio()
        self._request = Average()
        self._length = Average()

    def step(self, prompt: tuple[int, int], completion: tuple[int, int], cached: int = 0) -> None:
        """A step spent (microseconds, tokens) on prompts and on answers.

        The prompts that it began had so many `cached` tokens in memory.
        """
        time_us, tokens = prompt
        self._prompt.add(time_us, tokens)
        self._whole.add(time_us, tokens + cached)
        self._completion.add(*completion)

    def ended(self, busy_us: int, completion_tokens: int) -> None:
        """A request was answered."""
        self._request.add(busy_us)
        self._length.add(completion_tokens)

    @property
    def prompt_us(self) -> float | None:
        """Microseconds for each prompt token."""
        return self._prompt.value

    @property
    def whole_prompt_us(self) -> float | None:
        """Microseconds for each token of prompts, those included that were in memory."""
        return self._whole.value

    @property
    def completion_us(self) -> float | None:
        """Microseconds for each token of an answer."""
        return self._completion.value

    @property
    def request_us(self) -> float | None:
        """Microseconds for each request."""
        return self._request.value

    @property
    def completion(self) -> float | None:
        """Tokens of an answer."""
        return self._length.value


class _Ratio:
    """Time per token with exponential forgetting, step by step."""

    def __init__(self) -> None:
        self._time = self._tokens = 0.0

    @property
    def value(self) -> float | None:
        return self._time / self._tokens if self._tokens else None

    def add(self, time_us: int, tokens: int) -> None:
        if tokens:
            self._time = self._time * _KEEP + time_us
            self._tokens = self._tokens * _KEEP + tokens


class Average:
    """An exponentially weighted average; None until the first value."""

    def __init__(self, keep: float = 0.9) -> None:
        """`keep` is the weight of the past against a new value."""
        self._keep = keep
        self.value: float | None = None

    def add(self, value: float) -> None:
        """Include one more value."""
        if self.value is None:
            self.value = value
        else:
            self.value += (1 - self._keep) * (value - self.value)
