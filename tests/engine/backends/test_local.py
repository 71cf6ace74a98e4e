"""The local backend: what wakes a reader, what fails a job, when its cost is known."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.backends import local_run
from engine.backends.fleet import Fleet
from engine.backends.local import LocalBackend
from engine.backends.local_run import UNREAD_LIMIT, LocalRun
from engine.execution import failures
from engine.execution.execute import Execution, Executor
from engine.execution.job import Chat, Delta, Finished, Message, Prefilled, Text, Tool
from engine.execution.snapshot import Snapshot
from engine.gateway.formats import Head
from engine.gateway.openai_format import ChatFormat
from engine.gateway.streaming import First, Stream
from engine.metering.windows import Windows
from engine.prompting.renderer.child import LIMITS, Limits
from engine.prompting.renderer.pool import Renderer
from engine.serving import wire
from storage.home import clock
from storage.home import paths as homes
from storage.home.paths import Home
from storage.releases import Engine, Release
from storage.requests import Outcome, Request
from storage.services import Arm, Service, Split
from tests.engine.backends.fake_worker import FakeWorker
from tests.engine.execution import jobs

HEAD = Head(id="1", created=0, model="ops", fingerprint="fp")


def snapshot(*releases: Release) -> Snapshot:
    """One service whose arms are these releases."""
    split = Split(
        id=1, service="ops", salt="s", set_at_us=0, set_by="t", intent_id=None,
        arms=tuple(Arm(release=r.number, weight_bp=10_000 // len(releases)) for r in releases),
    )  # fmt: skip
    service = Service(
        name="ops", split=split, record_text=False, version=1, created_at_us=0, created_by="t"
    )
    return Snapshot(
        services={"ops": service},
        releases={r.number: r for r in releases},
        knobs={releases[0].deployment: {"max_running": 4, "queue_limit": 8}},
    )


class Box:
    """A fake worker that takes what it is sent and does not step until it is woken, and a fleet."""

    def __init__(self, home: Home, limits: Limits = LIMITS) -> None:
        self.home = home
        self.release = jobs.release()
        self.renderer = Renderer(processes=1, limits=limits)
        self.fleet = Fleet(home, Windows(), self.renderer, now_us=clock.monotonic_us)
        self.worker = FakeWorker(home.worker(f"{self.release.deployment}:1"), deaf=True)
        self.rows: list[Request] = []
        self.recorded = asyncio.Event()
        self.gaps: list[int] = []
        self.executor = Executor(
            {"local": LocalBackend(self.fleet, now_us=clock.monotonic_us)},
            record=self._record,
            gaps=lambda *_: self.gaps,
            now_us=clock.monotonic_us,
        )

    async def close(self) -> None:
        """End all of it."""
        await self.fleet.close()
        await self.executor.drain()
        await self.renderer.close()
        await self.worker.stop()

    def _record(self, request: Request, _text: object) -> None:
        self.rows.append(request)
        self.recorded.set()

    def run(self, **fields: Any) -> Execution:
        """Start a job."""
        return self.executor.run(jobs.job(**fields))

    async def row(self) -> Request:
        """The first record."""
        async with asyncio.timeout(60):
            await self.recorded.wait()
        return self.rows[0]

    async def sent(self, execution: Execution, count: int = 1) -> asyncio.Task[Any]:
        """Ask for the first batch and wait until the worker has so many sequences."""
        first = asyncio.create_task(anext(execution))
        await self.worker.got(wire.Submit, count)
        return first

    def ending(self, execution: Execution) -> asyncio.Event:
        """Set when the worker has ended the first choice, whether or not that was read."""
        run, event = execution._run, asyncio.Event()
        assert isinstance(run, LocalRun)
        ended = run.ended

        def note(finish: Finished) -> None:
            ended(finish)
            event.set()

        run.ended = note  # type: ignore[method-assign]
        return event

    def step(self, *deltas: wire.Delta) -> None:
        """Put a step on the socket."""
        self.worker.say(self.worker._step(deltas))

    def ids(self) -> list[int]:
        """The sequences that the worker was sent, as it knows them."""
        return [each.id for each in self.worker.received if isinstance(each, wire.Submit)]


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    """Connected, with one service."""
    one = Box(homes.make(Home(tmp_path / "home")))
    await one.worker.start()
    one.fleet.follow(snapshot(one.release))
    yield one
    await one.close()


async def test_choices_are_gathered_and_counted(box: Box) -> None:
    """Three sequences, one job, one batch; recorded when the last has ended."""
    box.worker.wake()
    execution = box.run(n=3)
    batch = await anext(execution)
    assert execution.answer.complete
    assert sum(isinstance(event, Finished) for event in batch) == 3
    submits = [item for item in box.worker.received if isinstance(item, wire.Submit)]
    assert [submit.request for submit in submits] == [0, submits[0].id, submits[0].id]
    texts = [choice.text for choice in execution.answer.choices]
    assert texts == ["one two three one two"] * 3
    row = await box.row()
    assert (row.outcome, row.prompt_tokens, row.completion_tokens) == (Outcome.OK, 3, 15)
    assert row.ttft_us is not None
    assert row.worker == "ops-1.0.0:1"
    assert len(box.gaps) == 3 * 4
    assert [event async for event in execution] == []
    assert len(box.rows) == 1


async def test_what_comes_between_two_reads_wakes_a_stream_once(box: Box) -> None:
    """A reader that was away gets all of it as one batch."""
    execution = box.run(stream=True)
    first = await box.sent(execution)
    (id,) = box.ids()
    box.step(wire.Delta(id, "a", 1, ()))
    assert [event.text for event in await first if isinstance(event, Delta)] == ["a"]
    ended = box.ending(execution)
    box.worker.wake()
    await ended.wait()
    batch = await anext(execution)
    assert [type(event) for event in batch] == [*[Delta] * 5, Finished]


async def test_a_stream_tells_the_tokens_of_its_prompt_before_its_text(box: Box) -> None:
    """The worker counts them in the first delta of a sequence alone."""
    execution = box.run(stream=True)
    first = await box.sent(execution)
    (id,) = box.ids()
    box.step(wire.Delta(id, "a", 1, (), prompt_tokens=12, cached_tokens=4))
    prefilled, begun = await first
    assert prefilled == Prefilled(0, 12, 4) == execution.answer.choices[0].prefilled
    assert isinstance(begun, Delta)
    execution.cancel()


async def test_a_call_is_passed_on_while_it_is_written_and_names_the_end(box: Box) -> None:
    """A worker knows only text; white space between content and a call is neither's."""
    box.worker.sequence_tokens = 512
    chat = Chat((Message("user", "Rome?"),), tools=(Tool("weather"),))
    execution = box.run(input=chat, stream=True, record_text=True)
    first = await box.sent(execution)
    (id,) = box.ids()
    box.step(wire.Delta(id, 'I look.\n<tool_call>{"name": "weather", "arguments": {"ci', 9, ()))
    (begun,) = await first
    assert isinstance(begun, Delta)
    assert begun.text == "I look."
    assert [(call.name, call.arguments) for call in begun.calls] == [("weather", '{"ci')]
    last = box.worker._step((wire.Delta(id, 'ty": "Rome"}}\n</tool_call>', 9, ()),))
    finished = wire.Finished(id, "stop", 3, 18, 0, 0, 0)
    box.worker.say(msgspec.structs.replace(last, finished=(finished,)))
    answer = await execution.whole()
    (choice,) = answer.choices
    (call,) = choice.calls
    assert (call.name, call.arguments) == ("weather", '{"city": "Rome"}')
    assert choice.finish is not None
    assert (choice.finish.reason, choice.text) == ("tool_calls", "I look.")
    assert answer.completion_tokens == 18


