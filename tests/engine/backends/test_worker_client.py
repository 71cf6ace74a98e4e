"""The contract of a worker with its client, for the fake worker and the real one."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from engine.backends import pending, worker_client
from engine.serving import framing, wire
from tests.engine.backends.fake_worker import FakeWorker
from tests.engine.backends.one_worker import OneWorker
from tests.engine.serving.workers import Heard
from tests.home_fixtures import ADAPTER, WEIGHTS


def order(
    text: str = "one two three",
    *,
    adapter: str = "",
    max_tokens: int = 5,
    stop: tuple[str, ...] = (),
    logprobs: int = -1,
    queue_s: float = 20.0,
    temperature: float = 0.0,
) -> wire.Submit:
    """A request, greedy by default."""
    return wire.Submit(
        id=0, adapter=adapter, prompt=(wire.Segment(text, special=False),) if text else (),
        sampling=wire.Sampling(temperature, 0, 1.0, 0.0, 1), max_tokens=max_tokens, stop=stop,
        class_=0, tenant="t", queue_us=int(queue_s * 1e6), logprobs=logprobs,
    )  # fmt: skip


def scoring(prompt: str, continuation: str) -> wire.Score:
    """A continuation to score."""
    segments = (wire.Segment(prompt, special=False),) if prompt else ()
    return wire.Score(
        id=0, adapter="", prompt=segments, continuation=continuation, class_=2, tenant="t",
        queue_us=20_000_000,
    )  # fmt: skip


@pytest.fixture(scope="module")
def real_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A real worker with the shipped weights, one for this module."""
    socket = tmp_path_factory.mktemp("run") / "worker.sock"
    with subprocess.Popen(
        [
            sys.executable, "-m", "engine.serving", "--socket", str(socket), "--model",
            str(WEIGHTS), "--max-sequences", "4", "--context-tokens", "64", "--threads", "1",
        ],
        stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        while b'"ready"' not in process.stdout.readline():
            assert process.poll() is None
        yield socket
        process.kill()


@pytest.fixture(params=["fake", "real"])
async def worker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OneWorker]:
    """A connected client of a worker of either kind."""
    fake: FakeWorker | None = None
    if request.param == "fake":
        fake = FakeWorker(tmp_path / "worker.sock")
        await fake.start()
        socket = fake.socket
    else:
        socket = request.getfixturevalue("real_socket")
    async with _connected(socket) as one:
        yield one
    if fake is not None:
        await fake.stop()


class _connected:  # noqa: N801 it reads as a sentence
    """A client that runs while the block does."""

    def __init__(self, socket: Path, *, wait: bool = True) -> None:
        self._greeted = asyncio.Event()
        self._wait = wait
        self.client = OneWorker(socket, on_hello=lambda _: self._greeted.set())

    async def __aenter__(self) -> OneWorker:
        """Connect."""
        self.client.start()
        if self._wait:
            await self._greeted.wait()
        return self.client

    async def __aexit__(self, *_: object) -> None:
        """Leave."""
        await self.client.stop()


async def ended(heard: Heard) -> wire.Finished | wire.Refused | None:
    """How it ended."""
    async with asyncio.timeout(60):
        await heard.over.wait()
    return heard.end


async def test_the_worker_says_hello(worker: OneWorker) -> None:
    """The first item says what is loaded and what a sequence may hold."""
    assert worker.hello is not None
    assert worker.hello.sequence_tokens == 64
    assert "<|im_end|>" in worker.hello.control_tokens
    assert len(set(worker.hello.control_ids)) == len(worker.hello.control_tokens)
    assert worker.serves("")


async def test_what_cannot_be_encoded_fails_alone(worker: OneWorker) -> None:
    """All requests of one turn of the loop share a frame; one of them must not cost the others."""
    worker.want_knobs({"queue_limit": 32})
    heard = [Heard() for _ in range(16)]
    for number, each in enumerate(heard):
        worker.submit(order("half of a pair: \ud800" if number == 7 else "one two"), each)
    worker.want_adapters({"odd": wire.LoadAdapter("odd", "/models/\udcff.gguf", "0" * 64)})
    ends = [await ended(each) for each in heard]
    poisoned = ends.pop(7)
    assert isinstance(poisoned, wire.Refused)
    assert poisoned.code == "unsendable"
    assert all(isinstance(end, wire.Finished) for end in ends)
    assert "unusable path" in worker.failed["odd"]
    assert not worker.busy


