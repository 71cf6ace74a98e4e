"""The last moments of a gateway that was killed, as the next one finds them."""

from __future__ import annotations

import asyncio
import os
import stat
import tempfile
import threading
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.execution import journal as journals
from engine.execution.journal import Journal, Row
from engine.execution.recorder import Recorder
from storage import requests, texts
from storage import store as stores
from storage.home import paths as homes
from storage.home.paths import Home
from storage.requests import Outcome, Request
from storage.texts import Text
from tests.engine.execution import disks

STORE = "a" * 32
ONE = Request(
    id="req_0", at_us=1, service="ops", release=1, worker="w", endpoint="/v1/completions",
    key_id=1, tenant="t", outcome=Outcome.OK, seed=2**63 + 5,
)  # fmt: skip


def request(number: int, **fields: object) -> Request:
    """One of many."""
    return msgspec.structs.replace(ONE, id=f"req_{number}", **fields)


def text(number: int) -> Text:
    """What was said in it."""
    return Text(request_id=f"req_{number}", prompt="p", completion="c" * number, at_us=1)


def opened(path: Path, store: str = STORE) -> tuple[Journal, list[Row]]:
    """A journal that is closed by the test's end."""
    return journals.open(path, store)


def lost(number: int) -> Row:
    """A request whose end was never written."""
    return request(number, outcome=Outcome.FAILED, error_code="gateway_lost"), None


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / "requests.journal"


async def test_what_a_killed_gateway_left_is_found_by_the_next_and_by_the_one_after(
    path: Path,
) -> None:
    """Ended requests as they ended, begun ones as failed; again until the store has them."""
    first, nothing = opened(path)
    assert nothing == []
    for number in range(3):
        first.begun(request(number))
    first.ended(request(1), None)
    first.ended(request(0), text(0))
    expected = [(request(1), None), (request(0), text(0)), lost(2)]
    for _ in range(2):
        killed, rows = opened(path)
        assert rows == expected
    await killed.tidy([], 0)
    assert opened(path)[1] == []


def test_a_prompt_that_is_not_unicode_is_kept_as_the_store_keeps_it(path: Path) -> None:
    """A lone surrogate, as JSON allows it."""
    journal, _ = opened(path)
    journal.ended(request(1), msgspec.structs.replace(text(1), prompt="p\ud800"))
    assert opened(path)[1] == [(request(1), msgspec.structs.replace(text(1), prompt="p\ufffd"))]