async def test_a_call_that_must_be_made_is_begun_in_the_prompt(box: Box) -> None:
    """Tried before any worker has it, and sent with its constraint."""
    chat = Chat((Message("user", "Rome?"),), tools=(Tool("weather"),), tool_choice="required")
    first = await box.sent(box.run(input=chat))
    (submit,) = [item for item in box.worker.received if isinstance(item, wire.Submit)]
    assert submit.prompt[-1].text == "<tool_call>\n"
    assert submit.constraint is not None
    assert "\ncall: %json" in submit.constraint.source
    first.cancel()


async def test_an_answer_ends_after_one_call_where_no_more_are_wanted(box: Box) -> None:
    """Its worker stops; the reason is the call."""
    box.worker.sequence_tokens = 512
    chat = Chat((Message("user", "Rome?"),), tools=(Tool("weather"),), parallel_calls=False)
    execution = box.run(input=chat, stream=True)
    first = await box.sent(execution)
    (id,) = box.ids()
    box.step(wire.Delta(id, '<tool_call>{"name": "weather", "arguments": {}}</tool_call>', 9, ()))
    await first
    answer = asyncio.create_task(execution.whole())
    await box.worker.got(wire.Cancel, 1)
    box.worker.wake()
    (choice,) = (await answer).choices
    assert choice.finish is not None
    assert choice.finish.reason == "tool_calls"


