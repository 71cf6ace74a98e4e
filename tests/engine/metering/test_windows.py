"""Seconds as they are written down: what happened, and what idle time there was."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from engine.metering.windows import IDLE_S, KEPT_S, QUIET_ROWS, Gateway, Instance, Row, Windows
from engine.serving import wire
from storage.requests import Outcome, Request
from storage.samples import ArmSample, GatewaySample, InstanceSample
from storage.sketches import Sketch

HELLO = wire.Hello(1, "", "", ("CPU",), 64, 4, 100, "", "", "", (), ("",), {})


def step(busy_us: int, idle_us: int, *, tokens: int = 0, running: int = 0) -> wire.Step:
    """One frame."""
    deltas = tuple(wire.Delta(id, "x", 1, ()) for id in range(tokens))
    return wire.Step(
        number=1, adapter="", wall_us=busy_us + idle_us, busy_us=busy_us, idle_us=idle_us,
        prefill_tokens=0, decode_tokens=tokens, running=running, waiting=0, oldest_waiting_us=0,
        kv_used_tokens=7, kv_total_tokens=64, deltas=deltas, finished=(), refused=(),
    )  # fmt: skip


def request(outcome: Outcome, latency_us: int = 1000, *, synthetic: bool = False) -> Request:
    """One that has ended."""
    return Request(
        id="req_1", at_us=0, service="ops", release=1, worker="w", endpoint="/v1/completions",
        key_id=1, tenant="t", synthetic=synthetic, prompt_tokens=3, completion_tokens=5,
        ttft_us=100, latency_us=latency_us, busy_us=50, outcome=outcome,
    )  # fmt: skip


def test_a_thumb_that_was_changed_counts_by_its_last_value() -> None:
    """Within a second, and over the seconds that lie between the two."""
    windows = Windows()
    arm = windows.arm("ops", 1)
    arm.judged(1)
    arm.judged(-1)
    arm.judged(1, before=-1)
    thumbs = []
    for second in (100, 101):
        ((_, _, _, sample),) = windows.close(second, {("ops", 1)})
        assert isinstance(sample, ArmSample)
        thumbs.append((sample.thumbs_up, sample.thumbs_down))
        arm.judged(-1, before=1)
    assert thumbs == [(2, 0), (-1, 1)]


def test_an_arms_second_adds_up() -> None:
    """Counts by outcome, tokens, thumbs, and sketches of the durations."""
    windows = Windows()
    arm = windows.arm("ops", 1)
    for outcome in Outcome:
        arm.ended(request(outcome, synthetic=outcome is Outcome.OK))
    arm.gaps += [10, 20, 30]
    arm.judged(1)
    arm.judged(-1)
    ((second, _, subject, sample),) = windows.close(100, {("ops", 1)})
    assert (second, subject) == (100, "ops/r1")
    assert isinstance(sample, ArmSample)
    counted = (sample.ok, sample.failed, sample.invalid, sample.refused, sample.cancelled)
    assert (sample.requests, *counted) == (5, 1, 1, 1, 1, 1)
    assert (sample.synthetic, sample.prompt_tokens, sample.completion_tokens) == (1, 15, 25)
    assert (sample.busy_us, sample.thumbs_up, sample.thumbs_down) == (250, 1, 1)
    counts = [
        Sketch.from_dict(each).count for each in (sample.latency, sample.ttft, sample.inter_token)
    ]
    assert counts == [1, 5, 3]


def test_nothing_is_written_twice_and_quiet_arms_seldom() -> None:
    """A live arm shows that it is quiet every few seconds; one without traffic not at all."""
    windows = Windows()
    windows.arm("ops", 1).ended(request(Outcome.OK))
    windows.arm("ops", 2).ended(request(Outcome.OK))
    rows = [row for second in range(100, 110) for row in windows.close(second, {("ops", 1)})]
    assert [(row[0], row[2]) for row in rows if row[2] == "ops/r2"] == [(100, "ops/r2")]
    live = [row for row in rows if row[2] == "ops/r1"]
    assert [row[0] for row in live] == [100, 100 + IDLE_S, 100 + 2 * IDLE_S]
    assert isinstance(live[1][3], ArmSample)
    assert live[1][3].requests == 0


def test_thousands_of_quiet_arms_write_a_bounded_number_of_rows() -> None:
    """Each its turn; 2500 a second made roll-ups hold the store until control was killed."""
    windows = Windows()
    live = {(f"s{number}", 1) for number in range(10 * QUIET_ROWS)}
    written: Counter[str] = Counter()
    for second in range(100, 130):
        rows = list(windows.close(second, live))
        assert len(rows) <= QUIET_ROWS
        written.update(row[2] for row in rows)
    assert (len(written), set(written.values())) == (len(live), {3})
    windows.arm("s3", 1).ended(request(Outcome.OK))
    assert "s3/r1" in {row[2] for row in windows.close(130, live)}


SECONDS = st.lists(
    st.lists(st.tuples(st.integers(0, 900), st.integers(0, 900), st.integers(0, 3)), max_size=3),
    max_size=20,
)


@given(SECONDS)
def test_busy_and_idle_time_add_up_to_what_was_reported(
    seconds: list[list[tuple[int, int, int]]],
) -> None:
    """What is left out while idle is in a later row, and no second has two rows."""
    worker = Instance("w")
    rows: list[Row] = []
    last = [(0, 0, 1)]
    for second, frames in enumerate([*seconds, last], 1000):
        for busy, idle, tokens in frames:
            worker.step(step(busy, idle, tokens=tokens))
        rows += worker.close(second, HELLO, {})
    samples = [row[3] for row in rows]
    told = [frame for frames in seconds for frame in frames]
    assert all(isinstance(sample, InstanceSample) for sample in samples)
    workers = [sample for sample in samples if isinstance(sample, InstanceSample)]
    assert sum(sample.busy_us or 0 for sample in workers) == sum(frame[0] for frame in told)
    assert sum(sample.idle_us or 0 for sample in workers) == sum(frame[1] for frame in told)
    assert sum(sample.decode_tokens for sample in workers) == 1 + sum(frame[2] for frame in told)
    assert len({row[0] for row in rows}) == len(rows)
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)


def test_a_worker_that_is_gone_is_not_measured() -> None:
    """A second without a row was not measured."""
    worker = Instance("w")
    worker.step(step(10, 10, tokens=2, running=2))
    assert list(worker.close(100, None, {})) == []
    assert list(worker.close(101, HELLO, {})) == []


def test_the_largest_batch_of_a_second_is_kept() -> None:
    """And the knobs in force."""
    worker = Instance("w")
    for tokens in (1, 16, 4):
        worker.step(step(10, 0, tokens=tokens, running=tokens))
    ((_, _, _, sample),) = worker.close(100, HELLO, {"max_running": 8})
    assert isinstance(sample, InstanceSample)
    assert (sample.batch_max, sample.steps, sample.max_running, sample.running) == (16, 3, 8, 4)


def test_a_clock_that_was_set_back_silences_no_window() -> None:
    """Quiet arms and instances get a row immediately, not hours later."""
    windows = Windows()
    worker = windows.instance("w")
    worker.step(step(0, 1_000_000))
    later, earlier = 100_000, 90_000
    assert list(windows.close(later, {("ops", 1)}))
    assert list(worker.close(later, HELLO, {}))
    worker.step(step(0, 1_000_000))
    assert [row[0] for row in windows.close(earlier, {("ops", 1)})] == [earlier]
    assert [row[0] for row in worker.close(earlier, HELLO, {})] == [earlier]


def test_the_gateways_own_row_is_written_when_it_changes_and_now_and_then() -> None:
    """A request that begins or ceases to wait is shown by the next row; refusals count once."""
    window = Gateway()
    window.refused("head_timeout")
    window.refused("head_timeout")
    window.rejected("missing_api_key")
    states = [(0, 1), (0, 1), (3, 1), (0, 1), *[(0, 1)] * IDLE_S]
    rows = [
        (second - 100, sample)
        for second, (held, connections) in enumerate(states, 100)
        for _, _, _, sample in window.close(second, held, connections)
    ]
    first = GatewaySample(
        held=0, connections=1, refused={"head_timeout": 2}, rejected={"missing_api_key": 1}
    )
    assert rows == [
        (0, first),
        (1, GatewaySample(held=0, connections=1)),
        (2, GatewaySample(held=3, connections=1)),
        (3, GatewaySample(held=0, connections=1)),
        (3 + IDLE_S, GatewaySample(held=0, connections=1)),
    ]


def test_an_arm_that_no_split_names_is_forgotten_an_hour_after_its_last_request() -> None:
    """Releases come and go for years; the live ones and a late stream's are kept."""
    windows = Windows()
    live = {("ops", 1)}
    windows.arm("ops", 1)
    for release in range(2, 50):
        windows.arm("ops", release).ended(request(Outcome.OK))
    list(windows.close(1000, live))
    windows.arm("ops", 2).gaps.append(7)
    list(windows.close(1000 + KEPT_S, live))
    list(windows.close(1001 + KEPT_S, live))
    assert set(windows._arms) == {("ops", 1), ("ops", 2)}
    for name in ("a:1", "b:1"):
        windows.instance(name)
    windows.keep({"b:1"})
    assert set(windows._instances) == {"b:1"}
