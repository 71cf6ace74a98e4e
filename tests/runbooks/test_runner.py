"""Runs of runbooks on a real box: carried out, refused, killed and resumed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from runbooks import catalog, steps
from storage import intents, knobs, ledger, run_events, run_steps, runs, services
from storage.control_socket import client
from storage.intents import State
from tests.engine.node.nodes import BOUND_S, RealNode, opened, ready
from tests.home_fixtures import WEIGHTS


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealNode]:
    """A box with two releases of one service."""
    running = RealNode(tmp_path_factory.mktemp("box") / "home")
    (running.home.root / "runbooks").mkdir()
    (running.home.root / "runbooks" / "stuck.yaml").write_text(STUCK)
    (running.home.root / "runbooks" / "broken.yaml").write_text("name: broken\n")
    running.start()
    try:
        asyncio.run(_furnish(running))
        yield running
    finally:
        running.end()


STUCK = """
name: stuck
title: Waits for something that another has to do
when: In tests.
inputs: {service: {sentence: which}}
steps:
  - name: first
    sentence: Send everything to the second release.
    do: {verb: services.split, target: "{service}", arguments: {arms: {r2: 10000}}}
  - name: second
    sentence: Wait until it is put back.
    look: {probe: roll_back_target, of: "{service}"}
    do: {verb: services.undo, target: "{service}", arguments: {to: "{looked}"}}
    verify: {probe: split_id, of: "{service}", expected: looked, timeout_s: 20}
  - name: third
    sentence: Requests must come.
    look: {probe: roll_back_target, of: "{service}"}
    do: {verb: services.undo, target: "{service}", arguments: {to: "{looked}"}}
    verify: {probe: requests, of: "{service}", window_s: 60, expected: ">= 1", timeout_s: 0.2}
    undo: {verb: services.undo, target: "{service}", arguments: {intent: "{intent}"}}
