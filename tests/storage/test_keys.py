"""Keys: the secret is never kept; a revoked key is worthless for good."""

from __future__ import annotations

import hashlib
import shutil
import stat
from pathlib import Path

import pytest

from storage import errors, keys, ledger
from storage import store as stores
from storage.home import paths as homes
from storage.home import pepper
from storage.home.paths import Home
from storage.keys import Key, Minted, Role
from storage.store import Session, Store


async def add(store: Store, minted: Minted, name: str = "demo", prefix: str | None = None) -> Key:
    """Add what was minted."""

    async def work(s: Session) -> Key:
        return await keys.add(
            s,
            name=name,
            prefix=prefix or minted.prefix,
            mac=await keys.seal(s, minted.sha256),
            role=Role.CLIENT,
            tenant="acme",
            synthetic=False,
            actor="sara",
            at_us=1,
        )

    return await store.write(work)


async def revoke(store: Store, name: str) -> Key:
    """Revoke by name or prefix."""
    return await store.write(lambda s: keys.revoke(s, name, actor="sara", at_us=2))


def test_a_secret_is_found_by_its_hash_alone() -> None:
    """No two are alike, and no log that prints one shows it."""
    minted, other = keys.mint(), keys.mint()
    assert minted.secret.startswith("pk-")
    assert minted.secret != other.secret
    assert minted.sha256 == hashlib.sha256(minted.secret.encode()).hexdigest()
    assert minted.sha256 == keys.digest(minted.secret)
    assert minted.secret not in repr(minted)
    assert len(minted.secret) >= len(minted.prefix) + 32


async def test_the_secret_is_nowhere_in_the_home(home: Home, store: Store) -> None:
    """Not in a table, not in the ledger, not in the log of the database."""
    minted = keys.mint()
    await add(store, minted)
    everything = b"".join(path.read_bytes() for path in home.root.rglob("*") if path.is_file())
    assert minted.prefix.encode() in everything
    assert minted.secret.encode() not in everything


async def test_a_store_without_its_pepper_is_of_no_use(
    home: Home, store: Store, tmp_path: Path
) -> None:
    """Who has a copy of the store finds neither a key nor its hash, and can check none."""
    minted = keys.mint()
    await add(store, minted)
    async with store.read() as s:
        assert list(await keys.active(s)) == [await keys.seal(s, minted.sha256)]
    value = pepper.read(home).value
    await store.close()
    copy = homes.make(Home(tmp_path / "copy"))
    shutil.copy(home.database, copy.database)
    taken = copy.database.read_bytes()
    secrets = (minted.secret, minted.sha256, value.hex())
    assert not any(each.encode() in taken for each in secrets)
    assert value not in taken
    thief = await stores.open(copy)
    async with thief.read() as s:
        with pytest.raises(errors.PepperLost, match="from a backup"):
            await keys.seal(s, minted.sha256)
        pepper.renew(copy)
        with pytest.raises(errors.PepperLost, match="of another store"):
            await keys.seal(s, minted.sha256)
    await thief.close()


async def test_the_pepper_is_its_owners_alone_and_made_once(home: Home, store: Store) -> None:
    """Mode 0600, never printed; opening the store again keeps it; damage and loss differ."""
    path = home.secrets / pepper.NAME
    found = pepper.read(home)
    assert (stat.S_IMODE(path.stat().st_mode), len(found.value)) == (0o600, 32)
    assert found.value.hex() not in repr(found)
    await (await stores.open(home)).close()
    assert pepper.obtain(home) == found
    path.write_text("x")
    with pytest.raises(errors.PepperLost, match="damaged"):
        pepper.obtain(home)
    async with store.read() as s:
        assert "paddock keys reset" in (await keys.trouble(s) or "")


async def test_after_a_reset_no_key_opens_and_new_ones_do(home: Home, store: Store) -> None:
    """Also when the pepper was lost; all of it in the ledger."""
    await add(store, keys.mint())
    (home.secrets / pepper.NAME).unlink()
    assert await store.write(lambda s: keys.reset(s, actor="sara", at_us=3)) == 1
    minted = keys.mint()
    await add(store, minted)
    async with store.read() as s:
        assert list(await keys.active(s)) == [await keys.seal(s, minted.sha256)]
        (entry,) = await ledger.of(s, "key", "all")
        assert (entry.verb, entry.actor) == ("keys.reset", "sara")


async def test_a_revoked_key_opens_nothing(store: Store) -> None:
    """It stays in the list; its name may be given again; it cannot be revoked twice."""
    first, second = keys.mint(), keys.mint()
    await add(store, first)
    await revoke(store, "demo")
    with pytest.raises(errors.Moved, match="revoked before"):
        await revoke(store, first.prefix)
    await add(store, second)
    async with store.read() as s:
        assert (await keys.find(s, "demo")).prefix == second.prefix
        assert [key.revoked_at_us for key in await keys.every(s)] == [2, None]
        assert [entry.verb for entry in await ledger.of(s, "key", "demo")] == [
            "keys.add",
            "keys.revoke",
            "keys.add",
        ]


async def test_a_key_is_added_once_under_one_name(store: Store) -> None:
    """A name that works is taken, a secret that is known is not new."""
    minted = keys.mint()
    await add(store, minted)
    with pytest.raises(errors.AlreadyExists, match="already an active key"):
        await add(store, keys.mint())
    with pytest.raises(errors.AlreadyExists, match="known as demo"):
        await add(store, minted, "other")
    with pytest.raises(errors.Invalid, match="HMAC"):
        await add(store, keys.mint(), "third", prefix=keys.mint().secret)
    with pytest.raises(errors.NotFound, match="known: demo"):
        await revoke(store, "nobody")


def test_roles_hold_all_that_is_below_them() -> None:
    """Client < viewer < operator < admin."""
    assert [role.rank for role in Role] == [0, 1, 2, 3]
    assert Role.ADMIN.may(Role.CLIENT)
    assert Role.OPERATOR.may(Role.OPERATOR)
    assert not Role.VIEWER.may(Role.OPERATOR)
