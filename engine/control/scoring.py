"""Online scoring: a share of recorded answers is checked after the fact, a few at a time.

By the minute, in control, with checks that cost a fraction of a millisecond each. A run continues
until it is at the newest request, within bounds; where a box answers more, the oldest are scored
first and the rest in the following minutes. Which answers are in the share follows from their ids,
so a run that is repeated scores the same ones. Imported by `engine.control`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec
import structlog

from engine.control.decisions import Decision, Reason
from engine.control.handlers import handles
from engine.judging import online_checks
from storage import errors, online_scores, texts
from storage.control_socket import verbs
from storage.intents import Intent
from storage.online_scores import WHOLE_BP, Candidate, Scored, Scoring
from storage.store import Session, Store

PAGE: Final = 5_000
"""Requests of the box that one read looks through for a service's answers."""
AT_ONCE: Final = 500
"""Answers whose texts are held, and that are written, at once."""
PAGES: Final = 40
"""Reads per run and service: enough for a box that answers 3,000 requests a second."""
ANSWERS: Final = 6_000
"""Answers of a service after which a run ends though more wait: 100 in a second."""

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
                done += await self._score(scoring)
        except errors.StorageError as error:
            _log.warning("answers were not scored", error=str(error))
        return done

    async def _score(self, of: Scoring) -> int:
        """Score a service up to the newest request, or as far as the bounds allow."""
        done = 0
        for _ in range(PAGES):
            async with self._store.read() as s:
                found, upto = await online_scores.candidates(s, of, PAGE)
            if upto <= of.cursor:
                break
            chosen = [each for each in found if sampled(each.request_id, of.share_bp)]
            for at in range(0, len(chosen), AT_ONCE):
                part = chosen[at : at + AT_ONCE]
                last = at + AT_ONCE >= len(chosen)
                done += await self._part(of.service, part, upto if last else part[-1].number)
            if not chosen:
                await self._keep(of.service, upto, [])
            if done >= ANSWERS:
                break
            of = msgspec.structs.replace(of, cursor=upto)
        return done

    async def _part(self, service: str, chosen: Sequence[Candidate], upto: int) -> int:
        async with self._store.read() as s:
            told = await texts.completions(s, [each.request_id for each in chosen])
        having = [each for each in chosen if each.request_id in told]
        scored = [row for each in having for row in checks(service, each, told[each.request_id])]
        await self._keep(service, upto, scored)
        return len(having)

    async def _keep(self, service: str, upto: int, scored: list[Scored]) -> None:
        await self._store.write(
            lambda s: online_scores.record(s, service, upto, scored), nudge=False
        )


def sampled(request_id: str, share_bp: int) -> bool:
    """Whether an answer is in a share: by its id, the same whenever it is asked."""
    digest = hashlib.blake2b(request_id.encode(), digest_size=8, person=b"scoring").digest()
    return int.from_bytes(digest) % WHOLE_BP < share_bp


def checks(service: str, of: Candidate, completion: str) -> list[Scored]:
    """All checks of an answer."""
    return [
        Scored(
            service=service, number=of.number, scorer=name, release=of.release, at_us=of.at_us,
            ab_test=of.ab_test, passed=check(completion, of.finish_reason),
        )
        for name, check in online_checks.CHECKS.items()
    ]  # fmt: skip


def _percent(share_bp: int) -> str:
    return f"{share_bp / 100:g} %"
