"""`make bench`: the node beside llama-server and the Python example server, in one run.

Each server is started on loopback in turn, A B C A B C, so that a machine that grows warm or busy
meets them all; every figure is the median over the rounds, and what counts are the ratios. The
model has random weights and is made here, nothing is downloaded but the sdist. Bounded in time.
"""

from __future__ import annotations

import resource
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tests.bench import client, contestants

WORDS: Final = 60
CONTEXT_TOKENS: Final = 512


@dataclass(frozen=True, slots=True)
class Scenario:
    """So many clients, each sending `each` requests one after another."""

    name: str
    clients: int
    each: int
    max_tokens: int
    stream: bool
    temperature: float


SCENARIOS: Final = (
    Scenario("decode, 1 stream", 1, 24, 96, stream=True, temperature=0.0),
    Scenario("decode, 4 streams", 4, 10, 96, stream=True, temperature=0.0),
    Scenario("decode, 16 streams", 16, 3, 96, stream=True, temperature=0.0),
    Scenario("decode, 16 clients", 16, 3, 96, stream=False, temperature=0.0),
    Scenario("sampled, 16 streams", 16, 3, 96, stream=True, temperature=0.8),
)


@dataclass(frozen=True, slots=True)
class Figures:
    """One scenario at one server in one round; times in microseconds."""

    tokens_per_s: float
    ttft_p50: float | None
    ttft_p95: float | None
    gap_p50: float | None
    gap_p95: float | None
    gap_p99: float | None
    latency_p50: float
    latency_p95: float
    client_cpu: float


def quantile(values: Sequence[float], q: float) -> float | None:
    """The nearest-rank quantile; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def prompt(number: int) -> str:
    """About 110 tokens of text that share no beginning with any other prompt's."""
    words = (f"{(number * 7919 + place * 104729) % 9973}" for place in range(WORDS // 2))
    return f"Report {number} of the shift: " + " ".join(words)


def requests(
    server: contestants.Running, scenario: Scenario, first: int, each: int
) -> list[list[bytes]]:
    """What every client of a scenario sends."""
    headers = {**server.headers, "accept": "text/event-stream" if scenario.stream else "*/*"}
    return [
        [
            client.request(
                "/v1/completions",
                headers,
                {
                    "model": server.model,
                    "prompt": prompt(first + one * each + number),
                    "max_tokens": scenario.max_tokens,
                    "temperature": scenario.temperature,
                    "top_p": 0.95,
                    "seed": 1 + number,
                    "stream": scenario.stream,
                },
            )
            for number in range(each)
        ]
        for one in range(scenario.clients)
    ]


async def measure(
    server: contestants.Running, scenario: Scenario, scale: float, first: int
) -> Figures:
    """Warms the server up with one request per client, then measures."""
    await client.closed_loop(server.port, requests(server, scenario, first, 1))
    each = max(1, round(scenario.each * scale))
    asked = requests(server, scenario, first + 1000, each)
    cpu = resource.getrusage(resource.RUSAGE_SELF)
    exchanges, wall_ns = await client.closed_loop(server.port, asked)
    after = resource.getrusage(resource.RUSAGE_SELF)
    answers = [client.read(exchange, scenario.max_tokens) for exchange in exchanges]
    gaps = [gap for answer in answers for gap in answer.gaps_us] if scenario.stream else []
    ttfts = [answer.ttft_us for answer in answers if answer.ttft_us is not None]
    latencies = [answer.latency_us for answer in answers]
    used = after.ru_utime + after.ru_stime - cpu.ru_utime - cpu.ru_stime
    return Figures(
        tokens_per_s=sum(answer.tokens for answer in answers) / wall_ns * 1e9,
        ttft_p50=quantile(ttfts, 0.5),
        ttft_p95=quantile(ttfts, 0.95),
        gap_p50=quantile(gaps, 0.5),
        gap_p95=quantile(gaps, 0.95),
        gap_p99=quantile(gaps, 0.99),
        latency_p50=quantile(latencies, 0.5) or 0,
        latency_p95=quantile(latencies, 0.95) or 0,
        client_cpu=used / wall_ns * 1e9,
    )


def median(rounds: Sequence[Figures]) -> Figures:
    """The median of each figure over the rounds."""
    found: dict[str, float | None] = {}
    for name in Figures.__slots__:
        values = [value for each in rounds if (value := getattr(each, name)) is not None]
        found[name] = statistics.median(values) if values else None
    return Figures(**found)  # type: ignore[arg-type]


def table(results: dict[str, dict[str, list[Figures]]]) -> str:
    """The results as people read them: a row per scenario and server, ratios at its end."""
    head = ("", "tok/s", "ttft p50", "p95", "gap p50", "p95", "p99 ms", "client", "ours ×")
    lines = [f"{head[0]:36}" + "".join(f"{title:>9}" for title in head[1:])]
    for scenario, servers in results.items():
        lines.append(scenario)
        ours = median(servers["paddock"]).tokens_per_s if "paddock" in servers else None
        for name, rounds in servers.items():
            seen = median(rounds)
            cells = [f"{seen.tokens_per_s:.0f}"]
            times = (seen.ttft_p50, seen.ttft_p95, seen.gap_p50, seen.gap_p95, seen.gap_p99)
            cells += ["-" if us is None else f"{us / 1000:.1f}" for us in times]
            cells += [f"{seen.client_cpu:.0%}"]
            cells += [f"{ours / seen.tokens_per_s:.2f}" if ours and name != "paddock" else ""]
            lines.append(f"  {name:34}" + "".join(f"{cell:>9}" for cell in cells))
    return "\n".join(lines)