async def test_it_is_emptied_once_the_store_has_everything(path: Path) -> None:
    """A text stays no longer in it than in memory; a request under way keeps only itself."""
    journal, _ = opened(path)
    empty = path.read_bytes()
    journal.ended(request(7), text(7))
    assert b"ccccccc" in path.read_bytes()
    await journal.tidy([], 0)
    assert path.read_bytes() == empty
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_it_is_rewritten_once_it_has_grown(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under load there is always a request under way; the file still stays bounded."""
    monkeypatch.setattr(journals, "TIDY_BYTES", 10_000)
    journal, _ = opened(path)
    journal.begun(request(0))
    for number in range(1, 500):
        journal.ended(request(number), None)
        await journal.tidy([(request(number), None)], 1)
        assert path.stat().st_size < 12_000
    _, rows = opened(path)
    assert rows[-2:] == [(request(499), None), lost(0)]


async def test_what_ends_while_the_file_is_rewritten_is_in_the_new_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop answers meanwhile: many megabytes may be held."""
    monkeypatch.setattr(journals, "TIDY_BYTES", 1)
    threads = set[int]()
    encode = journals._end

    def end(request: Request, text: Text | None) -> bytes:
        threads.add(threading.get_ident())
        return encode(request, text)

    journal, _ = opened(path)
    journal.begun(request(1))
    journal.begun(request(2))
    monkeypatch.setattr(journals, "_end", end)
    tidying = asyncio.create_task(journal.tidy([(request(0), text(0))], 2))
    await asyncio.sleep(0)
    assert not tidying.done()
    journal.ended(request(1), None)
    await tidying
    assert len(threads) == 2
    _, rows = opened(path)
    assert rows == [(request(0), text(0)), (request(1), None), lost(2)]


def test_a_journal_of_another_store_is_dropped(path: Path) -> None:
    """Its requests are those of another box."""
    journal, _ = opened(path)
    journal.ended(request(1), text(1))
    assert opened(path, "b" * 32)[1] == []
    assert opened(path)[1] == []


async def test_a_full_disk_costs_the_journal_and_no_request(path: Path) -> None:
    """It says so, and writes again what is held once there is room; no entry follows a torn one."""
    journal, _ = opened(path)
    journal.ended(request(1), None)
    whole = path.stat().st_size
    with disks.full(whole + 10):
        journal.ended(request(2), None)
        assert "requests of the last second are lost" in str(journal.trouble)
        assert path.stat().st_size == whole
        journal.ended(request(3), None)
    held = [(request(number), None) for number in (1, 2, 3)]
    await journal.tidy(held, 3)
    assert journal.trouble is None
    journal.ended(request(4), None)
    assert opened(path)[1] == [*held, (request(4), None)]


async def test_a_disk_that_stays_full_is_tried_less_and_less_often(path: Path) -> None:
    """Each try encodes all that is held."""
    journal, _ = opened(path)
    tries = 0

    def held() -> list[Row]:
        nonlocal tries
        tries += 1
        return []

    class Held:
        """Rows that are counted when they are asked for."""

        def __iter__(self) -> object:
            return iter(held())

    with disks.full(1):
        for number in range(100):
            journal.ended(request(number), None)
            await journal.tidy(Held(), 1)  # type: ignore[arg-type]
    assert tries < 10


@pytest.mark.parametrize("kind", ["fifo", "directory", "link"])
def test_what_is_no_file_is_a_trouble_and_hangs_nobody(path: Path, kind: str) -> None:
    """The gateway serves without a journal, and says so."""
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(path.with_name("elsewhere"))
    journal, rows = opened(path)
    journal.begun(request(1))
    journal.ended(request(1), None)
    assert rows == []
    assert "requests.journal cannot be written (it is not a regular file; rename" in str(
        journal.trouble
    )
    assert not path.with_name("elsewhere").exists()


def written(entries: list[tuple[bool, int]]) -> tuple[bytes, list[int]]:
    """A journal with these entries (ended or only begun, number), and where each ends."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requests.journal"
        journal, _ = opened(path)
        ends = [path.stat().st_size]
        for is_end, number in entries:
            if is_end:
                journal.ended(request(number), text(number))
            else:
                journal.begun(request(number))
            ends.append(path.stat().st_size)
        journal.close()
        return path.read_bytes(), ends


_ENTRIES = st.lists(st.tuples(st.booleans(), st.integers(0, 4)), max_size=6)


@settings(max_examples=25)
@given(entries=_ENTRIES)
def test_a_journal_cut_anywhere_gives_the_entries_before_the_cut(
    entries: list[tuple[bool, int]],
) -> None:
    """At every byte, and whatever the torn entry was overwritten with."""
    content, ends = written(entries)
    for cut in range(len(content) + 1):
        found, whole = journals.read(content[:cut])
        assert whole == max([0, *(end for end in ends if end <= cut)])
        assert len(found) == sum(end <= cut for end in ends)
        torn, _ = journals.read(content[:cut] + b"\xff" * 40)
        assert torn == found


@given(content=st.binary(max_size=200))
def test_bytes_that_are_no_journal_give_nothing(content: bytes) -> None:
    """Never an exception, and never a request."""
    assert journals.read(content)[0] == []


async def test_what_was_recovered_is_stored_once(path: Path, tmp_path: Path) -> None:
    """Killed before the store had it, after, and in between."""
    store = await stores.open(homes.make(Home(tmp_path / "home")))
    journal, _ = opened(path, store.id)
    recorder = Recorder(store, journal)
    for number in range(3):
        recorder.begun(request(number))
    recorder.record(request(0), text(0))
    await recorder.flush()
    recorder.record(request(1))
    for _ in range(2):
        again = Recorder(store, *opened(path, store.id))
        assert again.held == 4
        async with store.read() as s:
            before = await requests.tail(s)
        await again._write_all()  # killed before the journal was told
    async with store.read() as s:
        kept = {each.id: each for each in await requests.tail(s)}
        said = await texts.of(s, "req_0")
    assert len(before) == 3
    assert kept == {each.id: each for each in (request(0), request(1), lost(2)[0])}
    assert said is not None
    assert again.lost == 0
    await again.flush()
    assert opened(path, store.id)[1] == []
    await store.close()


async def test_a_service_without_texts_leaves_none_in_the_journal(
    path: Path, tmp_path: Path
) -> None:
    """What is not recorded is not written down for a moment either."""
    store = await stores.open(homes.make(Home(tmp_path / "home")))
    recorder = Recorder(store, *opened(path, store.id))
    recorder.begun(request(1))
    recorder.record(request(1), None)
    assert b"prompt\xa1" not in path.read_bytes()
    await recorder.flush()
    await store.close()
