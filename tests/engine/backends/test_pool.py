"""A pool of instances: who gets a request, and what becomes of it when an instance goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from engine.backends.expected_starts import ExpectedStarts
from engine.backends.pool import Pool
from engine.backends.worker_client import Refusal, WorkerClient
from engine.prompting.renderer.pool import Renderer
from engine.serving import wire
from storage.home import clock
from tests.engine.backends.fake_worker import FakeWorker
from tests.engine.backends.test_worker_client import order, scoring
from tests.engine.serving.workers import Heard
from tests.home_fixtures import ADAPTER, digest

NAMES = ("ops:1", "ops:2")
GOOD = wire.LoadAdapter("good", str(ADAPTER), digest(ADAPTER))


class Two:
    """A pool of two fake workers that take what they are sent and do not step until woken."""

    def __init__(self, folder: Path) -> None:
        self.workers = {name: FakeWorker(folder / f"{name}.sock", deaf=True) for name in NAMES}
        self.changed = asyncio.Event()
        self.stepped = asyncio.Event()
        starts = ExpectedStarts(self._now)
        self.pool = Pool("ops", self._connect, Renderer(), starts, now_us=self._now)
        self.late_us = 0

    def _now(self) -> int:
        return clock.monotonic_us() + self.late_us

    def _connect(self, name: str, pool: Pool) -> WorkerClient:
        def change() -> None:
            pool.dispatch()
            self.changed.set()

        return WorkerClient(
            self.workers[name].socket, now_us=self._now, on_hello=pool.greeted,
            on_step=lambda _: self.stepped.set(), pending=pool.pending, on_change=change,
        )  # fmt: skip

    async def until(self, connected: int) -> None:
        """Wait until so many instances are connected."""
        async with asyncio.timeout(60):
            while len(self.pool.connected) != connected:
                self.changed.clear()
                await self.changed.wait()

    def got(self) -> list[int]:
        """How many sequences each worker was sent."""
        return [
            sum(isinstance(item, wire.Submit) for item in worker.received)
            for worker in self.workers.values()
        ]


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Two]:
    """Both connected."""
    one = Two(tmp_path)
    for worker in one.workers.values():
        await worker.start()
    one.pool.follow(NAMES, {}, {})
    await one.until(2)
    yield one
    await one.pool.close("over")
    for worker in one.workers.values():
        await worker.stop()


def submit(two: Two, count: int, text: str = "one two three") -> list[Heard]:
    """Submit so many sequences."""
    heard = [Heard() for _ in range(count)]
    for each in heard:
        two.pool.submit(order(text), each)
    return heard


async def test_the_least_loaded_instance_gets_the_next_request(two: Two) -> None:
    """By the requests that it has, not in turn."""
    submit(two, 3)
    first, second = two.workers.values()
    await first.got(wire.Submit, 2)
    await second.got(wire.Submit, 1)
    second.wake()
    loads = [instance.client for instance in two.pool.instances.values()]
    heard = submit(two, 3)
    for each in heard[:1]:
        await each.finish()
    assert loads[0].load == 3
    first.wake()
    for each in heard:
        await each.finish()
    assert sum(two.got()) == 6


async def test_requests_that_no_instance_counts_are_held(two: Two) -> None:
    """Waiting for an instance, or in the socket of one that reads nothing, such as a hung one."""
    assert two.pool.held == 0
    submit(two, 3)
    assert two.pool.held == 3
    first, second = two.workers.values()
    await first.got(wire.Submit, 2)
    second.wake()
    async with asyncio.timeout(60):
        while two.pool.held != 2:
            await two.stepped.wait()
            two.stepped.clear()
    await first.stop()
    await second.stop()
    await two.until(0)
    submit(two, 1)
    assert two.pool.held == two.pool.pending.count


async def test_idle_instances_take_turns(two: Two) -> None:
    """One request at a time does not always warm the same instance."""
    for worker in two.workers.values():
        worker.wake()
    for _ in range(4):
        (heard,) = submit(two, 1)
        await heard.finish()
    assert two.got() == [2, 2]


async def test_a_conversation_stays_with_the_instance_that_knows_it(two: Two) -> None:
    """Its next turn goes where its beginning was computed, and others to the other one."""
    for worker in two.workers.values():
        worker.wake()
    text = ("computed" * 5 + " ") * 10
    for turn in range(4):
        heard = Heard()
        two.pool.submit(order(text + "And then? " * turn), heard)
        await heard.finish()
    assert sorted(two.got()) == [0, 4]


async def test_a_scoring_without_any_instance_waits_for_its_time(two: Two) -> None:
    """As a request does; then it is refused."""
    two.pool.follow((), {}, {})
    with pytest.raises(Refusal) as caught:
        await two.pool.score(msgspec.structs.replace(scoring("one", "two"), queue_us=10_000))
    assert caught.value.refused.code == "no_worker"


async def test_a_scoring_that_waits_goes_to_any_instance(two: Two) -> None:
    """Not to the one that was the first when it came."""
    first, second = two.workers.values()
    second.wake()
    await first.stop()
    await second.stop()
    await two.until(0)
    task = asyncio.create_task(two.pool.score(scoring("one two", " three")))
    await second.start()
    assert (await task).tokens


async def test_what_a_dead_instance_had_goes_to_the_other(two: Two) -> None:
    """Nothing that had shown nothing is lost."""
    heard = submit(two, 4)
    first, second = two.workers.values()
    await first.got(wire.Submit, 2)
    second.wake()
    await first.stop()
    for each in heard:
        await each.finish()
    assert two.got() == [2, 4]


async def test_a_draining_instance_gets_nothing_new_and_ends_what_it_has(two: Two) -> None:
    """What it had not taken goes to the other."""
    first, second = two.workers.values()
    begun = submit(two, 2)
    await first.got(wire.Submit)
    two.stepped.clear()
    first.say(wire.Draining(), first._step(()))
    await two.stepped.wait()
    later = submit(two, 3)
    first.wake()
    second.wake()
    for each in [*begun, *later]:
        await each.finish()
    assert two.got() == [1, 4]


async def test_an_instance_that_refuses_because_it_drains_passes_the_request_on(two: Two) -> None:
    """The word that it drains may cross with a request."""
    first, second = two.workers.values()
    first.leaving = True
    heard = submit(two, 2)
    first.wake()
    second.wake()
    for each in heard:
        await each.finish()
    assert two.got()[1] == 2


async def test_an_instance_that_is_let_go_finishes_and_is_then_closed(two: Two) -> None:
    """Scaling down loses nothing; scaling up again takes the same instance back."""
    heard = submit(two, 2)
    first, second = two.workers.values()
    await second.got(wire.Submit)
    leaving = two.pool.instances["ops:2"]
    two.pool.follow(NAMES[:1], {}, {})
    two.pool.sweep()
    more = submit(two, 3)
    first.wake()
    for each in [heard[0], *more]:
        await each.finish()
    two.pool.follow(NAMES, {}, {})
    assert two.pool.instances["ops:2"] is leaving
    second.wake()
    await heard[1].finish()
    two.pool.follow(NAMES[:1], {}, {})
    two.pool.sweep()
    await leaving.task
    assert two.got() == [4, 1]


async def test_what_waits_goes_to_the_first_instance_that_comes(two: Two) -> None:
    """And the time that it waited counts as time in the queue."""
    first, second = two.workers.values()
    await first.stop()
    await second.stop()
    await two.until(0)
    (heard,) = submit(two, 1)
    two.late_us = 5_000_000
    second.wake()
    await second.start()
    two.pool.follow(NAMES, {}, {})
    end = await heard.finish()
    assert end.queue_us >= 5_000_000


async def test_a_restart_counts_as_time_in_the_queue(two: Two) -> None:
    """Although the second worker computes it at once."""
    two.pool.follow(NAMES[:1], {}, {})
    two.pool.sweep()
    first = two.workers["ops:1"]
    (heard,) = submit(two, 1)
    await first.got(wire.Submit)
    two.late_us = 5_000_000
    first.wake()
    first.drop()
    end = await heard.finish()
    assert end.queue_us >= 5_000_000


async def test_an_adapter_that_one_request_needs_leaves_the_others_alone(two: Two) -> None:
    """It is loaded beside those that are wanted, until nothing uses it."""
    wanted = wire.LoadAdapter("other", str(ADAPTER), digest(ADAPTER))
    two.pool.follow(NAMES, {}, {"other": wanted})
    two.pool.load(GOOD)
    (heard,) = [Heard()]
    two.pool.submit(order(adapter="good"), heard)
    for worker in two.workers.values():
        worker.wake()
    await heard.finish()
    for worker in two.workers.values():
        loaded = [i.adapter for i in worker.received if isinstance(i, wire.LoadAdapter)]
        assert sorted(loaded) == ["good", "other"]
    clients = [instance.client for instance in two.pool.instances.values()]
    assert all(client._adapters.wants("other") for client in clients)
    two.pool.follow(NAMES, {}, {"other": wanted})
    assert not any(client._adapters.wants("good") for client in clients)
    assert all(client._adapters.wants("other") for client in clients)


async def test_an_adapter_that_only_one_instance_could_load_is_served_by_it(
    two: Two, tmp_path: Path
) -> None:
    """It has failed when none of them can."""
    missing = wire.LoadAdapter("good", str(tmp_path / "late.gguf"), digest(ADAPTER))
    first, second = two.workers.values()
    first.wake()
    second.wake()
    await second.stop()
    await two.until(1)
    two.pool.follow(NAMES, {}, {"good": missing})
    heard = Heard()
    two.pool.submit(order(adapter="good"), heard)
    assert "no such adapter" in (await heard.refusal()).message
    assert two.pool.failed("good") is not None
    Path(missing.path).write_bytes(ADAPTER.read_bytes())
    await second.start()
    two.pool.follow(NAMES, {}, {"good": missing})
    await two.until(2)
    heard = Heard()
    two.pool.submit(order(adapter="good"), heard)
    await heard.finish()
    assert two.pool.failed("good") is None
    assert two.pool.unready("good") is None
    assert two.got() == [0, 1]