class Faulty(Heard):
    """A receiver that fails at the first delta, or at the end."""

    def __init__(self, *, at_end: bool) -> None:
        super().__init__()
        self._at_end = at_end

    def delta(self, delta: wire.Delta, at_us: int) -> None:
        """As a faulty parser does."""
        if not self._at_end:
            raise ValueError("a fault of the parser")
        super().delta(delta, at_us)

    def finished(self, finished: wire.Finished) -> None:
        """As a faulty parser does."""
        raise ValueError(f"a fault at the end of {finished.id}")


@pytest.mark.parametrize("at_end", [False, True])
async def test_what_cannot_be_read_fails_alone(worker: OneWorker, at_end: bool) -> None:
    """All answers of a step share a frame; one of them must not cost the others."""
    worker.want_knobs({"queue_limit": 32})
    heard = [Faulty(at_end=at_end) if number == 3 else Heard() for number in range(8)]
    for each in heard:
        worker.submit(order("one two"), each)
    ends = [await ended(each) for each in heard]
    faulty = ends.pop(3)
    assert isinstance(faulty, wire.Refused)
    assert faulty.code == "unreadable"
    assert all(isinstance(end, wire.Finished) for end in ends)
    assert not worker.busy


async def test_a_sequence_grows_and_ends(worker: OneWorker) -> None:
    """The deltas add up to the final count."""
    heard = Heard()
    worker.submit(order(max_tokens=5), heard)
    end = await ended(heard)
    assert isinstance(end, wire.Finished)
    assert end.reason in {"length", "stop"}
    assert end.completion_tokens == sum(delta.tokens for delta in heard.deltas) <= 5
    assert end.prompt_tokens >= 3
    assert not worker.busy


async def test_many_sequences_do_not_mix(worker: OneWorker) -> None:
    """Each gives the same text alone and in company."""
    texts = [f"note {number} says that order {number} is late" for number in range(8)]
    alone = []
    for text in texts:
        heard = Heard()
        worker.submit(order(text), heard)
        await ended(heard)
        alone.append(heard.text)
    company = [Heard() for _ in texts]
    for text, heard in zip(texts, company, strict=True):
        worker.submit(order(text), heard)
    for heard in company:
        await ended(heard)
    assert [heard.text for heard in company] == alone


async def test_logprobs_come_one_per_token(worker: OneWorker) -> None:
    """As many alternatives as were asked for, natural logarithms."""
    heard = Heard()
    worker.submit(order(logprobs=2, max_tokens=3), heard)
    await ended(heard)
    found = [logprob for delta in heard.deltas for logprob in delta.logprobs]
    assert found
    assert all(len(one.top) == 2 and one.chosen.logprob <= 0 for one in found)


@pytest.mark.parametrize(
    ("submit", "code"),
    [
        (order(""), "empty"),
        (order("word " * 200), "too_long"),
        (order(adapter="nobody"), "no_adapter"),
    ],
)
async def test_what_cannot_be_served_is_refused(
    worker: OneWorker, submit: wire.Submit, code: str
) -> None:
    """With a code and a sentence."""
    worker.loaded.add(submit.adapter)  # as if it had been loaded until now
    heard = Heard()
    worker.submit(submit, heard)
    end = await ended(heard)
    assert isinstance(end, wire.Refused)
    assert (end.code, bool(end.message)) == (code, True)


async def test_the_queue_is_bounded(worker: OneWorker) -> None:
    """More than runs and waits is refused at once, with the wait that would have been."""
    worker.want_knobs({"max_running": 1, "queue_limit": 1})
    many = [Heard() for _ in range(8)]
    for heard in many:
        worker.submit(order(max_tokens=40), heard)
    ends = [await ended(heard) for heard in many]
    worker.want_knobs({"max_running": 4, "queue_limit": 8})
    refused = [end for end in ends if isinstance(end, wire.Refused)]
    assert {end.code for end in refused} == {"queue_full"}
    assert all(end.retry_after_us > 0 for end in refused)
    assert len(refused) < 8


async def test_knobs_come_back_as_they_are_in_force(worker: OneWorker) -> None:
    """The answer to a change is the whole set."""
    worker.want_knobs({"prefill_budget": 32})
    heard = Heard()
    worker.submit(order(), heard)
    await ended(heard)
    assert worker.knobs["prefill_budget"] == 32
    assert worker.knobs["max_running"] == 4


async def test_a_cancelled_sequence_is_forgotten(worker: OneWorker) -> None:
    """Nothing more is heard of it but what it has cost, and its place is free."""
    heard = Heard()
    id = worker.submit(order(max_tokens=50, temperature=5.0), heard)  # noise seldom ends
    await heard.begun.wait()
    worker.cancel(id)
    said = len(heard.deltas)
    end = await ended(heard)
    assert isinstance(end, wire.Finished)
    assert end.reason == "cancelled"
    assert end.completion_tokens >= said == len(heard.deltas)
    assert not worker.busy


