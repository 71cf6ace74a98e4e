"""The one poller: reads when something changed, reports what it cannot read, and continues."""

from __future__ import annotations

from pathlib import Path

import pytest

from app import poller, snapshot
from app.snapshot import Node, Query
from storage import errors, samples
from storage import store as stores
from storage.home import access
from storage.home.paths import Home
from tests.app import populated_homes
from tests.app.pilot import FakeNode

pytestmark = pytest.mark.usefixtures("node")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A box of this test's own."""
    return populated_homes.make(tmp_path / "home", populated_homes.quiet)


@pytest.fixture
def loaded(tmp_path: Path) -> Home:
    """A box under load, of this test's own."""
    return populated_homes.make(tmp_path / "home", populated_homes.busy)


class Watched:
    """A poller, its clock, and the snapshots that it has shown."""

    def __init__(self, home: Home) -> None:
        self.seen: list[snapshot.Snapshot] = []
        self.now_s = populated_homes.NOW
        self.watch = poller.Poller(
            home, self.seen.append, now_us=lambda: self.now_s * populated_homes.SECOND_US
        )

    async def ticks(self, count: int) -> int:
        """Let some ticks pass; how many snapshots they showed."""
        before = len(self.seen)
        for _ in range(count):
            await self.watch.tick()
        return len(self.seen) - before


async def test_nothing_is_read_while_nothing_changes(home: Home) -> None:
    """Every third quiet tick looks, as silence may mean that the node has gone."""
    watched = Watched(home)
    assert [await watched.ticks(1) for _ in range(7)] == [1, 0, 0, 1, 0, 0, 1]
    await watched.watch.close()


async def test_a_change_is_seen_at_the_next_tick(home: Home) -> None:
    """By another process, in its own connection."""
    watched = Watched(home)
    await watched.ticks(2)
    store = await stores.open(home)
    await store.write(lambda s: populated_homes.split(s, "support", {1: 5_000, 2: 5_000}, 0))
    await store.close()
    assert await watched.ticks(1) == 1
    assert watched.seen[-1].header.live[0][1] == ((1, 5_000), (2, 5_000))
    await watched.watch.close()


async def test_another_place_is_read_at_once(home: Home) -> None:
    """And only what that place shows."""
    watched = Watched(home)
    await watched.ticks(1)
    watched.watch.look_at(Query(place="requests"))
    assert await watched.ticks(1) == 1
    assert watched.seen[-1].requests is not None
    assert watched.seen[-1].pulse is None
    await watched.watch.close()


async def test_a_store_that_appears_later_is_found(tmp_path: Path) -> None:
    """Before that the screen says that there is none, and asks the store for nothing."""
    home = Home(tmp_path / "home")
    watched = Watched(home)
    assert await watched.ticks(2) == 2
    assert [each.header.node for each in watched.seen] == [Node.ABSENT, Node.ABSENT]
    with pytest.raises(errors.Unavailable, match="nothing was asked"):
        watched.watch.opened()
    store = await stores.open(_made(home))
    await populated_homes.quiet(store)
    await store.close()
    assert await watched.ticks(1) == 1
    assert [each.header.node for each in watched.seen[2:]] == [Node.UP]
    await watched.watch.close()


def _made(home: Home) -> Home:
    home.root.mkdir(mode=0o700)
    return home


async def test_a_damaged_store_is_one_sentence(home: Home, node: FakeNode) -> None:
    """It says what is wrong, not how it was read; without a node that is all."""
    node.down = True
    home.database.write_bytes(b"not a database at all" * 1_000)
    for beside in home.root.glob("paddock.db-*"):
        beside.unlink()
    watched = Watched(home)
    assert await watched.ticks(1) == 1
    assert watched.seen[-1].header.error
    assert [each.pulse for each in watched.seen] == [None]
    node.down = False
    await watched.ticks(1)
    assert (pulse := watched.seen[-1].pulse) is not None
    assert (watched.seen[-1].header.node, pulse.services) == (Node.UP, ())


async def test_a_member_without_a_node_sees_that_it_is_down(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node reads for members of the group: without it there is nothing to show."""
    monkeypatch.setattr(access, "owns", lambda _: False)
    shown: list[snapshot.Snapshot] = []
    await poller.Poller(home, shown.append).tick()
    assert [each.header.node for each in shown] == [Node.DOWN]
    assert "only its owner can read" in shown[0].header.error


async def test_watching_ends_with_the_store_closed(home: Home) -> None:
    """Cancelled in the middle of its wait, it closes everything."""
    watched = Watched(home)
    await watched.ticks(1)
    assert watched.watch.store is not None
    await watched.watch.close()
    assert watched.watch.store is None


async def test_after_the_clock_went_back_the_screen_shows_what_is_measured_now(
    loaded: Home,
) -> None:
    """Two hours back: samples of the future are not shown, new ones are."""
    watched = Watched(loaded)
    await watched.ticks(1)
    first = watched.seen[-1]
    assert first.header.back_us == 0
    assert first.pulse is not None
    assert first.pulse.machine.host is not None
    watched.now_s -= 7_200
    await watched.ticks(3)
    gone = watched.seen[-1]
    assert gone.pulse is not None
    assert gone.pulse.machine.host is None
    assert (gone.header.as_of_us, gone.header.synthetic) == (None, None)
    assert gone.header.back_us == 7_199 * populated_homes.SECOND_US
    assert {value for chart in gone.pulse.charts for value in chart.values} == {None}
    at, measured = watched.now_s, populated_homes.host(5)
    store = await stores.open(loaded)
    await store.write(lambda s: samples.record(s, at, [(samples.Kind.HOST, "box01", measured)]))
    await store.close()
    await watched.ticks(1)
    now = watched.seen[-1]
    assert now.pulse is not None
    assert now.pulse.machine.host is not None
    assert now.pulse.machine.host.cpu == measured.cpu_percent / 100
    assert now.header.as_of_us == at * populated_homes.SECOND_US
    await watched.watch.close()


async def test_after_the_clock_went_back_old_seconds_do_not_vouch_for_a_dead_node(
    loaded: Home, node: FakeNode
) -> None:
    """They pass by a second time and look as fresh as the first; the node is asked instead."""
    watched = Watched(loaded)
    await watched.ticks(1)
    node.down = True
    watched.now_s -= 60
    await watched.ticks(3)
    assert [each.header.node for each in watched.seen] == [Node.UP, Node.DOWN]
    await watched.watch.close()


async def test_a_store_that_cannot_be_written_is_in_the_header(home: Home, node: FakeNode) -> None:
    """On a full disk the measurements stop; the node is up and says why, until they resume."""
    node.full = True
    watched = Watched(home)
    watched.now_s += 60
    await watched.ticks(1)
    node.full = False
    watched.now_s += 3
    await watched.ticks(3)
    headers = [each.header for each in watched.seen]
    assert {each.node for each in headers} == {Node.UP}
    briefs = [[trouble.brief for trouble in each.troubles] for each in headers]
    assert briefs == [["store not written"], []]
    await watched.watch.close()
