"""Which firing alerts send no notifications: silenced, in maintenance, inhibited, acknowledged.

A critical alert inhibits warnings and infos about the same thing: those whose labels, but for the
name and the severity, are the same; alerts about nothing in particular inhibit none. Pure. Imported
by control and by `app`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

import msgspec

from storage import silences
from storage.alerts import Alert, Severity, State
from storage.silences import Silence


class Mute(StrEnum):
    """Why a firing alert sends no notifications."""

    MAINTENANCE = "in maintenance"
    SILENCED = "silenced"
    INHIBITED = "inhibited"
    ACKNOWLEDGED = "acknowledged"


class Muted(msgspec.Struct, frozen=True, kw_only=True):
    """Why, and by what: silence 3, window 4, alert 5, or the person."""

    mute: Mute
    by: str

    @property
    def words(self) -> str:
        """Silenced by silence 3, in maintenance (window 4)."""
        if self.mute is Mute.MAINTENANCE:
            return f"{self.mute.value} ({self.by})"
        return f"{self.mute.value} by {self.by}"


def muted(active: Sequence[Alert], known: Sequence[Silence], now_us: int) -> Mapping[int, Muted]:
    """By firing alert, why it sends no notifications."""
    firing = [alert for alert in active if alert.state is State.FIRING]
    critical = [alert for alert in firing if alert.severity is Severity.CRITICAL]
    found: dict[int, Muted] = {}
    for alert in firing:
        silence = silences.of(known, alert.labels, now_us)
        source = _inhibiting(alert, critical)
        if silence is not None:
            mute = Mute.SILENCED if silence.maintenance is None else Mute.MAINTENANCE
            found[alert.id] = Muted(mute=mute, by=f"{silence.noun} {silence.id}")
        elif source is not None:
            found[alert.id] = Muted(mute=Mute.INHIBITED, by=f"alert {source.id}")
        elif alert.acknowledged_by is not None:
            found[alert.id] = Muted(mute=Mute.ACKNOWLEDGED, by=alert.acknowledged_by)
    return found


def _inhibiting(alert: Alert, critical: Iterable[Alert]) -> Alert | None:
    if alert.severity is Severity.CRITICAL or not alert.about:
        return None
    return next((each for each in critical if each.about == alert.about), None)


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Alerts of one notification: those with the same values of some labels."""

    labels: dict[str, str]
    alerts: tuple[Alert, ...]


def groups(found: Iterable[Alert], by: Sequence[str]) -> list[Group]:
    """Alerts by the values that they have of some labels; incidents group by service."""
    together: dict[tuple[tuple[str, str], ...], list[Alert]] = {}
    for alert in found:
        key = tuple((label, alert.labels.get(label, "")) for label in by)
        together.setdefault(key, []).append(alert)
    return [Group(labels=dict(key), alerts=tuple(each)) for key, each in together.items()]
