"""The scenarios of the bench: the number of clients, the prompts, the length of the answers.

No two prompts share a prefix, so that no server profits from a prefix cache that another lacks.
Sends nothing. Imported by the bench only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tests.bench import client

MOST: Final = 1_000
"""The most prompts of one scenario in one round."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """`clients` clients, each sending `each` requests of `words` words in sequence."""

    name: str
    clients: int
    each: int
    words: int
    max_tokens: int
    stream: bool = True
    temperature: float = 0.0

    def prompts(self, round_: int, index: int, each: int) -> list[list[str]]:
        """The prompts of each client in a round; `index` is the place of the scenario."""
        first = (round_ * 100 + index) * MOST
        return [
            [prompt(first + one * each + number, self.words) for number in range(each)]
            for one in range(self.clients)
        ]


SCENARIOS: Final = (
    Scenario("1 stream", 1, 16, 30, 96),
    Scenario("4 streams", 4, 8, 30, 96),
    Scenario("16 streams", 16, 3, 30, 96),
    Scenario("16 clients", 16, 3, 30, 96, stream=False),
    Scenario("16 long answers", 16, 1, 3, 320),
    Scenario("16 streams, sampled", 16, 3, 30, 96, temperature=0.8),
)


def prompt(number: int, words: int) -> str:
    """About four tokens a word; the second word is unique."""
    said = (f"{(number * 7919 + place * 104729) % 9973}" for place in range(words))
    return f"Report {number} of the shift: " + " ".join(said)


def requests(
    scenario: Scenario,
    prompts: list[list[str]],
    model: str,
    headers: Mapping[str, str],
    max_tokens: int,
) -> list[list[bytes]]:
    """The prompts as requests, by client."""
    accepts = {"accept": "text/event-stream" if scenario.stream else "*/*"}
    fixed = {
        "model": model,
        "max_tokens": max_tokens,
        "temperature": scenario.temperature,
        "top_p": 0.95,
        "stream": scenario.stream,
    }
    return [
        [
            client.request(
                "/v1/completions",
                {**headers, **accepts},
                {**fixed, "prompt": text, "seed": 1 + number},
            )
            for number, text in enumerate(one)
        ]
        for one in prompts
    ]
