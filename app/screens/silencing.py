"""What people do about alerts: start the runbook, acknowledge, close, silence, plan maintenance.

The offers of the place of alerts; the control socket checks all of it again. Imported by it.
"""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Sequence
from typing import Final

from app import moments, words
from app.errors import BadWord
from app.screens.offered import Verb
from app.screens.place import Offer
from app.snapshot.alerts import AlertRow, Of
from storage import errors

ACK: Final = Verb("alerts.ack", "A", "ack")
UNACK: Final = Verb("alerts.unack", "u", "unack")
SILENCE: Final = Verb("alerts.silence", "Z", "silence", "no notifications for a time, such as 2h")
MAINTAIN: Final = Verb("alerts.maintain", "M", "maintain", "plan a window, such as 22:00 2h")
UNSILENCE: Final = Verb("alerts.unsilence", "E", "end it")
CLOSE: Final = Verb("alerts.close", "x", "close")
TEST: Final = Verb("alerts.test_receiver", "B", "test")
START: Final = Verb("runbooks.start", "n", "runbook")
NAMES: Final = tuple(
    verb.name for verb in (START, ACK, UNACK, SILENCE, MAINTAIN, UNSILENCE, CLOSE, TEST)
)

_FOR: Final = "2h"
_HINT: Final = "what is silenced, for how long: 30m, 2h, 7d; enter shows until when"
_WHEN: Final = "what is maintained, from when (now, 22:00 UTC), for how long: 30m, 2h"
_SECOND_US: Final = 1_000_000


def verbs(row: AlertRow | None) -> Sequence[Verb]:
    """What can be done to a row of its kind."""
    if row is None:
        return ()
    silence = UNSILENCE if row.silence else SILENCE
    return {
        Of.ALERT: (START, UNACK if row.acknowledged_by else ACK, silence, MAINTAIN, CLOSE),
        Of.SILENCE: (UNSILENCE,),
        Of.WINDOW: (UNSILENCE,),
        Of.RECEIVER: (TEST,),
        Of.RULE: (SILENCE, MAINTAIN),
    }[row.of]


def offer(name: str, row: AlertRow | None, now_us: int, typed: str | None) -> Offer | None:
    """What an action would do here; None where it is about something else."""
    if name not in NAMES:
        return None
    if row is None:
        return Offer(unable="there is nothing under the cursor")
    if name in {SILENCE.name, MAINTAIN.name}:
        typing = _silence if name == SILENCE.name else _maintain
        return typing(row, now_us, typed)
    of_row = {UNSILENCE.name: _unsilence, TEST.name: _test, START.name: _runbook}
    return of_row[name](row) if name in of_row else _seen(name, row)


def _seen(name: str, row: AlertRow) -> Offer:
    """Of an alert: acknowledge it, take that back, close it."""
    if row.of is not Of.ALERT:
        return Offer(unable="there is no alert under the cursor")
    if not row.fires:
        return Offer(unable=f"alert {row.name} does not fire")
    if name == ACK.name and row.acknowledged_by:
        return Offer(unable=f"{row.acknowledged_by} acknowledged alert {row.name}")
    if name == UNACK.name and not row.acknowledged_by:
        return Offer(unable=f"alert {row.name} is not acknowledged")
    effect = {
        ACK.name: "you see to it; no notifications until it ends",
        UNACK.name: "not acknowledged; notifications are sent again",
        CLOSE.name: "ended; it fires again if its rule still holds",
    }[name]
    about = f"{row.title} {row.about}".strip()
    return Offer(target=row.name, effect=f"alert {row.name} ({about}): {effect}")


def _runbook(row: AlertRow) -> Offer:
    """Of an alert: walk the runbook that its rule names, about what the alert is about."""
    if row.of is not Of.ALERT:
        return Offer(unable="there is no alert under the cursor")
    if not row.runbook:
        return Offer(unable=f"the rule {row.title} names no runbook")
    about = f"{row.title} {row.about}".strip()
    return Offer(
        target=row.runbook,
        arguments={"alert": int(row.name), "pace": "step"},
        effect=f"start {row.runbook} for alert {row.name} ({about}): it stops before each action",
    )


def _silence(row: AlertRow, now_us: int, typed: str | None) -> Offer:
    if not row.matchers:
        return Offer(unable="there is no alert and no rule under the cursor")
    if row.silence:
        return Offer(unable=f"silence {row.silence} silences it already")
    if typed is None:
        return Offer(form=f"{shlex.join(row.matchers)} {_FOR}", hint=_HINT)
    try:
        matchers, seconds = _read(typed)
    except BadWord as error:
        return Offer(unable=str(error), form=typed, hint=_HINT)
    until = words.clock(now_us + seconds * _SECOND_US)
    return Offer(
        target=" ".join(matchers)[:200],
        arguments={"matchers": matchers, "for_s": seconds},
        effect=f"silence {' '.join(matchers)}: no notifications of such alerts until {until}",
    )


def _maintain(row: AlertRow, now_us: int, typed: str | None) -> Offer:
    if not row.matchers:
        return Offer(unable="there is no alert and no rule under the cursor")
    if typed is None:
        return Offer(form=f"{shlex.join(row.matchers)} now {_FOR}", hint=_WHEN)
    try:
        (*matchers, begin), seconds = _read(typed)
        starts_us = moments.coming(begin, now_us)
    except BadWord as error:
        return Offer(unable=str(error), form=typed, hint=_WHEN)
    if not matchers:
        unable = "say what is maintained, from when, and for how long"
        return Offer(unable=unable, form=typed, hint=_WHEN)
    named = " ".join(matchers)
    span = f"{words.clock(starts_us)} to {words.clock(starts_us + seconds * _SECOND_US)}"
    return Offer(
        target=named[:200],
        arguments={"matchers": matchers, "for_s": seconds, "starts_at_us": starts_us},
        effect=f"maintenance of {named} from {span}: no notifications of such alerts",
    )


def _read(typed: str) -> tuple[list[str], int]:
    """Matchers, and after them for how many seconds.

    Raises:
        BadWord: they are not.
    """
    files = importlib.import_module("storage.alert_rule_files")  # not before the first paint
    try:
        parts = shlex.split(typed)
        seconds: int = files.duration(parts[-1] if parts else "")
    except ValueError as error:
        raise BadWord("close the quote") from error
    except errors.Invalid as error:
        raise BadWord("end with how long it lasts: 30m, 2h, 7d") from error
    if not parts[:-1] or not seconds:
        raise BadWord("say what is silenced, and how long")
    return parts[:-1], seconds


def _unsilence(row: AlertRow) -> Offer:
    if not row.silence:
        return Offer(unable="nothing under the cursor is silenced")
    return Offer(
        target=row.silence,
        effect=f"silence {row.silence}: it ends now; notifications are sent again",
    )


def _test(row: AlertRow) -> Offer:
    if row.of is not Of.RECEIVER:
        return Offer(unable="there is no receiver under the cursor")
    return Offer(target=row.name, effect=f"receiver {row.name} ({row.about}): a test notification")
