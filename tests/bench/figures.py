"""What the bench says: percentiles, medians over rounds, the table with the ratios, the goals.

A ratio is the median of the ratios within each round, because what disturbs a machine disturbs a
whole round. Knows neither servers nor clients. Imported by the bench only.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final

OURS: Final = "paddock"
Rounds = Mapping[str, Sequence["Figures"]]


@dataclass(frozen=True, slots=True)
class Figures:
    """One scenario at one server in one round; times in microseconds, None where there are none."""

    tokens_per_s: float
    ttft_p50: float | None = None
    ttft_p95: float | None = None
    gap_p50: float | None = None
    gap_p95: float | None = None
    gap_p99: float | None = None
    latency_p50: float | None = None
    latency_p95: float | None = None
    prompt_tokens: float | None = None
    client_cpu: float | None = None


@dataclass(frozen=True, slots=True)
class Goal:
    """What our tokens per second over a server's have to reach in a scenario."""

    scenario: str
    server: str
    ratio: float


GOALS: Final = (
    Goal("16 streams", "raw loop", 0.85),
    Goal("16 clients", "raw loop", 0.85),
    Goal("16 long answers", "raw loop", 0.85),
    Goal("1 stream", "llama-server", 1.0),
    Goal("16 streams", "llama-server", 1.1),
    Goal("16 clients", "llama-server", 1.1),
    Goal("16 sharing a prompt", "llama-server", 2.0),
    Goal("8 conversations", "llama-server", 2.0),
    Goal("1 stream", "example server", 1.0),
    Goal("16 streams", "example server", 1.0),
    Goal("16 clients", "example server", 1.0),
)


def quantile(values: Sequence[float], q: float) -> float | None:
    """The nearest-rank quantile; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def median(rounds: Sequence[Figures]) -> Figures:
    """The median of each figure over the rounds."""
    found: dict[str, float | None] = {}
    for name in (each.name for each in fields(Figures)):
        values = [value for each in rounds if (value := getattr(each, name)) is not None]
        found[name] = statistics.median(values) if values else None
    return Figures(**found)  # type: ignore[arg-type]


def ratio(servers: Rounds, name: str) -> float | None:
    """Our tokens per second over another's."""
    pairs = zip(servers.get(OURS, ()), servers.get(name, ()), strict=False)
    ratios = [ours.tokens_per_s / theirs.tokens_per_s for ours, theirs in pairs]
    return statistics.median(ratios) if ratios else None


def table(results: Mapping[str, Rounds]) -> str:
    """The results as people read them: a row per scenario and server, ratios at its end."""
    head = ("tok/s", "ttft p50", "p95", "gap p50", "p95", "p99 ms", "client", "ours ×")
    lines = [f"{'':24}" + "".join(f"{title:>9}" for title in head)]
    for scenario, servers in results.items():
        lines.append(scenario)
        for name, rounds in servers.items():
            if not rounds:
                continue
            seen = median(rounds)
            cells = [f"{seen.tokens_per_s:.0f}"]
            times = (seen.ttft_p50, seen.ttft_p95, seen.gap_p50, seen.gap_p95, seen.gap_p99)
            cells += ["-" if us is None else f"{us / 1000:.1f}" for us in times]
            cells += ["-" if seen.client_cpu is None else f"{seen.client_cpu:.0%}"]
            times_ours = None if name == OURS else ratio(servers, name)
            cells += ["" if times_ours is None else f"{times_ours:.2f}"]
            lines.append(f"  {name:22}" + "".join(f"{cell:>9}" for cell in cells))
    return "\n".join(lines)


def goals(results: Mapping[str, Rounds]) -> str:
    """Each goal that could be judged, beside what was reached."""
    lines = []
    for goal in GOALS:
        reached = ratio(results.get(goal.scenario, {}), goal.server)
        if reached is not None:
            said = "met" if reached >= goal.ratio else "missed"
            over = f"{goal.scenario}, over {goal.server}"
            lines.append(f"{over:40} {reached:6.2f}   goal {goal.ratio:.2f}   {said}")
    return "\n".join(lines)
