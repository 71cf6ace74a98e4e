"""Services with the split, the owner and the freeze that they had at a past moment.

Also those that were removed since. Imported by `app`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from storage import rollout_policies, split_history, unknown_names
from storage.freezes import Freeze
from storage.ledger import Entry
from storage.past import entries
from storage.rollout_steps import OnLabel
from storage.service_rows import Owner, OwnerKind, PrefixCache, Service
from storage.split_history import SplitRow
from storage.splits import Split

_KINDS: Final = {"rollout": OwnerKind.ROLLOUT, "A/B test": OwnerKind.AB_TEST}


async def every(s: AsyncSession, at_us: int) -> list[Service]:
    """The services that there were, by name."""
    latest: dict[str, dict[str, Entry]] = {}
    for entry in await entries.last(s, "service", at_us, by_verb=True):
        latest.setdefault(entry.key, {})[entry.verb] = entry
    settings = await entries.every(s, "service", at_us, "services.set")
    box = _freeze(await entries.last(s, "box", at_us), box=True)
    found = []
    for name, of in sorted(latest.items()):
        created = of.get("services.create")
        if created is None or _later(of.get("services.remove"), created):
            continue
        split, version = await _split(s, name, created.at_us, at_us)
        if split is None:
            continue
        kept = dict(created.after)
        for entry in settings:
            if entry.key == name and entry.id > created.id:
                kept |= entry.after
        changes = [each for each in of.values() if each.id > created.id]
        frozen = [each for each in changes if each.verb in {"services.freeze", "services.unfreeze"}]
        found.append(
            Service(
                name=name,
                split=split,
                record_text=bool(kept["record_text"]),
                version=version,
                on_label=OnLabel(kept.get("on_label", OnLabel.AT_ONCE)),
                rollout_policy=rollout_policies.decode(kept.get("rollout_policy")),
                prefix_cache=PrefixCache(kept.get("prefix_cache", PrefixCache.SHARED)),
                webhook_secret="" if kept.get("webhooks_signed") else None,
                owner=_owner(of, created),
                frozen=_freeze(sorted(frozen, key=lambda each: each.id)) or box,
                created_at_us=created.at_us,
                created_by=created.actor,
                staging_of=kept.get("staging_of"),
            )
        )
    return found


async def find(s: AsyncSession, name: str, at_us: int) -> Service:
    """One service.

    Raises:
        NotFound: there was none of this name then.
    """
    return unknown_names.named("service", name, await every(s, at_us))


async def history(s: AsyncSession, service: Service, at_us: int, limit: int = 100) -> list[Split]:
    """The splits of a service up to a moment, newest first."""
    query = _splits(service.name, service.created_at_us, at_us).order_by(col(SplitRow.id).desc())
    return [split_history.record(row) for row in await s.scalars(query.limit(limit))]


def _splits(name: str, since_us: int, at_us: int):  # type: ignore[no-untyped-def]  # noqa: ANN202
    return select(SplitRow).where(
        col(SplitRow.service) == name, col(SplitRow.set_at_us).between(since_us, at_us)
    )


async def _split(s: AsyncSession, name: str, since_us: int, at_us: int) -> tuple[Split | None, int]:
    """The split that was in force, and how many there had been."""
    rows = _splits(name, since_us, at_us).subquery()
    newest, count = (await s.execute(select(func.max(rows.c.id), func.count(rows.c.id)))).one()
    if newest is None:
        return None, 0
    return split_history.record(await s.get_one(SplitRow, newest)), count


def _later(entry: Entry | None, than: Entry) -> bool:
    return entry is not None and entry.id > than.id


def _owner(of: Mapping[str, Entry], created: Entry) -> Owner | None:
    entry = of.get("services.owner")
    if entry is None or entry.id < created.id or entry.after is None:
        return None
    kind, _, id = str(entry.after).rpartition(" ")
    return Owner(_KINDS[kind], id)


def _freeze(changes: Iterable[Entry], *, box: bool = False) -> Freeze | None:
    """The freeze that the last of these changes left."""
    last = None
    for entry in changes:
        last = entry
    if last is None or last.after is None:
        return None
    return Freeze(by=last.actor, reason=str(last.after), at_us=last.at_us, box=box)
