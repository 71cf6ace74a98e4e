"""The ledger is only ever added to, and what was done to it all the same is found."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import ledger, ledger_chain
from storage import store as stores
from storage.ledger_chain import Head, Verdict
from storage.store import Session, Store
from tests import old_homes

UNSEAL = "DROP TRIGGER ledger_keeps_update; DROP TRIGGER ledger_keeps_delete;"


async def fill(store: Store, count: int) -> None:
    """Entries about a service."""

    async def work(s: Session) -> None:
        for number in range(count):
            await ledger.write(
                s, actor="kim", verb="services.set", noun="service", key="support",
                before={"n": number}, after={"n": number + 1}, at_us=number,
            )  # fmt: skip

    await store.write(work)


def tamper(store: Store, script: str) -> None:
    """As somebody who may write the file."""
    with contextlib.closing(sqlite3.connect(store.home.database)) as file:
        file.executescript(UNSEAL + script)


async def verdict(store: Store, noted: Head | None = None) -> Verdict:
    """What a verification finds."""
    async with store.read() as s:
        return await ledger_chain.verify(s, noted)


async def test_a_ledger_that_nobody_touched_is_whole(store: Store) -> None:
    """Also an empty one, and one of several pages."""
    assert await verdict(store) == Verdict(entries=0, head=Head(entry=0, hash=""))
    await fill(store, 4_100)
    found = await verdict(store)
    assert (found.entries, found.head.entry, found.broken) == (4_100, 4_100, None)
    assert (await verdict(store, found.head)).broken is None


@pytest.mark.parametrize(
    ("script", "broken", "why"),
    [
        ("UPDATE ledger SET actor = 'nobody' WHERE id = 3;", 3, "not as it was written"),
        ("UPDATE ledger SET reason = 'x' WHERE id = 10;", 10, "not as it was written"),
        ("DELETE FROM ledger WHERE id = 4;", 4, "not there"),
        ("DELETE FROM ledger WHERE id = 1;", 1, "not there"),
        ("DELETE FROM ledger WHERE id > 7;", 8, "was written and is not there"),
        ("UPDATE ledger SET before = NULL WHERE id = 2;", 2, "not as it was written"),
    ],
)
async def test_the_first_entry_that_was_touched_is_named(
    store: Store, script: str, broken: int, why: str
) -> None:
    """Whether it was changed or removed, in the middle or at the end."""
    await fill(store, 10)
    tamper(store, script)
    found = await verdict(store)
    assert found.broken == broken
    assert why in found.why


async def test_entries_cut_off_are_missed_after_others_were_added(store: Store) -> None:
    """The numbers go on where they were."""
    await fill(store, 10)
    tamper(store, "DELETE FROM ledger WHERE id > 7;")
    await fill(store, 3)
    assert (await verdict(store)).broken == 8


async def test_a_chain_that_was_computed_anew_does_not_fit_a_noted_head(store: Store) -> None:
    """The only thing that somebody who writes the file cannot change is what is elsewhere."""
    await fill(store, 10)
    noted = (await verdict(store)).head
    tamper(store, "DELETE FROM ledger; DELETE FROM sqlite_sequence WHERE name = 'ledger';")
    await fill(store, 5)
    assert (await verdict(store)).broken is None
    assert (await verdict(store, noted)).broken == 6
    await fill(store, 7)
    found = await verdict(store, noted)
    assert (found.broken, "noted" in found.why) == (10, True)


async def test_the_store_refuses_to_change_or_delete_an_entry(store: Store) -> None:
    """By whatever statement."""
    await fill(store, 1)
    with contextlib.closing(sqlite3.connect(store.home.database)) as file:
        replaced = "REPLACE INTO ledger SELECT * FROM ledger WHERE id = 1"
        for script in ("UPDATE ledger SET actor = 'x'", "DELETE FROM ledger", replaced):
            with pytest.raises(sqlite3.IntegrityError, match="only ever added to"):
                file.execute(script)


async def test_the_ledger_of_an_old_home_is_chained(tmp_path: Path) -> None:
    """From its first entry on."""
    store = await stores.open(old_homes.first_light(tmp_path / "home"))
    try:
        found = await verdict(store)
        assert found.broken is None
        assert found.entries >= 92
    finally:
        await store.close()


texts = st.none() | st.text(max_size=20)


@given(
    st.lists(st.tuples(st.integers(), *[texts] * 6, st.none() | st.integers(), texts), min_size=1),
    st.data(),
)
def test_any_change_of_an_entry_changes_every_hash_after_it(
    entries: list[tuple[object, ...]], data: st.DataObject
) -> None:
    """Whatever column it is in."""

    def heads(of: list[tuple[object, ...]]) -> list[str]:
        last, found = ledger_chain.BEGINNING, []
        for each in of:
            last = ledger_chain.link(last, each)
            found.append(last)
        return found

    at = data.draw(st.integers(0, len(entries) - 1))
    column = data.draw(st.integers(0, 8))
    other = data.draw(st.text(min_size=21, max_size=30) | st.integers(10**9, 10**10))
    touched = [*entries]
    touched[at] = (*entries[at][:column], other, *entries[at][column + 1 :])
    before, after = heads(entries), heads(touched)
    if touched[at] != entries[at]:
        assert before[:at] == after[:at]
        assert all(a != b for a, b in zip(before[at:], after[at:], strict=True))
