"""Probes of a service, by its name: its requests, its split, its rollout.

Imported by `runbooks.probes`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from runbooks.looking.probe import Probe
from runbooks.values import Value
from storage import measures, prompts, releases, requests, rollouts, services, splits
from storage.measures import Window
from storage.requests import Outcome
from storage.rollout_states import OPEN
from storage.store import Session

_SECOND_US: Final = 1_000_000


def _measured(name: str, scale: float = 1.0, digits: int | None = None) -> Probe:
    """The probe of a measure over a service's requests (see `storage.measures`)."""

    async def probe(s: Session, of: str, window_s: int, second: int) -> Value:
        service = (await services.find(s, of)).name
        window = Window.last(window_s, second)
        value = measures.MEASURES[name].of(await measures.traffic(s, window, service=service))
        if value is None:
            return None
        return value * scale if digits is None else round(value * scale, digits)

    return probe


async def split(s: Session, of: str, _window_s: int, _second: int) -> Value:
    """The weights of a service's current split: r1=90 r2=10."""
    return splits.typed(splits.pairs((await services.find(s, of)).split.arms))


async def split_id(s: Session, of: str, _window_s: int, _second: int) -> Value:
    """The split that a service is at, by its id; after going back, the one that was restored."""
    return splits.origin((await services.find(s, of)).split)


async def roll_back_target(s: Session, of: str, _window_s: int, _second: int) -> Value:
    """The split to go back to, by its id; of a service that is back already, the same one."""
    service = await services.find(s, of)
    return splits.roll_back_target(await services.history(s, service.name, limit=2))


async def split_age_s(s: Session, of: str, _window_s: int, second: int) -> Value:
    """Seconds since the split was changed last."""
    return max(second - (await services.find(s, of)).split.set_at_us // _SECOND_US, 0)


async def release(s: Session, of: str, _window_s: int, _second: int) -> Value:
    """The release with the largest weight: r14."""
    return f"r{await _foremost(s, of)}"


async def deployment(s: Session, of: str, _window_s: int, _second: int) -> Value:
    """The deployment of the release with the largest weight."""
    return (await releases.find(s, f"r{await _foremost(s, of)}")).deployment


async def prompt(s: Session, of: str, _window_s: int, _second: int) -> Value:
    """The prompt of the release with the largest weight; None where it has none."""
    id = (await releases.find(s, f"r{await _foremost(s, of)}")).prompt_version_id
    return None if id is None else (await prompts.every(s, [id]))[0].prompt


async def rollout(s: Session, of: str, _window_s: int, _second: int) -> Value:
    """The rollout that is under way, by its number; None without one."""
    found = await rollouts.latest(s, (await services.find(s, of)).name)
    return found.id if found is not None and found.state in OPEN else None


async def rollout_state(s: Session, of: str, _window_s: int, _second: int) -> Value:
    """The state of the newest rollout, in one word; `none` where there was none."""
    found = await rollouts.latest(s, (await services.find(s, of)).name)
    return "none" if found is None else found.state.value


async def candidate_error_rate(s: Session, of: str, window_s: int, second: int) -> Value:
    """The error rate of the candidate of the rollout that is under way."""
    found = await rollouts.latest(s, (await services.find(s, of)).name)
    if found is None or found.state not in OPEN:
        return None
    window = Window.last(window_s, second)
    traffic = await measures.traffic(s, window, service=of, release=found.candidate)
    return measures.error_rate(traffic)


async def frequent_error(s: Session, of: str, window_s: int, second: int) -> Value:
    """The error code that most failed requests ended with, and how many of how many."""
    window = Window.last(window_s, second)
    codes: Counter[str] = Counter()
    async for request in requests.ended(
        s, window.begin * _SECOND_US, (window.end + 1) * _SECOND_US, service=of
    ):
        if request.outcome is Outcome.FAILED:
            codes[request.error_code or "without a code"] += 1
    if not codes:
        return None
    ((code, count),) = codes.most_common(1)
    return f"{code} ({count} of {codes.total()})"


async def longest_answer_tokens(s: Session, of: str, window_s: int, second: int) -> Value:
    """Tokens of the longest answer that ended in the window."""
    window = Window.last(window_s, second)
    return max(
        [
            request.completion_tokens
            async for request in requests.ended(
                s, window.begin * _SECOND_US, (window.end + 1) * _SECOND_US, service=of
            )
        ],
        default=None,
    )


async def record_text(s: Session, of: str, _window_s: int, _second: int) -> Value:
    """Whether texts of its requests are recorded: 1 or 0."""
    return int((await services.find(s, of)).record_text)


async def frozen(s: Session, of: str, _window_s: int, _second: int) -> Value:
    """Whether its split is frozen: 1 or 0."""
    return int((await services.find(s, of)).frozen is not None)


async def _foremost(s: Session, of: str) -> int:
    arms = (await services.find(s, of)).split.arms
    return max(arms, key=lambda arm: arm.weight_bp).release


PROBES: Final[Mapping[str, Probe]] = {
    "error_rate": _measured("error_rate"),
    "refusal_rate": _measured("refusal_rate"),
    "latency_p95_ms": _measured("latency_p95", 1e-3, 1),
    "ttft_p95_ms": _measured("ttft_p95", 1e-3, 1),
    "requests": _measured("requests"),
    "requests_per_s": _measured("requests_per_s", digits=3),
    "tokens_per_s": _measured("tokens_per_s", digits=1),
    "satisfaction": _measured("satisfaction", digits=3),
    "split": split,
    "split_id": split_id,
    "split_age_s": split_age_s,
    "roll_back_target": roll_back_target,
    "release": release,
    "deployment": deployment,
    "prompt": prompt,
    "rollout": rollout,
    "rollout_state": rollout_state,
    "candidate_error_rate": candidate_error_rate,
    "record_text": record_text,
    "service_frozen": frozen,
    "frequent_error": frequent_error,
    "longest_answer_tokens": longest_answer_tokens,
}
