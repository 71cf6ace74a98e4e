"""Online scoring: a share of recorded answers is checked after the fact, a few at a time.

By the minute, in control, with checks that cost microseconds each; while many wait, the oldest are
scored first and the rest in the following minutes. Which answers are in the share follows from
their ids, so a run that is repeated scores the same ones. Imported by `engine.control`.
"""

from __future__ import annotations

import hashlib
from typing import Final

import structlog

from engine.control.decisions import Decision, Reason
from engine.control.handlers import handles
from engine.judging import online_checks
from storage import errors, online_scores
from storage.control_socket import verbs
from storage.intents import Intent
from storage.online_scores import WHOLE_BP, Candidate, Scored, Scoring
from storage.store import Session, Store

AT_ONCE: Final = 500
"""Answers of a service that one run looks at."""

_log = structlog.get_logger("control.scoring")


@handles("scoring.set")
async def set(s: Session, intent: Intent, arguments: verbs.scoring.Set, at_us: int) -> Decision:
    """Score a share of a service's answers, or none."""
    before = await online_scores.set(
        s, intent.target, arguments.share_bp,
        actor=intent.actor, at_us=at_us, intent_id=intent.id,
    )  # fmt: skip
    if before == arguments.share_bp:
        said = f"{intent.target}: {_percent(before)} of the answers are scored already; no change."
        return Decision(Reason.UNCHANGED, said, before)
    said = f"{intent.target}: {_percent(arguments.share_bp)} of the answers are scored from now on"
    return Decision(Reason.APPLIED, f"{said} (before: {_percent(before)}).", before)


class Scorer:
    """Scores what was recorded since the last run."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def run(self) -> int:
        """Score once; returns how many answers."""
        done = 0
        try:
            async with self._store.read() as s:
                known = await online_scores.every(s)
            for scoring in known:
                done += await self._store.write(lambda s, of=scoring: _score(s, of), nudge=False)  # type: ignore[misc]
        except errors.StorageError as error:
            _log.warning("answers were not scored", error=str(error))
        return done


async def _score(s: Session, of: Scoring) -> int:
    found, upto = await online_scores.candidates(s, of, AT_ONCE)
    if upto <= of.cursor:
        return 0
    chosen = [each for each in found if sampled(each.request_id, of.share_bp)]
    scored = [each for candidate in chosen for each in checks(of.service, candidate)]
    await online_scores.record(s, of.service, upto, scored)
    return len(chosen)


def sampled(request_id: str, share_bp: int) -> bool:
    """Whether an answer is in a share: by its id, the same whenever it is asked."""
    digest = hashlib.blake2b(request_id.encode(), digest_size=8, person=b"scoring").digest()
    return int.from_bytes(digest) % WHOLE_BP < share_bp


def checks(service: str, of: Candidate) -> list[Scored]:
    """All checks of an answer."""
    return [
        Scored(
            request_id=of.request_id, scorer=name, service=service, release=of.release,
            at_us=of.at_us, passed=check(of.completion, of.finish_reason),
        )
        for name, check in online_checks.CHECKS.items()
    ]  # fmt: skip


def _percent(share_bp: int) -> str:
    return f"{share_bp / 100:g} %"
