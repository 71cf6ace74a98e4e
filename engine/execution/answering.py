"""Whether releases and instances answer, judged by how their last requests ended.

A process may be up and its heartbeats current while every request fails. What counts are failures
that the release or this box caused; requests that were invalid, refused, cancelled or cut off by a
shutdown say nothing, and those that were under way together are one piece of evidence: a worker
that dies once takes many along. One answer ends a verdict. So does a minute without any request,
because a balancer that obeys `readyz` sends none; the next failure then renews it. Never acts and
never routes. Imported by `engine.execution.execute` and `engine.gateway.health`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from engine.execution.failures import Failure, Invalid

LEAST: Final = 3
"""Failures in a row, one after the other, before anything is concluded from them."""
KEPT_US: Final = 3_600_000_000
"""How long after the last failure of a subject its record is kept."""
TRUST_US: Final = 60_000_000
"""How long after the last failure a verdict holds."""

_MESSAGE_LIMIT: Final = 200
_NO_EVIDENCE: Final = frozenset(
    {
        "worker_gone",
        "worker_unavailable",
        "release_unavailable",
        "template_failed",
        "prompt_failed",
        "upstream_late",
        "answer_unreadable",
    }
)
"""Failures of a shutdown, of a release that is known to be down for another reason, of templates
for what a caller sent, of answers that are long, and of reading one of them: one client could take
the release from all others."""


@dataclass(frozen=True, slots=True)
class Record:
    """How the last requests ended; times are microseconds of the monotonic clock.

    `failed` is the number of failures since the last answer, the first of them at `since_us`; of
    those, `trials` began after the one before had ended, the last of them ended at `trial_us`.
    """

    failed: int = 0
    trials: int = 0
    trial_us: int = 0
    since_us: int = 0
    last_us: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class NotAnswering:
    """A verdict with its evidence."""

    failed: int
    since_us: int
    error: str

    def reason(self, now_us: int) -> str:
        """As a clause."""
        seconds = max(1, (now_us - self.since_us) // 1_000_000)
        return (
            f"all of the last {self.failed} requests failed, in {seconds} s; "
            f"the last one: {self.error}"
        )


def after(record: Record, error: str | None, began_us: int, now_us: int) -> Record:
    """The record after one more request, with the error that ended it, or None if it succeeded."""
    if error is None:
        return Record()
    if not record.failed:
        return Record(1, 1, now_us, now_us, now_us, error)
    more = replace(record, failed=record.failed + 1, last_us=now_us, error=error)
    if began_us < record.trial_us:
        return more
    return replace(more, trials=record.trials + 1, trial_us=now_us)


def decide(record: Record, now_us: int) -> NotAnswering | None:
    """The verdict on a record; None while it answers or there is no evidence."""
    if record.trials < LEAST or now_us - record.last_us > TRUST_US:
        return None
    return NotAnswering(record.failed, record.since_us, record.error)


def evidence(failure: Failure) -> str | None:
    """A failure as evidence against its release; None if it is none."""
    if isinstance(failure, Invalid) or failure.code in _NO_EVIDENCE:
        return None
    return f"{failure.code}: {failure.message[:_MESSAGE_LIMIT]}"


class Answering:
    """The records of one gateway: by the number of a release, and by the name of an instance.

    Only those that failed since their last answer have one.
    """

    def __init__(self) -> None:
        """No request has ended yet."""
        self._records: dict[int | str, Record] = {}

    def succeeded(self, *subjects: int | str) -> None:
        """A request was answered."""
        for subject in subjects:
            self._records.pop(subject, None)

    def failed(self, error: str, began_us: int, now_us: int, *subjects: int | str) -> None:
        """A request failed."""
        if not self._records.keys() >= set(subjects):
            self._records = {
                subject: record
                for subject, record in self._records.items()
                if now_us - record.last_us <= KEPT_US
            }
        for subject in subjects:
            before = self._records.get(subject, Record())
            self._records[subject] = after(before, error, began_us, now_us)

    def verdict(self, subject: int | str, now_us: int) -> NotAnswering | None:
        """The verdict on a release or an instance."""
        return decide(self._records.get(subject, Record()), now_us)

    def instances(self, now_us: int) -> dict[str, NotAnswering]:
        """The instances that do not answer."""
        found = {
            name: self.verdict(name, now_us) for name in self._records if isinstance(name, str)
        }
        return {name: verdict for name, verdict in sorted(found.items()) if verdict is not None}
