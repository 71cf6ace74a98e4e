"""The alert rules in force: those that are shipped, as far as people have not replaced them.

A row is never changed; the newest of a name counts. Version 0 of a rule is the shipped one. Written
by control, read by every package.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import alert_rule_files, alert_rules, errors, ledger
from storage.alert_rules import Rule


class Kind(StrEnum):
    """What a version does."""

    SET = "set"  # a person set the rule of its body
    REMOVED = "removed"  # the rule is not evaluated
    SHIPPED = "shipped"  # the shipped rule is in force again


class VersionRow(SQLModel, table=True):
    """A version as it is stored; the body is JSON."""

    __tablename__: ClassVar[str] = "alert_rule_versions"

    id: int | None = Field(default=None, primary_key=True)
    name: str
    version: int
    kind: str
    body: str | None
    created_at_us: int
    created_by: str
    intent_id: int | None


class Versioned(msgspec.Struct, frozen=True, kw_only=True):
    """A rule of a version; `rule` is None where it was removed.

    `created_at_us` and `created_by` are None for a shipped rule that was never changed.
    """

    name: str
    version: int
    kind: Kind
    rule: Rule | None
    created_at_us: int | None = None
    created_by: str | None = None


async def current(s: AsyncSession) -> dict[str, Versioned]:
    """The newest version of every rule, removed ones included, by name."""
    newest = select(func.max(col(VersionRow.id))).group_by(col(VersionRow.name))
    query = select(VersionRow).where(col(VersionRow.id).in_(newest)).order_by(col(VersionRow.name))
    found = {
        name: Versioned(name=name, version=0, kind=Kind.SHIPPED, rule=rule)
        for name, rule in alert_rule_files.shipped().items()
    }
    for row in await s.scalars(query):
        found[row.name] = _versioned(row)
    return found


async def in_force(s: AsyncSession) -> dict[str, Versioned]:
    """The rules that are evaluated, by name."""
    return {name: each for name, each in (await current(s)).items() if each.rule is not None}


async def find(s: AsyncSession, name: str) -> Versioned:
    """The newest version of a rule.

    Raises:
        NotFound: there was never one.
    """
    known = await current(s)
    if name not in known:
        raise errors.unknown("alert rule", name, sorted(known))
    return known[name]


async def history(s: AsyncSession, name: str) -> list[Versioned]:
    """All versions of a rule, oldest first; the shipped one is version 0."""
    shipped = alert_rule_files.shipped().get(name)
    found = []
    if shipped is not None:
        found.append(Versioned(name=name, version=0, kind=Kind.SHIPPED, rule=shipped))
    query = select(VersionRow).where(col(VersionRow.name) == name).order_by(col(VersionRow.version))
    return found + [_versioned(row) for row in await s.scalars(query)]


async def set(
    s: AsyncSession, rule: Rule, *, actor: str, at_us: int, intent_id: int | None
) -> Versioned | None:
    """Make a rule the one in force; None where it already is.

    Raises:
        BadRule: it cannot be evaluated. Invalid: there would be too many.
    """
    alert_rules.check(rule)
    known = await current(s)
    before = known.get(rule.name)
    if before is not None and before.rule == rule:
        return None
    if before is None and len(known) >= alert_rules.MOST_RULES:
        raise errors.Invalid(f"There are at most {alert_rules.MOST_RULES} alert rules.")
    return await _add(s, rule.name, Kind.SET, rule, actor=actor, at_us=at_us, intent_id=intent_id)


async def remove(
    s: AsyncSession, name: str, *, actor: str, at_us: int, intent_id: int | None
) -> Versioned | None:
    """Remove a rule from those in force; None if it is removed already.

    Raises:
        NotFound: there was never one.
    """
    if (await find(s, name)).kind is Kind.REMOVED:
        return None
    return await _add(s, name, Kind.REMOVED, None, actor=actor, at_us=at_us, intent_id=intent_id)


async def reset(
    s: AsyncSession, name: str, *, actor: str, at_us: int, intent_id: int | None
) -> Versioned | None:
    """Put the shipped rule of a name in force again; None where it is.

    Raises:
        NotFound: none of this name is shipped.
    """
    if name not in alert_rule_files.shipped():
        known = sorted(alert_rule_files.shipped())
        raise errors.unknown("shipped alert rule", name, known)
    if (await find(s, name)).kind is Kind.SHIPPED:
        return None
    return await _add(s, name, Kind.SHIPPED, None, actor=actor, at_us=at_us, intent_id=intent_id)


async def _add(
    s: AsyncSession,
    name: str,
    kind: Kind,
    rule: Rule | None,
    *,
    actor: str,
    at_us: int,
    intent_id: int | None,
) -> Versioned:
    past = await history(s, name)
    before = past[-1].rule if past else None
    row = VersionRow(
        name=name,
        version=(past[-1].version if past else 0) + 1,
        kind=kind.value,
        body=None if rule is None else msgspec.json.encode(rule).decode(),
        created_at_us=at_us,
        created_by=actor,
        intent_id=intent_id,
    )
    s.add(row)
    await s.flush()
    added = _versioned(row)
    await ledger.write(
        s, actor=actor, verb=f"alerts.rule_{kind.value}", noun="alert rule", key=name,
        before=before, after=added.rule, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return added


def _versioned(row: VersionRow) -> Versioned:
    kind = Kind(row.kind)
    rule = alert_rule_files.shipped().get(row.name) if kind is Kind.SHIPPED else None
    if row.body is not None:
        rule = msgspec.json.decode(row.body, type=Rule)
    return Versioned(
        name=row.name,
        version=row.version,
        kind=kind,
        rule=rule,
        created_at_us=row.created_at_us,
        created_by=row.created_by,
    )
