"""The scenarios of the bench: the number of clients, the prompts, the length of the answers.

No two prompts share a prefix, unless that is what the scenario is about: what a prefix cache gains
is seen there and nowhere else. Sends nothing. Imported by the bench only.
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
    """`clients` clients, each sending `each` requests of `words` words in sequence.

    All prompts of a round begin with the same `shared` words. With `grows` the requests of a client
    are the turns of a conversation, each so many words longer than the one before; answers in them
    are of the bench, not the server's, so that all servers read the same. First tokens are timed
    from the request number `timed_from` of each client on.
    """

    name: str
    clients: int
    each: int
    words: int
    max_tokens: int
    stream: bool = True
    temperature: float = 0.0
    shared: int = 0
    grows: int = 0
    timed_from: int = 0

    def prompts(self, round_: int, index: int, each: int) -> list[list[str]]:
        """The prompts of each client in a round; `index` is the place of the scenario."""
        first = (round_ * 100 + index) * MOST
        shared = prompt(first, self.shared) + "\n" if self.shared else ""
        if self.grows:
            return [self._turns(first + one, each) for one in range(self.clients)]
        return [
            [shared + prompt(first + one * each + number, self.words) for number in range(each)]
            for one in range(self.clients)
        ]

    def _turns(self, number: int, each: int) -> list[str]:
        """The prompts of one conversation."""
        words = prompt(number, self.words + each * self.grows).split(" ")
        begins = len(words) - each * self.grows
        return [" ".join(words[: begins + turn * self.grows]) for turn in range(each)]


SCENARIOS: Final = (
    Scenario("1 stream", 1, 16, 30, 96),
    Scenario("4 streams", 4, 8, 30, 96),
    Scenario("16 streams", 16, 3, 30, 96),
    Scenario("16 clients", 16, 3, 30, 96, stream=False),
    Scenario("16 long answers", 16, 1, 3, 320),
    Scenario("16 streams, sampled", 16, 3, 30, 96, temperature=0.8),
    Scenario("16 sharing a prompt", 16, 3, 7, 32, shared=136),
    Scenario("8 conversations", 8, 10, 25, 32, grows=20, timed_from=5),
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