async def test_an_adapter_is_loaded_and_a_broken_one_is_not(
    worker: OneWorker, tmp_path: Path
) -> None:
    """Requests for an adapter wait until it is loaded; for a broken one they are refused."""
    sha256 = hashlib.sha256(ADAPTER.read_bytes()).hexdigest()
    worker.want_adapters(
        {
            "good": wire.LoadAdapter("good", str(ADAPTER), sha256),
            "gone": wire.LoadAdapter("gone", str(tmp_path / "none.gguf"), sha256),
        }
    )
    good, gone = Heard(), Heard()
    worker.submit(order(adapter="good"), good)
    worker.submit(order(adapter="gone"), gone)
    assert isinstance(await ended(good), wire.Finished)
    refused = await ended(gone)
    assert isinstance(refused, wire.Refused)
    assert "adapter" in refused.message
    assert worker.serves("good")
    assert not worker.serves("gone")


async def test_a_continuation_is_scored(worker: OneWorker) -> None:
    """A log-probability for each of its tokens, whose bytes are the continuation."""
    scored = await worker.score(scoring("one two", " three four"))
    assert len(scored.tokens) >= 2
    assert b"".join(token.raw for token in scored.tokens) == b" three four"
    assert all(token.logprob <= 0 for token in scored.tokens)
    assert scored.prompt_tokens >= 2
    assert not worker.busy


@pytest.mark.parametrize(
    ("score", "code"),
    [
        (("one", ""), "empty"),
        (("", "one"), "empty"),
        (("word " * 40, "word " * 40), "too_long"),
    ],
)
async def test_what_cannot_be_scored_is_refused(
    worker: OneWorker, score: tuple[str, str], code: str
) -> None:
    """As an exception that holds the worker's refusal."""
    with pytest.raises(worker_client.Refusal) as caught:
        await worker.score(scoring(*score))
    assert caught.value.refused.code == code
    assert not worker.busy


async def test_an_adapter_that_is_no_longer_wanted_is_unloaded(
    worker: OneWorker,
) -> None:
    """And is loaded again when it is wanted again."""
    sha256 = hashlib.sha256(ADAPTER.read_bytes()).hexdigest()
    for _ in range(2):
        worker.want_adapters({"good": wire.LoadAdapter("good", str(ADAPTER), sha256)})
        heard = Heard()
        worker.submit(order(adapter="good"), heard)
        assert isinstance(await ended(heard), wire.Finished)
        worker.want_adapters({})
        assert not worker.serves("good")
        assert worker.serves("")


async def test_an_adapter_that_a_request_uses_is_unloaded_after_it(fake: FakeWorker) -> None:
    """Held requests count, too; one that is wanted for a single request goes with it."""
    sha256 = hashlib.sha256(ADAPTER.read_bytes()).hexdigest()
    load = wire.LoadAdapter("good", str(ADAPTER), sha256)
    async with _connected(fake.socket) as one:
        one.want_adapters({"good": load})
        heard = Heard()
        one.submit(order(adapter="good"), heard)
        await fake.got(wire.LoadAdapter)
        one.want_adapters({})
        one.want_adapter(load)
        one.want_adapters({})
        fake.wake()
        assert isinstance(await ended(heard), wire.Finished)
        await fake.got(wire.UnloadAdapter)
        assert [type(item) for item in fake.received if not isinstance(item, wire.SetKnobs)] == [
            wire.LoadAdapter,
            wire.LoadAdapter,
            wire.Submit,
            wire.UnloadAdapter,
        ]


async def test_one_adapter_more_leaves_the_others_wanted(fake: FakeWorker) -> None:
    """A request's own adapter does not replace the others."""
    sha256 = hashlib.sha256(ADAPTER.read_bytes()).hexdigest()
    fake.wake()
    async with _connected(fake.socket) as one:
        one.want_adapters({"good": wire.LoadAdapter("good", str(ADAPTER), sha256)})
        one.want_adapter(wire.LoadAdapter("other", str(ADAPTER), sha256))
        for name in ("good", "other"):
            heard = Heard()
            one.submit(order(adapter=name), heard)
            assert isinstance(await ended(heard), wire.Finished)
        assert not any(isinstance(item, wire.UnloadAdapter) for item in fake.received)
        fake.drop()
        await fake.got(wire.LoadAdapter, 2)


