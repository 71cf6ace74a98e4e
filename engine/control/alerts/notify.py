"""Queues the notifications that are due, in the transaction of the round. Sends nothing.

Imported by `engine.control.alerts.rounds`.
"""

from __future__ import annotations

import platform

import msgspec

from engine.control.alerts import messages, routing
from engine.control.alerts.routing import Notice
from storage import alert_groups, alert_muting, alerts, notifications, receivers, silences
from storage.alerts import State
from storage.store import Session


def host() -> str:
    """The name of this box in messages."""
    return platform.node() or "paddock"


async def due(s: Session, *, clock_us: int, at_us: int) -> int:
    """Queue the notifications that are due; how many are.

    A repeat is not queued while an earlier message of its group has not been delivered: a receiver
    that was dead for a day would get the same news again and again.
    """
    known = await receivers.every(s)
    if not known:
        return 0
    active = await alerts.active(s)
    groups = await alert_groups.every(s)
    told = {number for group in groups.values() for number in group.told}
    firing = [alert for alert in active if alert.state is State.FIRING]
    past = await alerts.of_ids(s, told - {alert.id for alert in firing})
    muted = alert_muting.muted(active, await silences.lasting(s, at_us), at_us)
    notices = routing.plan(known, groups, firing, past, muted.keys(), clock_us=clock_us)
    waiting = await notifications.waiting_groups(s) if notices else set()
    for notice in notices:
        name = notice.receiver.name
        if notice.group is None:
            await alert_groups.forget(s, name, notice.key)
        elif notice.group != groups.get((name, notice.key)):
            await alert_groups.write(s, notice.group)
        if notice.due and not (notice.repeats and (name, notice.key) in waiting):
            await _queue(s, notice, at_us=at_us)
    return sum(notice.due for notice in notices)


async def _queue(s: Session, notice: Notice, *, at_us: int) -> None:
    await notifications.queue(
        s,
        receiver=notice.receiver.name,
        group_key=notice.key,
        status=messages.status(notice),
        title=messages.title(notice, host()),
        text=messages.text(notice),
        body=msgspec.json.encode(messages.body(notice)).decode(),
        at_us=at_us,
    )


async def test(s: Session, receiver: str, *, at_us: int) -> int:
    """Queue a message that says that it is a test; its number."""
    body, title, text = messages.tested(receiver, host(), at_us=at_us)
    return await notifications.queue(
        s, receiver=receiver, group_key="test", status="test",
        title=title, text=text, body=msgspec.json.encode(body).decode(), at_us=at_us,
    )  # fmt: skip