"""


async def _furnish(node: RealNode) -> None:
    await node.release("ops", WEIGHTS)
    engine = {"context_tokens": 256, "max_sequences": 2, "threads": 1}
    await node.must(
        "releases.create", "", {"model": "ops", "engine": engine, "sampling": {"temperature": 0}}
    )
    await node.must("services.create", "support", {"release": "r1"})
    await node.until(ready("runner"))


async def _run(node: RealNode, intent_id: int) -> tuple[runs.Run, list[run_steps.Step]]:
    async with opened(node.home) as store, store.read() as session:
        run = next(run for run in await runs.tail(session) if run.intent_id == intent_id)
        return run, await run_steps.of(session, run.id)


async def _weights(node: RealNode) -> dict[int, int]:
    async with opened(node.home) as store, store.read() as session:
        split = (await services.find(session, "support")).split
    return {arm.release: arm.weight_bp for arm in split.arms}


async def test_roll_back_gives_the_service_its_split_back(node: RealNode) -> None:
    """Looks, acts on behalf of a person, verifies, and all of it is written down."""
    await node.must("services.split", "support", {"arms": {"r1": 2000, "r2": 8000}})
    asked = {"inputs": {"service": "support"}}
    ended = await node.do("runbooks.start", "roll-back", asked, reason="r2 invents tickets")
    assert (ended.state, ended.outcome) == (
        State.APPLIED,
        (
            "roll-back, run 1: all steps succeeded. support: r1 100 % (before: r1 20 %, r2 80 %). "
            "`paddock runbooks undo 1` reverts them."
        ),
    )
    assert await _weights(node) == {1: 10_000}
    run, walked = await _run(node, ended.id)
    assert (run.state, run.actor) == (runs.State.DONE, ended.actor)
    assert [step.name for step in walked] == ["errors", "latency", "back"]
    assert (walked[2].looked, walked[2].sentence) == (
        1,
        "support: r1 100 % (before: r1 20 %, r2 80 %).",
    )
    async with opened(node.home) as store, store.read() as session:
        undo = await intents.find(session, walked[2].intent_id or 0)
        entry = (await ledger.of(session, "service", "support"))[0]
    assert (undo.actor, undo.verb) == (ended.actor, "services.undo")
    why = f"r2 invents tickets (runbook roll-back, run {run.id}, step back)"
    assert undo.reason == why
    assert entry.intent_id == undo.id


async def test_rolling_back_twice_ends_on_the_good_release(node: RealNode) -> None:
    """One after the other: the second run finds the service back already, and changes nothing."""
    await node.must("services.split", "support", {"arms": {"r1": 10_000}})
    await node.must("services.split", "support", {"arms": {"r2": 10_000}})
    asked = {"inputs": {"service": "support"}}
    for said in ("support: r1 100 % (before: r2 100 %).", "support is already at split"):
        ended = await node.do("runbooks.start", "roll-back", asked)
        assert ended.state is State.APPLIED, ended.outcome
        _, walked = await _run(node, ended.id)
        assert (walked[2].sentence or "").startswith(said)
        reverts = "reverts them" in (ended.outcome or "")
        assert reverts is ("before:" in said)  # nothing changed: nothing to undo
        assert await _weights(node) == {1: 10_000}
    undo = await node.do("runbooks.undo", str((await _run(node, ended.id))[0].id), {})
    assert undo.state is State.REFUSED  # the second run changed nothing
    assert await _weights(node) == {1: 10_000}


async def test_two_who_roll_back_at_once_end_on_the_good_release(node: RealNode) -> None:
    """Both runs succeed, and the split changed once."""
    await node.must("services.split", "support", {"arms": {"r1": 10_000}})
    await node.must("services.split", "support", {"arms": {"r2": 10_000}})
    async with opened(node.home) as store, store.read() as session:
        before = (await services.find(session, "support")).version
    asked = {"inputs": {"service": "support"}}
    both = await asyncio.gather(*(node.do("runbooks.start", "roll-back", asked) for _ in range(2)))
    assert [ended.state for ended in both] == [State.APPLIED] * 2, both
    assert await _weights(node) == {1: 10_000}
    async with opened(node.home) as store, store.read() as session:
        assert (await services.find(session, "support")).version == before + 1


async def test_a_run_is_undone_once_and_only_before_another_change(node: RealNode) -> None:
    """The undo of what was done, in the name of who asks; twice would roll forward again."""
    await node.must("services.split", "support", {"arms": {"r1": 5000, "r2": 5000}})
    await node.must("services.split", "support", {"arms": {"r1": 3000, "r2": 7000}})
    started = await node.do("runbooks.start", "roll-back", {"inputs": {"service": "support"}})
    assert await _weights(node) == {1: 5000, 2: 5000}
    run, walked = await _run(node, started.id)
    undone = await node.do("runbooks.undo", str(run.id), {})
    assert (undone.state, undone.outcome) == (
        State.APPLIED,
        (
            f"undo of run {run.id}, run {run.id + 1}: all steps succeeded. "
            "support: r1 30 %, r2 70 % (before: r1 50 %, r2 50 %)."
        ),
    )
    assert await _weights(node) == {1: 3000, 2: 7000}
    undo, back = await _run(node, undone.id)
    assert (undo.runbook, [step.name for step in back]) == (f"undo of run {run.id}", ["back"])
    again = await node.do("runbooks.undo", str(run.id), {})
    assert again.state is State.REFUSED
    assert "nothing that is still to be undone" in (again.outcome or "")

    second = await node.do("runbooks.start", "roll-back", {"inputs": {"service": "support"}})
    await node.must("services.split", "support", {"arms": {"r1": 10_000}})
    late = await node.do("runbooks.undo", str((await _run(node, second.id))[0].id), {})
    assert late.state is State.REFUSED
    assert "service support was changed by" in (late.outcome or "")
    assert await _weights(node) == {1: 10_000}
    assert (await node.do("runbooks.undo", "x", {})).state is State.REFUSED
    assert len(walked) == 3


@pytest.mark.parametrize(
    ("book", "inputs", "said"),
    [
        ("nope", {}, "There is no runbook nope; known: "),
        ("roll-back", {}, "roll-back needs the input service; add service=VALUE"),
        ("roll-back", {"service": "support", "x": "y"}, "roll-back has no input x"),
        ("broken", {}, "broken.yaml"),
    ],
)
async def test_what_cannot_be_started_is_refused(
    node: RealNode, book: str, inputs: dict[str, str], said: str
) -> None:
    """With a sentence, and without a run."""
    ended = await node.do("runbooks.start", book, {"inputs": inputs})
    assert ended.state is State.REFUSED
    assert said in (ended.outcome or "")


async def test_a_runbook_is_read_when_it_is_started(node: RealNode) -> None:
    """What lies in the home now is what runs, and only if it is what the person was shown."""
    path = node.home.root / "runbooks" / "fresh.yaml"
    asked = "name: fresh\ntitle: t\nwhen: w\nsteps:\n  - {name: %s, sentence: '?', look: %s}\n"
    look = "{probe: split, of: support}"
    for name in ("old", "new"):
        path.write_text(asked % (name, look))
        ended = await node.do("runbooks.start", "fresh", {})
        assert ended.state is State.APPLIED
        assert [step.name for step in (await _run(node, ended.id))[1]] == [name]
    shown = catalog.every(node.home)["fresh"]
    assert isinstance(shown, steps.Runbook)
    wanted = {"content": steps.content(shown)}
    assert (await node.do("runbooks.start", "fresh", wanted)).state is State.APPLIED
    path.write_text(asked % ("other", look))
    ended = await node.do("runbooks.start", "fresh", wanted)
    assert (ended.state, ended.outcome) == (
        State.REFUSED,
        "fresh changed since you looked; look again and start it.",
    )
    path.unlink()


async def test_a_step_that_is_refused_fails_the_run(node: RealNode) -> None:
    """The reason of the refusal is the reason of the run."""
    ended = await node.do("runbooks.start", "roll-back", {"inputs": {"service": "nobody"}})
    assert ended.state is State.FAILED
    assert "step errors: There is no service nobody; known: support." in (ended.outcome or "")


async def test_a_runner_that_is_killed_continues_where_it_was(node: RealNode) -> None:
    """Kill -9 while a step waits: no step is done twice, none is left out."""
    runner = (await node.until(ready("runner")))["runner"].pid
    assert runner is not None
    accepted = await client.ask(
        node.home, "runbooks.start", "stuck", {"inputs": {"service": "support"}}
    )
    async with asyncio.timeout(BOUND_S), opened(node.home) as store:
        while True:  # until its first intent is stored
            async with store.read() as session:
                newest = (await intents.tail(session, 1))[0]
            if newest.verb == "services.split" and newest.id > accepted.intent_id:
                break
            await asyncio.sleep(0)
        os.kill(runner, signal.SIGKILL)
        ended = await client.wait(store, accepted.intent_id, BOUND_S)
        async with store.read() as session:
            asked = [
                intent.verb
                for intent in (await intents.tail(session))[::-1]
                if intent.id > accepted.intent_id and "runbook stuck" in intent.reason
            ]
    assert asked == ["services.split", "services.undo", "services.undo"]
    assert ended.state is State.FAILED  # its last step expects requests, and there are none
    assert "step third: requests is 0.0 after 0.2 s (expected >= 1)" in (ended.outcome or "")
    run, walked = await _run(node, accepted.intent_id)
    assert run.state is runs.State.FAILED
    assert [step.ended_at_us is not None for step in walked] == [True, True, True]


ATTENDED = """
name: attended
title: Stops before each action
when: In tests.
pace: step
inputs:
  service: {sentence: which, type: service}
  deployment: {sentence: which, type: deployment, probe: deployment, of: "{service}"}
  most: {sentence: how many, type: integer, default: "1"}