async def test_a_scoring_that_a_worker_died_of_is_sent_again(fake: FakeWorker) -> None:
    """It has shown nothing; three deaths are enough for it, too."""
    async with _connected(fake.socket) as one:
        task = asyncio.create_task(one.score(scoring("one", "two")))
        fake.wake()
        assert (await task).tokens
        fake.silent = True
        task = asyncio.create_task(one.score(scoring("one", "two")))
        for attempt in range(2, pending.DEATHS_LIMIT + 2):
            await fake.got(wire.Score, attempt)
            fake.drop()
        with pytest.raises(worker_client.Refusal) as caught:
            await task
        assert "died 3 times" in str(caught.value)


async def test_a_cancelled_scoring_is_cancelled_at_the_worker(fake: FakeWorker) -> None:
    """Its slot is freed."""
    fake.silent = True
    async with _connected(fake.socket) as one:
        task = asyncio.create_task(one.score(scoring("one", "two")))
        await fake.got(wire.Score)
        task.cancel()
        await fake.got(wire.Cancel)
        assert task.cancelled()


async def test_a_worker_is_asked_once_for_an_adapter_and_again_when_it_comes_back(
    fake: FakeWorker, tmp_path: Path
) -> None:
    """A failing adapter is not loaded again with each request."""
    adapters = {"gone": wire.LoadAdapter("gone", str(tmp_path / "none.gguf"), "0" * 64)}
    fake.wake()
    async with _connected(fake.socket) as one:
        for number in range(3):
            one.want_adapters(adapters)
            heard = Heard()
            one.submit(order(adapter="gone"), heard)
            assert isinstance(await ended(heard), wire.Refused)
            assert sum(isinstance(item, wire.LoadAdapter) for item in fake.received) == 1, number
        fake.drop()
        await fake.got(wire.LoadAdapter, 2)
        one.want_adapters({})
        assert one.failed == {}


async def test_what_waits_is_cancelled_at_once(tmp_path: Path) -> None:
    """Without a worker there is nothing to wait for."""
    async with _connected(tmp_path / "missing.sock", wait=False) as one:
        heard = Heard()
        one.cancel(one.submit(order(), heard))
        assert isinstance(heard.end, wire.Finished)
        assert heard.end.reason == "cancelled"
        assert not one.busy


# What the client does when a worker dies: the fake one dies on command.


@pytest.fixture
async def fake(tmp_path: Path) -> AsyncIterator[FakeWorker]:
    """A fake worker that takes requests and does not step until it is woken."""
    one = FakeWorker(tmp_path / "worker.sock", deaf=True)
    await one.start()
    yield one
    await one.stop()


async def test_what_had_shown_nothing_is_sent_again(fake: FakeWorker) -> None:
    """A death costs time, not the answer."""
    async with _connected(fake.socket) as one:
        heard = Heard()
        one.submit(order(), heard)
        await fake.got(wire.Submit)
        fake.drop()
        await fake.got(wire.Submit, 2)
        fake.wake()
        assert isinstance(await ended(heard), wire.Finished)
        assert heard.text == "one two three one two"
        assert not heard.is_lost


@pytest.mark.parametrize("again", [False, True])
async def test_what_had_begun_decides_for_itself(fake: FakeWorker, *, again: bool) -> None:
    """A stream is over; an answer that was only gathered is made anew."""
    async with _connected(fake.socket) as one:
        heard = Heard(again=again)
        id = one.submit(order(), heard)
        await fake.got(wire.Submit)
        fake.say(fake._step((wire.Delta(id, "one", 1, ()),)))
        await heard.begun.wait()
        fake.wake()
        fake.drop()
        end = await ended(heard)
        assert heard.is_lost
        if again:
            assert heard.text == "one two three one two"
        else:
            assert end is None
            assert not one.busy


async def test_a_request_that_kills_workers_is_given_up(fake: FakeWorker) -> None:
    """Three workers are enough."""
    async with _connected(fake.socket) as one:
        heard = Heard()
        one.submit(order(), heard)
        for attempt in range(1, pending.DEATHS_LIMIT + 1):
            await fake.got(wire.Submit, attempt)
            fake.drop()
        end = await ended(heard)
        assert isinstance(end, wire.Refused)
        assert "died 3 times" in end.message


async def test_a_drained_worker_is_not_a_death(fake: FakeWorker) -> None:
    """A rolling restart may drain any number of workers under one request; none of them died."""
    fake.leaving = True
    fake.wake()
    async with _connected(fake.socket) as one:
        heard = Heard()
        one.submit(order(), heard)
        for attempt in range(1, pending.DEATHS_LIMIT + 3):
            await fake.got(wire.Submit, attempt)
            await fake.refusing.wait()
            fake.refusing.clear()
            fake.drop()
        fake.leaving = False
        assert isinstance(await ended(heard), wire.Finished)


