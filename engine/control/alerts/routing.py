"""Which notifications are due. Pure.

The semantics are Alertmanager's: a receiver is notified of a group first after `group_wait`, of
changes every `group_interval`, and again without changes every `repeat_interval`. Silenced,
inhibited and acknowledged alerts send nothing, and a receiver that was notified of an alert is
notified of its end. Imported by `engine.control.alerts.notify`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from storage import alert_matchers, alert_muting
from storage.alert_groups import Notified
from storage.alerts import Alert
from storage.receivers import Receiver

_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Notice:
    """What becomes of one group of one receiver; without alerts nothing is sent.

    `group` is the group as it is kept from now on, None where it is over.
    """

    receiver: Receiver
    labels: Mapping[str, str]
    key: str
    group: Notified | None
    firing: tuple[Alert, ...] = ()
    resolved: tuple[Alert, ...] = ()
    repeats: bool = False
    """Whether it says nothing that the receiver was not notified of before."""

    @property
    def due(self) -> bool:
        """Whether a notification is to be queued."""
        return bool(self.firing or self.resolved)


def key_of(labels: Mapping[str, str]) -> str:
    """A group's key: its labels, as JSON."""
    return msgspec.json.encode(sorted(labels.items())).decode()


def plan(
    receivers: Sequence[Receiver],
    known: Mapping[tuple[str, str], Notified],
    firing: Sequence[Alert],
    ended: Mapping[int, Alert],
    muted: Collection[int],
    *,
    clock_us: int,
) -> list[Notice]:
    """The notices of all groups, `clock_us` on the clock of evaluations.

    `firing` are all that fire, `muted` those of them that send nothing; `ended` are those that
    receivers were notified of and that have ended.
    """
    notices = []
    for receiver in receivers:
        fitting = [alert for alert in firing if alert_matchers.fit(receiver.matchers, alert.labels)]
        groups = {
            key_of(group.labels): (group.labels, group.alerts)
            for group in alert_muting.groups(fitting, receiver.group_by)
        }
        for name, key in known:
            if name == receiver.name and key not in groups:
                labels = dict(msgspec.json.decode(key, type=list[tuple[str, str]]))
                groups[key] = (labels, ())
        for key, (labels, alerts) in groups.items():
            before = known.get((receiver.name, key))
            audible = tuple(alert for alert in alerts if alert.id not in muted)
            if before is None and not audible:
                continue
            notice = Notice(receiver, labels, key, before)
            notices.append(_notice(notice, alerts, audible, ended, clock_us))
    return notices


def _notice(
    notice: Notice,
    alerts: Sequence[Alert],
    audible: tuple[Alert, ...],
    ended: Mapping[int, Alert],
    clock_us: int,
) -> Notice:
    receiver = notice.receiver
    group = notice.group or Notified(
        receiver=receiver.name, key=notice.key, opened_clock_us=clock_us
    )
    last = group.flushed_clock_us
    wait_s = receiver.group_wait_s if last is None else receiver.group_interval_s
    if clock_us - (group.opened_clock_us if last is None else last) < wait_s * _US:
        unborn = last is None and not alerts
        return replace(notice, group=None if unborn else group)
    resolved = tuple(ended[number] for number in group.told if number in ended)
    news = any(alert.id not in group.told for alert in audible)
    repeats = bool(audible) and (
        group.told_clock_us is None
        or clock_us - group.told_clock_us >= receiver.repeat_interval_s * _US
    )
    still = {alert.id for alert in alerts}
    kept = tuple(number for number in group.told if number in still)
    told = tuple(dict.fromkeys([*kept, *(alert.id for alert in audible)]))
    says = news or repeats or bool(resolved and receiver.send_resolved)
    over = not alerts and (says or not told)
    after = msgspec.structs.replace(
        group,
        flushed_clock_us=clock_us,
        told=told if says else kept,
        told_clock_us=clock_us if says else group.told_clock_us,
    )
    notice = replace(notice, group=None if over else after)
    if not says:
        return notice
    told_ends = resolved if receiver.send_resolved else ()
    return replace(notice, firing=audible, resolved=told_ends, repeats=not news and not told_ends)