steps:
  - name: quiet
    sentence: Is anything asked for?
    look: {probe: requests, of: "{service}", window_s: 60, expected: "> 1000000"}
    branch:
      - {if: expected, to: end}
  - name: hand
    sentence: Look at the room.
    ask: {sentence: "Is {deployment} cool?", note: true}
  - name: cap
    sentence: Run fewer requests at once.
    look: {probe: knob_max_running, of: "{deployment}"}
    do: {verb: knobs.set, target: "{deployment}", arguments: {name: max_running, value: "{most}"}}
    verify: {probe: knob_max_running, of: "{deployment}", expected: "<= {most}"}
    undo:
      verb: knobs.undo
      target: "{deployment}"
      arguments: {name: max_running, intent: "{intent}"}
    branch:
      - {if: verified, to: last}
  - name: around
    sentence: Never reached.
    do: {verb: box.unfreeze}
  - name: last
    sentence: Never needed.
    look: {probe: knob_max_running, of: "{deployment}", expected: "<= 1"}
    when: unexpected
    do: {verb: box.unfreeze}
"""


async def _decide(node: RealNode, run: int, verb: str, **arguments: object) -> str:
    ended = await node.do(f"runbooks.{verb}", str(run), arguments, reason="tried in a test")
    assert ended.state is State.APPLIED, ended.outcome
    return ended.outcome or ""


async def test_an_attended_run_waits_for_a_person_and_is_undone(node: RealNode) -> None:
    """Killed while it waits and while it walks; no terminal and no process has to hold it."""
    (node.home.root / "runbooks" / "attended.yaml").write_text(ATTENDED)
    asked = {"inputs": {"service": "support"}}
    started = await node.do("runbooks.start", "attended", asked, reason="slow")
    run, walked = await _run(node, started.id)
    assert (run.state, run.waits_for, run.waits_at) == (runs.State.WAITING, "confirm", "hand")
    assert "step 2 of 5, hand: Is " in (started.outcome or "")
    assert [step.name for step in walked] == ["quiet", "hand"]

    runner = (await node.until(ready("runner")))["runner"].pid
    assert runner is not None
    os.kill(runner, signal.SIGKILL)
    refused = await node.do("runbooks.next", str(run.id), {})
    assert refused.state is State.REFUSED
    assert "does not wait for that: `paddock runbooks confirm" in (refused.outcome or "")
    said = await _decide(node, run.id, "confirm", step="hand", note="18 degrees")
    assert "waits at step 3 of 5, cap: " in said
    assert "max_running 2 → 1" in said
    said = await _decide(node, run.id, "next", step="cap")
    assert "all steps succeeded" in said
    async with opened(node.home) as store, store.read() as session:
        steps_ = {step.name: step for step in await run_steps.of(session, run.id)}
        kinds = [each.kind.value for each in await run_events.of(session, run.id)]
    assert {name: step.outcome for name, step in steps_.items()} == {
        "quiet": "done", "hand": "done", "cap": "done", "last": "skipped",
    }  # fmt: skip
    assert (steps_["cap"].looked, steps_["cap"].before, steps_["cap"].after) == (2, 2, 1)
    assert kinds == [
        "began", "looked", "waits", "confirmed", "looked", "waits", "continued", "acted",
        "verified", "branched", "looked", "skipped", "ended",
    ]  # fmt: skip

    undone = await node.do("runbooks.undo", str(run.id), {})
    assert undone.state is State.APPLIED, undone.outcome
    async with opened(node.home) as store, store.read() as session:
        knob = await knobs.of(session, run.inputs["deployment"])
    assert knob["max_running"] == 2


async def test_what_changed_since_a_step_looked_is_not_acted_on(node: RealNode) -> None:
    """The person let it act on what it was; a retry looks again, and abort ends the run."""
    path = node.home.root / "runbooks" / "attended.yaml"
    looked = ATTENDED.replace('value: "{most}"', 'value: "{looked} - 1"')
    path.write_text(looked.replace('expected: "<= {most}"', "expected: '<= 2'"))
    started = await node.do("runbooks.start", "attended", {"inputs": {"service": "support"}})
    run, _ = await _run(node, started.id)
    assert "max_running 2 → 1" in await _decide(node, run.id, "confirm")
    path.unlink()  # a run continues with the runbook that it began with
    deployment = run.inputs["deployment"]
    await node.must("knobs.set", deployment, {"name": "max_running", "value": 1})
    said = await _decide(node, run.id, "next", step="cap")
    assert "knob_max_running changed since the step looked: it is 1, not 2" in said
    assert "`paddock runbooks retry" in said
    await node.must("knobs.set", deployment, {"name": "max_running", "value": 2})
    assert "max_running 2 → 1" in await _decide(node, run.id, "retry")
    assert "aborted by" in await _decide(node, run.id, "abort")
    async with opened(node.home) as store, store.read() as session:
        assert (await runs.find(session, run.id)).state is runs.State.ABORTED
        assert (await knobs.of(session, deployment))["max_running"] == 2
