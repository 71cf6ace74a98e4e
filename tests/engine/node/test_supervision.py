"""The decisions of supervision, whatever a process does and whenever they are made."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from engine.node import supervision
from engine.node.supervision import SECOND_US, Act, Death, Observed, Plan, Reason

PLAN = Plan(beats=True)
NOW = 1_000 * SECOND_US

times = st.integers(min_value=0, max_value=NOW)
observations = st.builds(
    Observed,
    wanted=st.booleans(),
    running=st.booleans(),
    ready=st.booleans(),
    heartbeats=st.booleans(),
    working=st.booleans(),
    heard_us=times,
    pace_us=st.integers(0, 60 * SECOND_US),
    token_us=times,
    step_us=times,
    terminated_us=st.none() | times,
    failures=st.integers(0, 10_000),
    ended_us=times,
    failed=st.none() | st.just("no such file"),
)
plans = st.builds(Plan, beats=st.booleans())


def serving(**fields: object) -> Observed:
    """A worker in good health."""
    well = Observed(wanted=True, running=True, ready=True, heard_us=NOW, token_us=NOW, step_us=NOW)
    return dataclasses.replace(well, **fields)  # type: ignore[arg-type]


@given(observations, plans)
def test_only_running_processes_are_signalled_and_only_absent_ones_spawned(
    observed: Observed, plan: Plan
) -> None:
    """One process under a name, and signals only to a process that runs."""
    act = supervision.decide(observed, plan, NOW).act
    if observed.running:
        assert act is not Act.SPAWN
    else:
        assert act in {Act.SPAWN, Act.WAIT}


@given(observations, plans)
def test_waiting_for_something_always_ends(observed: Observed, plan: Plan) -> None:
    """A wait is until a time in the future, and after a silence or two there is an act."""
    decision = supervision.decide(observed, plan, NOW)
    now = NOW
    for _ in range(4):
        if decision.again_us is None:
            break
        assert decision.act is Act.WAIT
        assert decision.again_us > now
        now = decision.again_us
        decision = supervision.decide(observed, plan, now)
    assert decision.again_us is None
    assert decision.act is not Act.WAIT or now == NOW


@given(observations, plans)
def test_a_silence_is_reported_only_of_what_is_ready_and_before_it_kills(
    observed: Observed, plan: Plan
) -> None:
    """It is in the past and has a reason, never one of good health."""
    decision = supervision.decide(observed, plan, NOW)
    if decision.silent_since_us is not None:
        assert observed.ready
        assert decision.act is Act.WAIT
        assert decision.silent_since_us < NOW
        assert decision.reason in {Reason.SILENT, Reason.HUNG}
    elif decision.act is Act.WAIT:
        assert decision.reason not in {Reason.SILENT, Reason.HUNG}


def test_a_late_heartbeat_is_a_silence_long_before_it_is_a_reason_to_kill() -> None:
    """Within two seconds people can see it; the process still has until `beat_us`."""
    heard = NOW - PLAN.late_us
    quiet = supervision.decide(serving(heard_us=heard), PLAN, NOW)
    assert quiet == supervision.Decision(
        Act.WAIT, Reason.SILENT, heard + PLAN.beat_us, silent_since_us=heard
    )
    assert PLAN.late_us < 2 * SECOND_US
    assert supervision.decide(serving(heard_us=heard + 1), PLAN, NOW).silent_since_us is None


def test_heartbeats_without_progress_on_waiting_work_are_a_silence() -> None:
    """A loop that spins on is as silent as one that is stopped."""
    since = NOW - PLAN.stall_us
    stuck = serving(working=True, token_us=since, step_us=since)
    decision = supervision.decide(stuck, PLAN, NOW)
    assert (decision.reason, decision.silent_since_us) == (Reason.HUNG, since)


def test_a_worker_with_long_steps_is_not_silent_during_each_of_them() -> None:
    """The first long step is news; those that follow are its pace, until it has been fast again."""
    observed, now = serving(heartbeats=True), NOW
    for interval, silent in ((SECOND_US, False), (8 * SECOND_US, True), (8 * SECOND_US, False)):
        now += interval
        decision = supervision.decide(observed, PLAN, now)
        assert (decision.silent_since_us is not None) is silent
        observed = supervision.after_heartbeat(
            observed, busy=True, moved=True, stepped=True, since_token_us=0, now_us=now
        )
    for _ in range(16):
        now += SECOND_US
        observed = supervision.after_heartbeat(
            observed, busy=True, moved=True, stepped=True, since_token_us=0, now_us=now
        )
    decision = supervision.decide(observed, PLAN, now + 2 * SECOND_US)
    assert decision.silent_since_us == now


def test_a_hang_that_ended_excuses_no_second_one() -> None:
    """No step takes 24 s: a worker that was paused and resumed is late again within seconds."""
    observed, now = serving(heartbeats=True), NOW
    for interval in (24, 1, 1, 1, 1, 1):
        now += interval * SECOND_US
        observed = supervision.after_heartbeat(
            observed, busy=False, moved=False, stepped=False, since_token_us=0, now_us=now
        )
    decision = supervision.decide(observed, PLAN, now + 9 * SECOND_US)
    assert decision.silent_since_us == now


@given(observations, plans)
def test_only_what_is_wanted_is_spawned(observed: Observed, plan: Plan) -> None:
    """A process that is not wanted, or that reported that it cannot work, is not started."""
    if supervision.decide(observed, plan, NOW).act is Act.SPAWN:
        assert observed.wanted
        assert observed.failed is None


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_the_wait_grows_with_failures_and_is_bounded(few: int, many: int) -> None:
    """A crash loop never costs more than one start in thirty seconds, nor stops for good."""
    few, many = sorted((few, many))
    assert supervision.backoff_us(few, PLAN) <= supervision.backoff_us(many, PLAN)
    assert supervision.backoff_us(many, PLAN) <= PLAN.backoff_cap_us


def test_the_first_crash_is_put_right_at_once() -> None:
    """A worker that was killed once is back without any wait."""
    observed = Observed(wanted=True, failures=1, ended_us=NOW)
    assert supervision.decide(observed, PLAN, NOW).act is Act.SPAWN


def test_a_healthy_minute_forgives() -> None:
    """What crashed long ago does not make the next restart wait."""
    observed = serving(failures=9)
    assert supervision.failures_after(observed, PLAN, NOW - 61 * SECOND_US, NOW) == 1
    assert supervision.failures_after(observed, PLAN, NOW - 59 * SECOND_US, NOW) == 10
    assert supervision.failures_after(observed, PLAN, None, NOW) == 10


def test_a_worker_with_heartbeats_but_no_tokens_is_hung() -> None:
    """Health is a token while work waits, not an answer to a ping."""
    late = NOW - PLAN.token_us
    stuck = serving(working=True, token_us=late, step_us=late)
    assert supervision.decide(stuck, PLAN, NOW) == supervision.Decision(Act.KILL, Reason.HUNG)


def test_a_long_prompt_is_not_a_hang() -> None:
    """While steps continue, prefill may take its time before the first token."""
    prefill = serving(working=True, token_us=NOW - 2 * PLAN.token_us, step_us=NOW)
    assert supervision.decide(prefill, PLAN, NOW).act is Act.WAIT


def test_steps_without_any_token_for_ever_are_a_hang() -> None:
    """A scheduler that spins without giving anything is replaced in the end."""
    spinning = serving(working=True, token_us=NOW - PLAN.crawl_us, step_us=NOW)
    assert supervision.decide(spinning, PLAN, NOW).reason is Reason.HUNG


def test_an_idle_worker_gives_no_token_and_is_well() -> None:
    """Nothing to do is no hang."""
    idle = serving(working=False, token_us=0, step_us=0)
    assert supervision.decide(idle, PLAN, NOW).reason is Reason.SERVING


def test_a_stopped_worker_misses_its_heartbeats() -> None:
    """SIGSTOP shows as silence."""
    silent = serving(heard_us=NOW - PLAN.beat_us)
    assert supervision.decide(silent, PLAN, NOW) == supervision.Decision(Act.KILL, Reason.SILENT)


def test_a_process_without_heartbeats_may_be_silent() -> None:
    """Heartbeats are expected from the first one on, for processes that are not instances."""
    quiet = serving(heard_us=0)
    plain = Plan()
    assert supervision.decide(quiet, plain, NOW).act is Act.WAIT
    beating = dataclasses.replace(quiet, heartbeats=True)
    assert supervision.decide(beating, plain, NOW).reason is Reason.SILENT


def test_a_process_that_ignores_sigterm_is_killed_in_the_end() -> None:
    """SIGTERM first, SIGKILL after the drain time."""
    told = serving(wanted=False, terminated_us=NOW)
    assert supervision.decide(serving(wanted=False), PLAN, NOW).act is Act.TERMINATE
    assert supervision.decide(told, PLAN, NOW + PLAN.drain_us - 1).reason is Reason.FINISHING
    assert supervision.decide(told, PLAN, NOW + PLAN.drain_us).reason is Reason.STUBBORN


def test_a_draining_process_may_finish_as_long_as_it_makes_progress() -> None:
    """What it has is finite, since it takes nothing new; the crawl is the bound of bounds."""
    long_ago = NOW - 10 * PLAN.drain_us
    busy = serving(wanted=False, terminated_us=long_ago, working=True)
    assert supervision.decide(busy, PLAN, NOW + PLAN.drain_us - 1).reason is Reason.FINISHING
    assert supervision.decide(busy, PLAN, NOW + PLAN.drain_us).reason is Reason.STUBBORN
    endless = dataclasses.replace(busy, terminated_us=NOW - PLAN.crawl_us)
    assert supervision.decide(endless, PLAN, NOW).reason is Reason.STUBBORN


def test_a_process_that_cannot_work_is_not_started_again() -> None:
    """A model that cannot be loaded makes no restart loop."""
    gone = Observed(wanted=True, failed="truncated", failures=1, ended_us=NOW)
    assert supervision.decide(gone, PLAN, NOW + 3_600 * SECOND_US).reason is Reason.UNLOADABLE


deaths = st.lists(
    st.builds(
        Death,
        at_us=times,
        lived_us=st.integers(0, 200 * SECOND_US),
        stepped=st.booleans(),
        how=st.just("it was killed by SIGABRT"),
    ),
    max_size=20,
)


@given(deaths)
def test_a_deployment_is_failing_exactly_when_enough_deaths_speak_against_it(
    died: list[Death],
) -> None:
    """Within the window; one that had served for a minute is no evidence."""
    counted = [
        each
        for each in died
        if NOW - each.at_us <= PLAN.deaths_us
        and (not each.stepped or each.lived_us < PLAN.healthy_us)
    ]
    evidence = supervision.failing(died, PLAN, NOW)
    assert (evidence is not None) == (len(counted) >= PLAN.deaths)
    if evidence is not None:
        assert f"died {len(counted)} times" in evidence


@given(deaths, st.integers(0, 10_000 * SECOND_US))
def test_no_verdict_comes_from_time_alone(died: list[Death], later_us: int) -> None:
    """What was not enough is not more later."""
    if supervision.failing(died, PLAN, NOW) is None:
        assert supervision.failing(died, PLAN, NOW + later_us) is None


def test_the_evidence_is_what_an_operator_needs() -> None:
    """How often, how fast, how the last one ended, and what its log said."""
    died = [
        Death(n * SECOND_US, 10, stepped=False, how=f"it died of {n}", last_lines=("a", f"b{n}"))
        for n in range(PLAN.deaths)
    ]
    assert supervision.failing(died, PLAN, 5 * SECOND_US) == (
        "it died 5 times within 4 s while serving; the last time it died of 4: a | b4"
    )


def test_a_model_that_serves_between_its_crashes_keeps_serving() -> None:
    """Once in a hundred seconds for ever: restarted each time, never stopped."""
    died = [Death(n * 100 * SECOND_US, 99 * SECOND_US, stepped=True, how="x") for n in range(100)]
    assert all(supervision.failing(died[: n + 1], PLAN, died[n].at_us) is None for n in range(100))


def test_a_model_that_dies_of_each_rare_request_is_stopped() -> None:
    """One request in two minutes, and no step ever: it cannot serve at all."""
    died = [Death(n * 120 * SECOND_US, 119 * SECOND_US, stepped=False, how="x") for n in range(9)]
    verdicts = [
        supervision.failing(died[: n + 1], PLAN, died[n].at_us) is not None for n in range(9)
    ]
    assert verdicts.index(True) == PLAN.deaths - 1
