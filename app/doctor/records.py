"""What the box keeps: its store, the backups of it, its keys.

`read` reads; `judge` is pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from app import words
from app.doctor.finding import Finding, ok, problem, unknown, warning
from storage import keys, ledger, ledger_chain, receivers
from storage.keys import Key, Role
from storage.ledger_chain import Verdict
from storage.store import Store

_DAY_US: Final = 24 * 3_600 * 1_000_000
_OLD_BACKUP_US: Final = 7 * _DAY_US
_LARGE_LOG: Final = 1_000_000_000
_SKEW_US: Final = 60 * 1_000_000
_BACKUP: Final = "store.backup"


class Records(msgspec.Struct, frozen=True, kw_only=True):
    """What was read. Sizes are in bytes.

    `damage` is what the store's own check says. `newest_us` is the newest entry of the ledger,
    `backup_us` the newest backup that it records.
    """

    now_us: int
    damage: tuple[str, ...]
    size: int
    log_size: int
    newest_us: int | None
    backup_us: int | None
    pepper: str | None
    keys: tuple[Key, ...]
    ledger: Verdict
    receivers: tuple[str, ...]


async def read(store: Store, now_us: int) -> Records:
    """Check the whole store, and read what the rest needs."""
    database = store.home.database
    log = database.with_name(f"{database.name}-wal")
    damage = tuple(await store.check())
    async with store.read() as s:
        newest = await ledger.tail(s, 1)
        backups = [
            each for each in await ledger.tail(s, 1_000, noun="store") if each.verb == _BACKUP
        ]
        return Records(
            now_us=now_us,
            damage=damage,
            size=database.stat().st_size,
            log_size=log.stat().st_size if log.exists() else 0,
            newest_us=newest[0].at_us if newest else None,
            backup_us=backups[0].at_us if backups else None,
            pepper=await keys.trouble(s),
            keys=tuple(await keys.every(s)),
            ledger=await ledger_chain.verify(s),
            receivers=tuple(each.name for each in await receivers.every(s)),
        )


def judge(found: Records) -> Iterator[Finding]:
    """All findings."""
    if found.damage:
        advice = "Stop the node and bring a backup in: `paddock restore FILE`."
        yield problem("store", f"It is damaged: {found.damage[0]}.", advice)
    else:
        yield ok("store", f"It is whole: {words.size(found.size)}.")
    if found.log_size > _LARGE_LOG:
        said = f"Its write-ahead log has {words.size(found.log_size)}: some reader holds it open."
        yield warning("store", said, "End old screens and scripts that read the store.")
    if found.newest_us is not None and found.newest_us > found.now_us + _SKEW_US:
        ahead = words.duration(found.newest_us - found.now_us)
        said = f"The store has entries {ahead} in the future: the clock was set back."
        yield problem("clock", said, "Set the clock right; until then ages are wrong.")
    if found.ledger.broken is not None:
        said = f"Entry {found.ledger.broken}: {found.ledger.why}."
        yield problem(
            "ledger", said, "Compare it with a backup; the file was changed from outside."
        )
    else:
        yield ok(
            "ledger", f"{words.counted(found.ledger.entries, 'entry', 'entries')}, none changed."
        )
    yield _backup(found)
    if found.receivers:
        yield ok("alerts", f"Sent to {', '.join(found.receivers)}.")
    else:
        advice = (
            "`paddock alerts receivers add NAME --url-file FILE`, then `alerts test-notify NAME`."
        )
        yield warning("alerts", "No receiver is set up: alerts are only shown on this box.", advice)
    yield from _keys(found.pepper, found.keys)


def _backup(found: Records) -> Finding:
    advice = "`paddock backup FILE`, best from a timer."
    if found.backup_us is None:
        return warning("backup", "No backup is recorded.", advice)
    age = found.now_us - found.backup_us
    said = f"The newest is {words.age(age)} old."
    return warning("backup", said, advice) if age > _OLD_BACKUP_US else ok("backup", said)


def _keys(pepper: str | None, every: Sequence[Key]) -> Iterator[Finding]:
    if pepper is not None:
        advice = (
            "Restore the file, or revoke all keys with `paddock keys reset` and create new ones."
        )
        yield problem("keys", pepper.rstrip(".") + ".", advice)
        return
    active = [each for each in every if each.revoked_at_us is None]
    clients = [each for each in active if each.role is Role.CLIENT]
    if not active:
        yield warning(
            "keys",
            "No key is active: no client can ask.",
            "`paddock keys create --name NAME` creates one.",
        )
    elif not clients:
        said = f"{words.counted(len(active), 'key')} active, none of them for a client."
        yield unknown("keys", said)
    else:
        yield ok("keys", f"{words.counted(len(active), 'key')} active.")