async def scored(box: Box, **fields: Any) -> tuple[Execution, asyncio.Task[Any], list[int]]:
    """A job whose two prompts come back, once the worker has both: with the ids of the scorings."""
    box.worker.silent = True
    execution = box.run(input=Text(("one two", "six ten")), echo=True, logprobs=0, **fields)
    first = asyncio.create_task(anext(execution))
    await box.worker.got(wire.Score, 2)
    return execution, first, [s.id for s in box.worker.received if isinstance(s, wire.Score)]


def figures(id: int, first: bytes, second: bytes, busy_us: int) -> wire.Scored:
    """What a worker says of a prompt of two tokens."""
    return wire.Scored(id, (wire.Logprob(second, -1.0),), 2, 0, busy_us, first=first)


async def test_a_prompt_that_comes_back_is_scored_once_for_all_its_choices(box: Box) -> None:
    """Its cost is in the record, and its text in no answer."""
    execution, first, (one, other) = await scored(box, n=2, max_tokens=0)
    box.worker.say(figures(other, b"six", b" ten", 60), figures(one, b"one", b" two", 40))
    await first
    echoes = [choice.echo for choice in execution.answer.choices]
    assert [echo and echo.text for echo in echoes] == ["one two"] * 2 + ["six ten"] * 2
    row = await box.row()
    assert (row.outcome, row.busy_us, row.prompt_tokens) == (Outcome.OK, 100, 4)
    assert (row.completion_tokens, row.finish_reason, row.ttft_us) == (0, "length", None)
    assert execution.answer.text.strip() == ""


async def test_a_scoring_that_is_cancelled_counts_what_it_cost(box: Box) -> None:
    """The record waits for the worker; a prompt that was scored before is counted, too."""
    execution, first, (one, other) = await scored(box, max_tokens=4)
    box.worker.say(figures(one, b"one", b" two", 40))
    await box.worker.got(wire.Submit)
    execution.cancel()
    await box.worker.got(wire.Cancel, 2)
    cancelled = wire.Finished(other, "cancelled", 2, 0, 0, 0, 30)
    step = box.worker._step(())
    box.worker.say(msgspec.structs.replace(step, finished=(*step.finished, cancelled)))
    row = await box.row()
    assert row.outcome is Outcome.CANCELLED
    assert row.busy_us >= 70
    assert row.prompt_tokens == 4
    await asyncio.gather(first, return_exceptions=True)


