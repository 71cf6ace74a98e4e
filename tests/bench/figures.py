"""What the bench says: percentiles, medians over rounds, and the table with the ratios.

Knows neither servers nor clients. Imported by the bench only.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields


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
    prompt_tokens: float | None
    client_cpu: float


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


def table(results: Mapping[str, Mapping[str, Sequence[Figures]]]) -> str:
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