async def test_what_a_draining_worker_did_not_answer_is_not_a_death(fake: FakeWorker) -> None:
    """A request that crossed the announcement on the socket is sent to the successor."""
    async with _connected(fake.socket) as one:
        heard = Heard()
        one.submit(order(), heard)
        for attempt in range(1, pending.DEATHS_LIMIT + 3):
            await fake.got(wire.Submit, attempt)
            fake.say(wire.Draining())
            fake.drop()
        fake.wake()
        assert isinstance(await ended(heard), wire.Finished)


async def test_a_death_after_a_drain_counts_from_one(fake: FakeWorker) -> None:
    """Drains and sends before it are not counted: the message says how many workers died."""
    async with _connected(fake.socket) as one:
        heard = Heard()
        one.submit(order(), heard)
        await fake.got(wire.Submit)
        fake.say(wire.Draining())
        fake.drop()
        for attempt in range(2, pending.DEATHS_LIMIT + 2):
            await fake.got(wire.Submit, attempt)
            assert heard.end is None
            fake.drop()
        end = await ended(heard)
        assert isinstance(end, wire.Refused)
        assert end.code == "worker_lost"


async def test_without_a_worker_requests_wait_their_time(tmp_path: Path) -> None:
    """No longer, and only a limited number of them."""
    async with _connected(tmp_path / "missing.sock", wait=False) as one:
        late, *many = [Heard() for _ in range(pending.PENDING_LIMIT + 1)]
        one.submit(order(queue_s=0.001), late)
        for heard in many:
            one.submit(order(), heard)
        refused = await ended(late)
        assert isinstance(refused, wire.Refused)
        assert refused.code == "no_worker"
        full = await ended(many[-1])
        assert isinstance(full, wire.Refused)
        assert full.code == "no_worker"
        assert many[0].end is None


async def test_what_waited_goes_out_when_the_worker_comes(tmp_path: Path) -> None:
    """Started after its first request."""
    late = FakeWorker(tmp_path / "worker.sock")
    async with _connected(late.socket, wait=False) as one:
        heard = Heard()
        one.submit(order(), heard)
        await late.start()
        one.poke()
        assert isinstance(await ended(heard), wire.Finished)
    await late.stop()


async def test_a_request_that_fits_no_frame_affects_no_other(
    fake: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused as too long before it is sent; begun requests continue."""
    monkeypatch.setattr(framing, "FRAME_LIMIT", 4096)
    async with _connected(fake.socket) as one:
        begun, large = Heard(), Heard()
        one.submit(order(), begun)
        await fake.got(wire.Submit)
        one.submit(order("x" * 5000), large)
        assert isinstance(large.end, wire.Refused)
        assert large.end.code == "too_long"
        fake.wake()
        assert isinstance(await ended(begun), wire.Finished)


async def test_a_draining_worker_leaves_what_it_refused_to_its_successor(fake: FakeWorker) -> None:
    """Its successor answers."""
    fake.leaving = True
    fake.wake()
    async with _connected(fake.socket) as one:
        heard = Heard()
        one.submit(order(), heard)
        await fake.got(wire.Submit)
        await fake.refusing.wait()
        fake.leaving = False
        fake.drop()
        assert isinstance(await ended(heard), wire.Finished)


async def test_malformed_frames_end_the_connection(fake: FakeWorker) -> None:
    """And the client reconnects."""
    async with _connected(fake.socket) as one:
        heard = Heard()
        one.submit(order(), heard)
        await fake.got(wire.Submit)
        assert fake._writer is not None
        fake._writer.write(b"\xff\xff\xff\xff garbage")
        await fake.got(wire.Submit, 2)
        fake.wake()
        assert isinstance(await ended(heard), wire.Finished)


async def test_one_turn_of_the_loop_is_one_frame(fake: FakeWorker) -> None:
    """Sixteen requests at once are not sixteen writes."""
    frames: list[int] = []
    decode = framing.decode_inbox
    async with _connected(fake.socket) as one:

        def counting(body: bytes) -> wire.Inbox:
            inbox = decode(body)
            frames.append(len(inbox.items))
            return inbox

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(framing, "decode_inbox", counting)
            for _ in range(16):
                one.submit(order(), Heard())
            await fake.got(wire.Submit, 16)
    assert frames == [16]