async def test_a_score_that_arrives_after_its_job_failed_settles_it(box: Box) -> None:
    """The worker had sent it before it read the cancellation, which it then ignores."""
    _, first, (one, other) = await scored(box, max_tokens=4)
    step = box.worker._step(())
    refused = wire.Refused(one, "queue_full", "the queue is full", 1)
    box.worker.say(msgspec.structs.replace(step, refused=(*step.refused, refused)))
    with pytest.raises(failures.Overloaded):
        await first
    await box.worker.got(wire.Cancel)
    box.worker.say(figures(other, b"six", b" ten", 60))
    row = await box.row()
    assert (row.outcome, row.busy_us) == (Outcome.REFUSED, 60)
    await box.executor.drain()
    assert box.ids() == []


async def test_a_score_that_arrives_after_its_client_left_begins_nothing(box: Box) -> None:
    """Neither its choices nor the prompts that waited for it."""
    box.worker.silent = True
    alike = "many words that begin each of the prompts " * 4
    input = Text(tuple(alike + end for end in ("one", "two")))
    execution = box.run(input=input, echo=True, max_tokens=4)
    first = asyncio.create_task(anext(execution))
    await box.worker.got(wire.Score)
    (asked,) = [each for each in box.worker.received if isinstance(each, wire.Score)]
    execution.cancel()
    await box.worker.got(wire.Cancel)
    box.worker.say(figures(asked.id, b"many", b" words", 40))
    row = await box.row()
    assert (row.outcome, row.busy_us) == (Outcome.CANCELLED, 40)
    assert not box.fleet.pools[box.release.deployment].busy
    await asyncio.gather(first, return_exceptions=True)


async def test_an_answer_that_is_nothing_but_its_prompt_keeps_its_end(box: Box) -> None:
    """It is written after it was recorded; what the run still says then changes nothing."""
    execution, first, (one, other) = await scored(box, max_tokens=0)
    box.worker.say(figures(other, b"six", b" ten", 60), figures(one, b"one", b" two", 40))
    await first
    await box.executor.drain()
    reasons = [choice.finish and choice.finish.reason for choice in execution.answer.choices]
    assert reasons == ["length", "length"]


@pytest.mark.parametrize("logprobs", [-1, 0, 20])
@pytest.mark.parametrize("stream", [False, True])
async def test_prompts_come_back_as_often_as_the_limit_allows(
    box: Box, monkeypatch: pytest.MonkeyPatch, logprobs: int, *, stream: bool
) -> None:
    """Each choice writes its prompt again, with or without figures."""
    box.worker.silent = True
    words = "x" * 100

    async def asked(most: int) -> failures.Failure | None:
        monkeypatch.setattr(local_run, "ECHO_LIMIT", most)
        execution = box.run(
            input=Text((words,)), echo=True, logprobs=logprobs, n=8, max_tokens=0, stream=stream
        )
        before = sum(isinstance(each, wire.Score) for each in box.worker.received)
        answer = asyncio.create_task(execution.whole())
        await box.worker.got(wire.Score, before + 1)
        last = [each for each in box.worker.received if isinstance(each, wire.Score)][-1]
        box.worker.say(figures(last.id, words[:50].encode(), words[50:].encode(), 1))
        try:
            await answer
        except failures.Failure as failure:
            return failure
        return None

    figured = 2 * (1 + logprobs) * local_run.PER_FIGURE
    most = 8 * (100 + figured)
    assert await asked(most) is None
    refusal = await asked(most - 1)
    assert isinstance(refusal, failures.Invalid)
    assert (refusal.code, refusal.param) == ("invalid_value", "prompt")


