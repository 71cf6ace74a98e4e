"""Rollouts as they were at a past moment, by their events. Imported by `app`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from storage import rollout_events, rollout_rows
from storage.past import guided_changes
from storage.rollout_events import RolloutEvent
from storage.rollout_rows import Rollout
from storage.rollout_states import OPEN, Why


def _then(known: Rollout, events: Sequence[RolloutEvent]) -> Rollout:
    last = events[-1]
    starts = [each for each in events if each.before is None or each.why is Why.RETRIED]
    at_step = [each for each in events if each.step == last.step and each.id >= starts[-1].id]
    weighted = [each for each in events if each.weight_bp]
    over = last.after not in OPEN
    ends = [each.at_us for each in events if each.after not in OPEN]
    return msgspec.structs.replace(
        known,
        state=last.after,
        why=last.why,
        sentence=last.sentence,
        version=len(events),
        attempt=len(starts),
        resumes=None,
        step=last.step,
        step_began_us=None if last.step is None else at_step[0].at_us,
        weight_bp=last.weight_bp,
        split_id=None,
        smoke_job_id=known.smoke_job_id if len(starts) == known.attempt else None,
        webhook_job_id=None,
        exposed_at_us=weighted[0].at_us if weighted else None,
        keep_until_us=None,
        impact=known.impact if over and known.ended_at_us == ends[0] else None,
        began_at_us=starts[-1].at_us,
        moved_at_us=last.at_us,
        ended_at_us=ends[0] if over else None,
    )


_PAST: Final = guided_changes.Past(rollout_rows.KEPT, rollout_events.of, _then)
tail = _PAST.tail
latest = _PAST.latest
find = _PAST.find
events_of = _PAST.events_of
