"""Receivers: where notifications of alerts go, of which alerts, and how often.

The address holds tokens, so it is a secret: a file that `secret` refers to
(`storage.home.secrets`). A record has `shown`, which names the service and no token. Sends
nothing. Written by control, read by every package.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import ClassVar, Final
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import alert_matchers, blocked_addresses, errors, ledger, names

GROUP_BY: Final = ("alertname", "service")
GROUP_WAIT_S: Final = 30
GROUP_INTERVAL_S: Final = 300
REPEAT_INTERVAL_S: Final = 4 * 3600
MOST: Final = 50
_SCHEME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]{0,39}")


class Kind(StrEnum):
    """How a receiver is spoken to."""

    WEBHOOK = "webhook"  # POST of Alertmanager's JSON, version 4
    APPRISE = "apprise"  # one of apprise's services: slack://, mailto://, pagerduty:// …


class ReceiverRow(SQLModel, table=True):
    """A receiver as it is stored; its matchers and labels are JSON."""

    __tablename__: ClassVar[str] = "alert_receivers"

    name: str = Field(primary_key=True)
    kind: str
    shown: str
    secret: str
    signing: str | None
    matchers: str
    group_by: str
    group_wait_s: int
    group_interval_s: int
    repeat_interval_s: int
    send_resolved: bool
    created_at_us: int
    created_by: str


class Receiver(msgspec.Struct, frozen=True, kw_only=True):
    """One receiver; times as Alertmanager has them.

    `secret` refers to its address, `signing` to the key that signs a webhook's messages. It is
    notified of the alerts that all `matchers` fit, in groups with the same values of `group_by`:
    first after `group_wait_s`, of changes after `group_interval_s`, and again without changes
    after `repeat_interval_s`.
    """

    name: str
    kind: Kind
    shown: str
    secret: str
    signing: str | None
    matchers: tuple[str, ...]
    group_by: tuple[str, ...]
    group_wait_s: int
    group_interval_s: int
    repeat_interval_s: int
    send_resolved: bool
    created_at_us: int
    created_by: str


def kind_of(url: str) -> Kind:
    """What an address is: of a webhook if it is an http(s) one, else apprise's."""
    return Kind.WEBHOOK if url.lower().startswith(("http:", "https:")) else Kind.APPRISE


def shown(url: str) -> str:
    """An address without what may be a token: the host of a webhook, else the service alone.

    Raises:
        Invalid: it names no service, or where it is a webhook's no host that may be sent to.
    """
    scheme, separator, _ = url.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        raise errors.Invalid("The address begins with a scheme: https://… or slack://…")
    if kind_of(url) is Kind.APPRISE:
        return f"{scheme.lower()}://…"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if not host:
        raise errors.Invalid("The address has no host that can be called: https://HOST[:PORT]/…")
    if blocked_addresses.blocked(host):
        raise errors.Invalid(f"The receiver cannot be used: {blocked_addresses.WHY}.")
    host = f"[{host}]" if ":" in host else host
    return f"{scheme.lower()}://{host}{'' if port is None else f':{port}'}/…"


async def add(
    s: AsyncSession,
    *,
    name: str,
    kind: Kind,
    shown: str,
    secret: str,
    signing: str | None,
    matchers: Iterable[str],
    group_by: Iterable[str],
    group_wait_s: int,
    group_interval_s: int,
    repeat_interval_s: int,
    send_resolved: bool,
    actor: str,
    at_us: int,
    intent_id: int | None,
) -> Receiver:
    """Add a receiver.

    Raises:
        AlreadyExists: the name is taken. Invalid, BadName: a value does not fit.
    """
    names.check("receiver", name)
    known = await every(s)
    if any(each.name == name for each in known):
        raise errors.AlreadyExists(f"There is a receiver {name} already; remove it first.")
    if len(known) >= MOST:
        raise errors.Invalid(f"There are at most {MOST} receivers.")
    row = ReceiverRow(
        name=name,
        kind=kind.value,
        shown=shown,
        secret=secret,
        signing=signing,
        matchers=msgspec.json.encode(alert_matchers.check(matchers)).decode(),
        group_by=msgspec.json.encode(tuple(group_by)).decode(),
        group_wait_s=group_wait_s,
        group_interval_s=group_interval_s,
        repeat_interval_s=repeat_interval_s,
        send_resolved=send_resolved,
        created_at_us=at_us,
        created_by=actor,
    )
    s.add(row)
    await s.flush()
    await ledger.write(
        s, actor=actor, verb="alerts.add_receiver", noun="receiver", key=name, before=None,
        after=f"{kind.value} {shown}", at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return _receiver(row)


async def remove(
    s: AsyncSession, name: str, *, actor: str, at_us: int, intent_id: int | None
) -> Receiver:
    """Remove a receiver.

    Raises:
        NotFound: there is none of this name.
    """
    before = await find(s, name)
    await s.execute(delete(ReceiverRow).where(col(ReceiverRow.name) == name))
    await ledger.write(
        s, actor=actor, verb="alerts.remove_receiver", noun="receiver", key=name,
        before=f"{before.kind.value} {before.shown}", after=None, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return before


async def find(s: AsyncSession, name: str) -> Receiver:
    """One receiver.

    Raises:
        NotFound: there is none of this name.
    """
    row = await s.get(ReceiverRow, name, populate_existing=True)
    if row is None:
        raise errors.unknown("receiver", name, [each.name for each in await every(s)])
    return _receiver(row)


async def every(s: AsyncSession) -> list[Receiver]:
    """All receivers by name."""
    rows = await s.scalars(select(ReceiverRow).order_by(col(ReceiverRow.name)))
    return [_receiver(row) for row in rows]


async def secrets(s: AsyncSession) -> set[str]:
    """The references that receivers hold."""
    return {
        reference
        for each in await every(s)
        for reference in (each.secret, each.signing)
        if reference is not None
    }


def _receiver(row: ReceiverRow) -> Receiver:
    kept = {field: getattr(row, field) for field in Receiver.__struct_fields__}
    kept["kind"] = Kind(row.kind)
    for field in ("matchers", "group_by"):
        kept[field] = msgspec.json.decode(kept[field], type=tuple[str, ...])
    return Receiver(**kept)