async def test_figures_of_a_whole_answer_are_bounded(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They wait in memory for its end: a gigabyte of many choices with twenty alternatives."""
    one = wire.TokenLogprob(wire.Logprob(b"x", -1.0), (wire.Logprob(b"x", -1.0),))
    monkeypatch.setattr(wire, "FIGURES_LIMIT", 4)
    execution = box.run(logprobs=1)
    first = await box.sent(execution)
    (id,) = box.ids()
    for _ in range(3):
        box.step(wire.Delta(id, "x", 1, (one,)))
    with pytest.raises(failures.Invalid) as caught:
        await first
    assert caught.value.param == "logprobs"
    await box.worker.got(wire.Cancel)
    box.worker.wake()
    assert (await box.row()).outcome is Outcome.INVALID


async def test_a_cancelled_job_is_recorded_when_the_worker_has_counted(box: Box) -> None:
    """A client who leaves ends the job; its cost is known a moment later."""
    execution = box.run(stream=True)
    first = await box.sent(execution)
    execution.cancel()
    with pytest.raises(StopAsyncIteration):
        await first
    assert box.rows == []
    box.worker.wake()
    row = await box.row()
    assert (row.outcome, row.busy_us) == (Outcome.CANCELLED, 30)


async def test_one_refusal_fails_the_job_and_frees_the_rest(box: Box) -> None:
    """All of n or none."""
    await box.worker.got(wire.SetKnobs)
    execution = box.run(n=16, stream=True)
    first = await box.sent(execution, 16)
    box.worker.wake()
    with pytest.raises(failures.Overloaded) as caught:
        await first
    assert caught.value.retry_after_us == 1_500_000
    assert (await box.row()).outcome is Outcome.REFUSED
    assert not box.fleet.pools[box.release.deployment].busy


async def test_a_client_that_does_not_read_is_given_up(box: Box) -> None:
    """What waits for a reader is bounded."""
    execution = box.run(stream=True)
    first = await box.sent(execution)
    (id,) = box.ids()
    text = "x" * (UNREAD_LIMIT // 4)
    box.step(wire.Delta(id, text, 1, ()))
    await first
    for _ in range(5):
        box.step(wire.Delta(id, text, 1, ()))
    await box.worker.got(wire.Cancel)
    held = await anext(execution)
    assert len(held) <= 5
    with pytest.raises(failures.Unavailable) as caught:
        await anext(execution)
    assert caught.value.code == "slow_reader"
    box.worker.wake()
    assert (await box.row()).outcome is Outcome.CANCELLED


async def test_a_writer_that_was_held_up_writes_everything_at_once(box: Box) -> None:
    """One chunk for what came meanwhile, not one for each token."""
    job = jobs.job(stream=True, record_text=True, release=box.release)
    execution = box.executor.run(job)
    first = First(execution)
    await box.worker.got(wire.Submit)
    (id,) = box.ids()
    box.step(wire.Delta(id, "so: ", 1, ()))
    sent: list[bytes] = []
    go_on = asyncio.Event()

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))
        await go_on.wait()

    await first.within(20)
    closed = asyncio.Event()
    stream = Stream(execution, first, ChatFormat(HEAD), {}, closed=closed.set)
    task = asyncio.create_task(stream({}, _never, send))
    ended = box.ending(execution)
    box.worker.wake()
    await ended.wait()
    go_on.set()
    await task
    assert closed.is_set()
    opening, rest = [each for each in sent if each]
    assert opening.count(b'"content":"so: "') == 1
    assert rest.count(b'"content":"one two three one two"') == 1
    assert rest.endswith(b"data: [DONE]\n\n")
    assert execution.answer.text == "so: one two three one two"


async def _never() -> Any:
    await asyncio.Event().wait()


async def test_a_death_before_the_first_byte_is_not_seen(box: Box) -> None:
    """What came in and was not shown yet is made again."""
    execution = box.run()
    first = await box.sent(execution)
    (id,) = box.ids()
    box.step(wire.Delta(id, "half", 1, ()))
    box.worker.drop()
    await box.worker.got(wire.Submit, 2)
    box.worker.wake()
    await first
    assert execution.answer.text == "one two three one two"


async def test_a_context_smaller_than_the_other_arms_counts_against_the_release(box: Box) -> None:
    """The only arm has what the service promises; beside a larger one it does not."""
    box.worker.wake()
    words = "word " * 100
    small = jobs.release(engine=Engine(context_tokens=64))
    box.fleet.follow(snapshot(small))
    with pytest.raises(failures.Invalid) as caught:
        await box.executor.run(jobs.job(words, release=small)).whole()
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "prompt")
    large = jobs.release(number=2, deployment="large", engine=Engine(context_tokens=512))
    box.fleet.follow(snapshot(small, large))
    with pytest.raises(failures.Invalid):
        await box.executor.run(jobs.job(words, release=small)).whole()
    async with asyncio.timeout(60):
        while len(box.rows) < 2:
            box.recorded.clear()
            await box.recorded.wait()
    assert [row.outcome for row in box.rows] == [Outcome.INVALID, Outcome.FAILED]
    assert {row.error_code for row in box.rows} == {"context_length_exceeded"}


async def test_a_prompt_that_cannot_fit_is_not_sent(box: Box) -> None:
    """Two megabytes of it cost the gateway and the worker more than a short answer does."""
    box.worker.longest_token = 8
    box.worker.wake()
    with pytest.raises(failures.Invalid) as caught:
        await box.executor.run(jobs.job("word " * 200)).whole()
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "prompt")
    assert box.ids() == []


async def test_a_template_that_is_broken_is_said_before_anybody_asks(tmp_path: Path) -> None:
    """It is compiled when the worker says hello; chats fail, and the release is named."""
    box = Box(homes.make(Home(tmp_path / "home")))
    box.worker.chat_template = "one\n{% if %}"
    await box.worker.start()
    box.fleet.follow(snapshot(box.release))
    try:
        await box.fleet.pools[box.release.deployment].introduced(20)
        assert "line 2" in (box.executor.unready(box.release) or "")
        with pytest.raises(failures.Broken, match=r"^release r1: the model's chat template") as no:
            await box.executor.run(jobs.chat("hi", release=box.release)).whole()
        assert no.value.release_fault
        assert (await box.row()).outcome is Outcome.FAILED
        box.worker.wake()
        await box.run().whole()
    finally:
        await box.close()


async def test_what_another_arms_template_takes_counts_against_the_one_that_refuses(
    box: Box,
) -> None:
    """If the conversation is an ordinary one; otherwise, or without another arm, it is invalid."""
    other = FakeWorker(box.home.worker("other:1"))
    other.chat_template = (
        "{% if messages | length > 1 %}{{ raise_exception('must alternate') }}{% endif %}x"
    )
    await other.start()
    ordinary = Chat((Message("user", "a"), Message("assistant", "b"), Message("user", "c")))
    strict = jobs.release(number=2, deployment="other")
    box.fleet.follow(snapshot(box.release, strict))
    for pool in box.fleet.pools.values():
        await pool.introduced(20)
    for release, chat, fault in (
        (box.release, ordinary, True),
        (box.release, Chat((Message("user", "a"), Message("user", "b"))), False),
        (None, ordinary, False),
    ):
        arms = [each for each in (release, strict) if each is not None]
        box.fleet.follow(snapshot(*arms))
        with pytest.raises(failures.Invalid, match="must alternate") as caught:
            await box.executor.run(jobs.job(input=chat, release=strict)).whole()
        assert caught.value.release_fault is fault
    await box.executor.drain()
    assert [row.outcome for row in box.rows] == [
        Outcome.FAILED, Outcome.INVALID, Outcome.INVALID,
    ]  # fmt: skip
    await other.stop()


async def test_a_conversation_that_a_template_fails_for_is_invalid(tmp_path: Path) -> None:
    """Its client could put the error rate of the arm where it likes; others are answered."""
    box = Box(homes.make(Home(tmp_path / "home")))
    box.worker.chat_template = "{% set n = 1 / (messages | length - 2) %}{{ messages[0].content }}"
    await box.worker.start()
    box.fleet.follow(snapshot(box.release))
    try:
        with pytest.raises(failures.Invalid, match="division by zero"):
            await box.executor.run(jobs.chat("a", "b", release=box.release)).whole()
        assert (await box.row()).outcome is Outcome.INVALID
        box.worker.wake()
        await box.executor.run(jobs.chat("a", release=box.release)).whole()
    finally:
        await box.close()


async def test_a_prompt_that_its_models_template_never_renders_fails_the_release(
    tmp_path: Path,
) -> None:
    """Every request of it is refused, whatever its client says: that is no client's fault."""
    box = Box(homes.make(Home(tmp_path / "home")))
    box.worker.chat_template = (
        "{% if messages[0].role != 'user' %}{{ raise_exception('user first') }}{% endif %}x"
    )
    await box.worker.start()
    box.fleet.follow(snapshot(box.release))
    prompt = (Message("assistant", "How can I help?"),)
    try:
        for said in ("a", "b", "c"):
            chat = Chat((*prompt, Message("user", said)))
            with pytest.raises(failures.Broken, match="cannot render the release's prompt"):
                await box.executor.run(
                    jobs.job(input=chat, prompt=prompt, release=box.release)
                ).whole()
            await box.executor.drain()
        assert [row.outcome for row in box.rows] == [Outcome.FAILED] * 3
        assert box.executor.answering.verdict(box.release.number, clock.monotonic_us()) is not None
    finally:
        await box.close()


HANGS = (
    "{% if messages[-1].content == 'hang' %}{% set a = namespace(s=(1,)) %}"
    "{% for i in range(60) %}{% set a.s = (a.s, a.s) %}{% endfor %}{{ {a.s: 1} | length }}"
    "{% endif %}{{ messages[-1].content }}"
)


async def test_a_template_that_hangs_takes_no_other_request_along(tmp_path: Path) -> None:
    """Its release is unready with the reason; texts, and other releases, are answered."""
    box = Box(homes.make(Home(tmp_path / "home")), Limits(0.1, 0.4, 0.1))
    box.worker.chat_template = HANGS
    await box.worker.start()
    box.worker.wake()
    box.fleet.follow(snapshot(box.release))
    backend = LocalBackend(box.fleet, now_us=clock.monotonic_us)
    try:
        await box.run(input=Chat((Message("user", "sound"),))).whole()
        assert backend.unable(box.release) is None
        hanging = asyncio.create_task(box.executor.run(jobs.chat("hang")).whole())
        for _ in range(10):
            await box.run().whole()  # the loop is free
        with pytest.raises(failures.Broken, match=r"more than 0\.1 s of processor time") as killed:
            await hanging
        assert killed.value.release_fault
        with pytest.raises(failures.Broken, match=r"more than 0\.1 s of processor time"):
            await box.executor.run(jobs.chat("sound")).whole()
        assert "processor time" in (backend.unable(box.release) or "")
        assert "processor time" in (box.executor.unready(box.release) or "")
        await box.run().whole()
    finally:
        await box.close()


async def test_half_of_a_surrogate_pair_from_a_template_fails_that_request_alone(
    tmp_path: Path,
) -> None:
    """Twelve at once, as many as the worker takes: eleven are answered."""
    box = Box(homes.make(Home(tmp_path / "home")))
    box.worker.chat_template = (
        "{{ '\\ud800' if messages[-1].content == 'odd' }}{{ messages[-1].content }}"
    )
    await box.worker.start()
    box.worker.wake()
    box.fleet.follow(snapshot(box.release))
    await box.fleet.pools[box.release.deployment].introduced(20)
    texts = ["even" if number != 7 else "odd" for number in range(12)]
    try:
        async with asyncio.timeout(60):
            answers = await asyncio.gather(
                *(box.executor.run(jobs.chat(text)).whole() for text in texts),
                return_exceptions=True,
            )
        odd = answers.pop(7)
        assert isinstance(odd, failures.Invalid)
        assert "half of a surrogate pair" in odd.message
        assert not [answer for answer in answers if isinstance(answer, BaseException)]
    finally:
        await box.close()
