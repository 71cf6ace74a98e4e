"""The figures of a shadow as lines: the candidate beside stable. Imported by `app.rollout_tree`."""

from __future__ import annotations

from app import words
from storage.rollouts import Rollout
from storage.shadow_figures import Figures


def lines(rollout: Rollout, figures: Figures | None) -> list[str]:
    """What its copies show; nothing without a copy. At most 76 cells wide."""
    if figures is None:
        return []
    copies = words.counted(figures.copies, "copy").replace("copys", "copies")
    agreed = words.share(figures.agreement, figures.between)
    alike = f"agreement {agreed}  F1 {_two(figures.f1)}  exact {words.percent(figures.exact)}"
    alike += f"  length ×{_two(figures.length_ratio)}"
    said = [f"{copies} compared, {figures.failed} failed", alike]
    if figures.logprob is not None:
        said.append(f"log-probability of stable's tokens {round(figures.logprob, 2) or 0.0:.2f}")
        if figures.unlikely is not None:
            share = words.percent(figures.unlikely)
            said[-1] += f", {share} not r{rollout.candidate}'s first choice"
    elif figures.copies > figures.failed:
        said.append("stable's answers were not scored (a server scores no chats)")
    stable, candidate = figures.stable, figures.candidate
    rows = [
        ("", "TOKENS", "P50", "P95", "TTFT P95"),
        *(
            (
                f"r{release}",
                words.UNKNOWN if side.tokens is None else f"{side.tokens:.1f}",
                words.duration(side.p50_us),
                words.duration(side.p95_us),
                words.duration(side.ttft_p95_us),
            )
            for release, side in ((rollout.stable, stable), (rollout.candidate, candidate))
        ),
    ]
    return [*said, *words.table(rows, right=(1, 2, 3, 4))]


def _two(value: float | None) -> str:
    return words.UNKNOWN if value is None else f"{value:.2f}"
