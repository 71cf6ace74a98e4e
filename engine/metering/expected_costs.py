"""Estimates what a request costs before it is billed: a bound at its start, its cost at its end.

An upstream's tokens have prices: a text has at most as many tokens as bytes, and an answer at most
`max_tokens`. On this box the price is of time: the computing time that a token took at most lately,
by deployment, and the energy that a second of computing took. Before anything was measured a token
is taken to need `UNKNOWN_US`, so that a rush at the first moment is bounded too. Pure; money in
pico-units. Imported by `engine.metering.budgets`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from engine.execution.job import Chat, Embed, Job, Prompt, Rerank, Text
from storage import costs
from storage.box_usage import BoxUsage
from storage.costs import Serves
from storage.prices import PriceList
from storage.usage import Usage

UNKNOWN_US: Final = 20_000
"""Computing time of a token of the answer while none was measured."""
PROMPT: Final = 8
"""So many tokens of a prompt are computed in the time of one of the answer."""
_SLOWER: Final = 2  # a request that is alone takes more time for a token than one in a batch
_FORGET: Final = 0.99
_HOUR_US: Final = 3_600 * 1_000_000
_KWH_MJ: Final = 3_600 * 1_000 * 1_000


class ExpectedCosts:
    """Estimates by the known prices; learns the time of tokens as requests end."""

    def __init__(self, prices: PriceList, serves: Serves) -> None:
        self._prices = prices
        self._serves = serves
        self._token_us: dict[str, float] = {}
        self._energy = (0, 0)
        """Millijoules that work took, and the computing time of that, in microseconds."""

    def reprice(self, prices: PriceList, serves: Serves) -> None:
        """Use other prices from now on."""
        self._prices, self._serves = prices, serves

    def energetic(self, now_s: int) -> bool:
        """Whether energy has a price."""
        return self._prices.at(now_s).kwh_micro is not None

    def learn(self, rows: Iterable[Usage], box: Iterable[BoxUsage]) -> None:
        """Learn from the usage of the last quarter hours."""
        by: dict[str, tuple[int, int]] = {}
        busy: dict[int, int] = {}
        for used in rows:
            if used.release in self._serves or not used.busy_us:
                continue
            time, tokens = by.get(used.deployment, (0, 0))
            by[used.deployment] = time + used.busy_us, tokens + _weighed(used)
            busy[used.quarter_s] = busy.get(used.quarter_s, 0) + used.busy_us
        for deployment, (time, tokens) in by.items():
            if deployment not in self._token_us and tokens:
                self._token_us[deployment] = _SLOWER * time * PROMPT / tokens
        told = [each for each in box if each.work_mj is not None and each.quarter_s in busy]
        if told:
            self._energy = (
                sum(each.work_mj or 0 for each in told),
                sum(busy[each.quarter_s] for each in told),
            )

    def of(self, used: Usage) -> int | None:
        """What the usage of one request that has ended costs; None without a price."""
        pico = costs.bill([used], [], self._prices, self._serves).charges[0].pico
        if used.release in self._serves:
            return pico
        if used.busy_us and (tokens := _weighed(used)):
            token_us = used.busy_us * PROMPT / tokens
            known = self._token_us.get(used.deployment, 0.0)
            self._token_us[used.deployment] = max(token_us, known * _FORGET)
        return None if pico is None else pico + self._energy_of(used.busy_us, used.quarter_s)

    def most(self, job: Job, now_s: int) -> int:
        """The most that a request is expected to cost; 0 without a price."""
        read = _bytes(job) * (1 if isinstance(job.input, Text) else job.n)
        written = job.choices * job.max_tokens if isinstance(job.input, Prompt) else 0
        prices = self._prices.at(now_s)
        upstream = self._serves.get(job.release.number)
        if upstream is not None:
            price = prices.of_upstream(*upstream)
            if price is None:
                return 0
            dearest = max(price.input_micro or 0, price.cached_micro or 0)
            return read * dearest + written * (price.output_micro or 0)
        token_us = self._token_us.get(job.release.deployment, UNKNOWN_US)
        busy_us = round((written + read / PROMPT) * token_us)
        time = busy_us * (prices.gpu_hour_micro or 0) * costs.PICO // _HOUR_US
        return time + self._energy_of(busy_us, now_s)

    def _energy_of(self, busy_us: int, second: int) -> int:
        price = self._prices.at(second).kwh_micro
        millijoules, measured_us = self._energy
        if price is None or not measured_us:
            return 0
        return busy_us * millijoules * price * costs.PICO // (measured_us * _KWH_MJ)


def _weighed(used: Usage) -> int:
    """Tokens, those of the answer times `PROMPT`."""
    return used.completion_tokens * PROMPT + used.prompt_tokens


def _bytes(job: Job) -> int:
    """The bytes of all its texts; a token id counts as one."""
    match job.input:
        case Text(prompts=prompts, suffix=suffix):
            return (sum(map(_size, prompts)) + len(prompts) * _size(suffix)) * job.n
        case Embed(inputs=inputs):
            return sum(_size(p) if isinstance(p, str) else 1 for parts in inputs for p in parts)
        case Rerank(query=query, documents=documents):
            return len(documents) * (_size(query) + _TURN) + sum(map(_size, documents))
        case Chat(messages=messages):
            return sum(_size(each.content) + _TURN for each in messages)


def _size(prompt: str | tuple[int, ...]) -> int:
    return len(prompt.encode(errors="replace") if isinstance(prompt, str) else prompt)


_TURN: Final = 32
"""Tokens that a chat template adds to a turn, at most."""
