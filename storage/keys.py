"""Keys of the gateway. A secret is shown once, where it was created, and never stored.

The store keeps an HMAC of its hash under the pepper of the box, which lies beside the store: who
has only the store can check no key and forge none. Read by the gateway, written by
`engine.control`.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import errors, ledger, names
from storage.home import pepper
from storage.home.pepper import Pepper
from storage.sqlite import location
from storage.store import stream

_PREFIX: Final = 11  # "pk-" and eight characters: enough to recognise, too few to guess the rest
_MAC: Final = re.compile(r"[0-9a-f]{64}")
_SHOWN: Final = re.compile(r"pk-[A-Za-z0-9_-]{4,13}")


class Role(StrEnum):
    """Who may do what; each may do what those before it may."""

    CLIENT = "client"
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    @property
    def rank(self) -> int:
        """0 for a client to 3 for an admin."""
        return list(Role).index(self)

    def may(self, needed: Role) -> bool:
        """Whether this role suffices where `needed` is asked for."""
        return self.rank >= needed.rank


class KeyRow(SQLModel, table=True):
    """A key as it is stored."""

    __tablename__: ClassVar[str] = "keys"

    id: int | None = Field(default=None, primary_key=True)
    name: str
    prefix: str
    mac: str
    role: str
    tenant: str
    synthetic: bool
    created_at_us: int
    created_by: str
    revoked_at_us: int | None


class PepperRow(SQLModel, table=True):
    """The one row that tells which pepper the keys are sealed with."""

    __tablename__: ClassVar[str] = "pepper"

    id: int | None = Field(default=None, primary_key=True)
    fingerprint: str


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A key without its secret. Requests by a `synthetic` key are counted as synthetic load."""

    id: int
    name: str
    prefix: str
    role: Role
    tenant: str
    synthetic: bool
    created_at_us: int
    created_by: str
    revoked_at_us: int | None


@dataclass(frozen=True, slots=True)
class Minted:
    """A new secret with what may be kept of it."""

    secret: str
    prefix: str
    sha256: str

    def __repr__(self) -> str:
        """Without the secret: a log must not hold it."""
        return f"Minted(prefix={self.prefix!r})"


def mint() -> Minted:
    """A new secret of 256 random bits."""
    secret = f"pk-{secrets.token_urlsafe(32)}"
    return Minted(secret=secret, prefix=secret[:_PREFIX], sha256=digest(secret))


def digest(secret: str) -> str:
    """The hash of a secret, which is what leaves the terminal. Secrets are random, not chosen."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


async def add(
    s: AsyncSession,
    *,
    name: str,
    prefix: str,
    mac: str,
    role: Role,
    tenant: str,
    synthetic: bool,
    actor: str,
    at_us: int,
    intent_id: int | None = None,
) -> Key:
    """Add a key by the HMAC of its hash, see `seal`.

    Raises:
        AlreadyExists: an active key has that name, or the secret is known already.
    """
    names.check("key", name)
    names.check("tenant", tenant)
    if not _MAC.fullmatch(mac) or not _SHOWN.fullmatch(prefix):
        raise errors.Invalid("A key is added by its prefix (pk-…) and an HMAC-SHA256 in hex.")
    same = (await s.scalars(select(KeyRow).where(col(KeyRow.mac) == mac))).first()
    if same is not None:
        raise errors.AlreadyExists(f"This key is known as {same.name}; create a new one.")
    if any(key.name == name and key.revoked_at_us is None for key in await every(s)):
        raise errors.AlreadyExists(
            f"There is already an active key {name}; choose another name or revoke it."
        )
    row = KeyRow(
        name=name,
        prefix=prefix,
        mac=mac,
        role=role.value,
        tenant=tenant,
        synthetic=synthetic,
        created_at_us=at_us,
        created_by=actor,
        revoked_at_us=None,
    )
    s.add(row)
    await s.flush()
    await ledger.write(
        s, actor=actor, verb="keys.add", noun="key", key=name, before=None,
        after={"prefix": prefix, "role": role.value, "tenant": tenant, "synthetic": synthetic},
        at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return _key(row)


async def revoke(
    s: AsyncSession, name: str, *, actor: str, at_us: int, intent_id: int | None = None
) -> Key:
    """Make a key worthless for good; `name` is its name or its prefix.

    Raises:
        NotFound: there is none. Moved: it was revoked before.
    """
    key = await find(s, name)
    row = await s.get_one(KeyRow, key.id)
    if row.revoked_at_us is not None:
        raise errors.Moved(f"The key {key.name} was revoked before.")
    row.revoked_at_us = at_us
    await s.flush()
    await ledger.write(
        s, actor=actor, verb="keys.revoke", noun="key", key=key.name, before="active",
        after="revoked", at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return _key(row)


async def reset(s: AsyncSession, *, actor: str, at_us: int, intent_id: int | None = None) -> int:
    """Revoke all keys and replace the pepper; how many were revoked.

    A crash before the commit leaves keys that cannot be checked, and resetting again helps.
    """
    rows = list(await s.scalars(select(KeyRow).where(col(KeyRow.revoked_at_us).is_(None))))
    for row in rows:
        row.revoked_at_us = at_us
    fresh = pepper.renew(await location.home(await s.connection()))
    kept = await s.get_one(PepperRow, 1)
    kept.fingerprint = fresh.fingerprint
    await s.flush()
    await ledger.write(
        s, actor=actor, verb="keys.reset", noun="key", key="all",
        before={"active": len(rows)}, after={"active": 0}, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return len(rows)


async def checked_with(s: AsyncSession) -> Pepper:
    """The pepper that the keys of this store are checked with.

    Raises:
        PepperLost: it is missing, or the one of another store.
    """
    place = await location.home(await s.connection())
    found = pepper.read(place)
    if not await sealed_with(s, found):
        raise pepper.lost(place, f"{place.secrets / pepper.NAME} is of another store")
    return found


async def trouble(s: AsyncSession) -> str | None:
    """Why no key can be checked; None while they can."""
    try:
        await checked_with(s)
    except errors.PepperLost as error:
        return str(error)
    return None


async def sealed_with(s: AsyncSession, found: Pepper) -> bool:
    """Whether a pepper is that of this store."""
    return (await s.get_one(PepperRow, 1)).fingerprint == found.fingerprint


async def seal(s: AsyncSession, sha256: str) -> str:
    """What a key with this hash is stored as.

    Raises:
        PepperLost: it is missing, or the one of another store.
    """
    return (await checked_with(s)).seal(sha256)


async def find(s: AsyncSession, name: str) -> Key:
    """By name or prefix; of several with one name the one that works, else the newest."""
    known = await every(s)
    fitting = [key for key in known if name in {key.name, key.prefix}]
    if not fitting:
        raise errors.unknown("key", name, [key.name for key in known])
    return max(fitting, key=lambda key: (key.revoked_at_us is None, key.id))


async def every(s: AsyncSession) -> list[Key]:
    """All keys, revoked ones too, oldest first."""
    query = select(KeyRow).order_by(col(KeyRow.id))
    return [_key(row) async for (row,) in stream(s, query)]


async def active(s: AsyncSession) -> dict[str, Key]:
    """The keys that are not revoked, by their HMAC."""
    query = select(KeyRow).where(col(KeyRow.revoked_at_us).is_(None))
    return {row.mac: _key(row) async for (row,) in stream(s, query)}


def _key(row: KeyRow) -> Key:
    return msgspec.convert(row, Key, from_attributes=True)
