"""Runs of runbooks on a real box: started by an alert, left by terminals, shared by two people."""

from __future__ import annotations

import asyncio
import grp
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from runbooks.drills.load import Ask, Load
from storage import (
    alerts,
    deployments,
    incident_alerts,
    incident_timelines,
    incidents,
    intents,
    keys,
    knobs,
    run_events,
    run_steps,
    runs,
)
from storage.control_socket import nudges
from storage.home.paths import Home
from storage.incident_timelines import Source
from storage.run_events import Kind
from storage.runs import Run, State, Waits
from storage.store import Session
from tests import home_fixtures, other_users
from tests.app.tmux import Tmux, needs_tmux
from tests.engine.node.nodes import RealNode, opened, ready
from tests.other_users import Said, User

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1_200)]

BOUND_S: Final = 300.0
PADDOCK: Final = Path(sys.executable).with_name("paddock")
GROUP: Final = next(each for each in grp.getgrall() if each.gr_gid)
SARA, TOM = (User(uid, (GROUP.gr_gid,)) for uid in (61_401, 61_402))

RELIEVE: Final = """
name: relieve
title: Shorten answers, then refuse what would wait
when: Requests queue.
inputs:
  service: {sentence: which, type: service, probe: only_service}
  deployment: {sentence: which, type: deployment, probe: deployment, of: "{service}"}
on: {alert: crowded, alone: [long], at_most: 1 per 1h, stop_at: shed}
pace: step
steps:
  - name: long
    sentence: Cap the length of answers.
    look: {probe: waiting, of: "{deployment}", window_s: 30}
    do: {verb: knobs.set, target: "{deployment}", arguments: {name: max_tokens_cap, value: 8}}
    verify: {probe: knob_max_tokens_cap, of: "{deployment}", expected: "<= 8"}
    undo:
      verb: knobs.undo
      target: "{deployment}"
      arguments: {name: max_tokens_cap, intent: "{intent}"}
  - name: shed
    sentence: Refuse what would wait.
    do: {verb: knobs.set, target: "{deployment}", arguments: {name: queue_limit, value: 1}}
    verify: {probe: knob_queue_limit, of: "{deployment}", expected: "<= 1"}
    undo:
      verb: knobs.undo
      target: "{deployment}"
      arguments: {name: queue_limit, intent: "{intent}"}
"""
CROWDED: Final = {
    "name": "crowded",
    "expression": "sum by (deployment) (paddock_instance_waiting) > 2",
    "for_s": 15,
    "severity": "critical",
    "summary": "{{ $value }} requests wait for {{ $labels.deployment }}.",
    "runbook": "relieve",
}
ATTENDED: Final = """
name: attended
title: Has each kind of step
when: In tests.
pace: step
inputs:
  service: {sentence: which, type: service, probe: only_service}
  deployment: {sentence: which, type: deployment, probe: deployment, of: "{service}"}
steps:
  - name: hand
    sentence: Look at the room.
    ask: {sentence: "Is it cool?", note: true}
  - name: fewer
    sentence: Run fewer at once.
    look: {probe: knob_max_running, of: "{deployment}"}
    do: {verb: knobs.set, target: "{deployment}", arguments: {name: max_running, value: 1}}
    verify:
      probe: requests
      of: "{service}"
      window_s: 1
      expected: "> 1000000"
      timeout_s: 1
      unmet: undo
    undo:
      verb: knobs.undo
      target: "{deployment}"
      arguments: {name: max_running, intent: "{intent}"}
    branch:
      - {if: unverified, to: cap}
  - name: around
    sentence: Not reached.
    do: {verb: box.unfreeze}
  - name: cap
    sentence: Cap the length of answers.
    do: {verb: knobs.set, target: "{deployment}", arguments: {name: max_tokens_cap, value: 9}}
    verify: {probe: knob_max_tokens_cap, of: "{deployment}", expected: "<= 9"}
    undo:
      verb: knobs.undo
      target: "{deployment}"
      arguments: {name: max_tokens_cap, intent: "{intent}"}
  - name: fails
    sentence: A verify that is not met, and is skipped by a person.
    do: {verb: box.unfreeze, target: box}
    verify: {probe: box_frozen, expected: == 1, timeout_s: 0.5}
"""


@pytest.fixture(scope="module")
def node() -> Iterator[RealNode]:
    """A box with one service on one small worker, which two people may use."""
    with other_users.open_directory() as place:
        running = RealNode(place / "home")
        running.home.config.write_text(
            f'[people]\ngroup = "{GROUP.gr_name}"\noperator = ["uid{SARA.uid}", "uid{TOM.uid}"]\n'
        )
        own = running.home.root / "runbooks"
        own.mkdir(mode=0o755)
        for name, text in (("relieve", RELIEVE), ("attended", ATTENDED)):
            (own / f"{name}.yaml").write_text(text)
        running.start()
        try:
            asyncio.run(_furnish(running))
            yield running
        finally:
            running.end()


async def _furnish(node: RealNode) -> None:
    for name in ("gateway", "control", "runner"):
        await node.until(ready(name))
    await node.release("ops", home_fixtures.WEIGHTS)
    await node.must("services.create", "support", {"release": "r1"})


async def _until(home: Home, what: Any, holds: Any) -> Any:
    """What the store has as soon as it is as wanted."""
    async with asyncio.timeout(BOUND_S), opened(home) as store:
        with nudges.listen(home, f"test-runs-{os.getpid()}") as listener:
            while True:
                async with store.read() as s:
                    found = await what(s)
                if found is not None and holds(found):
                    return found
                await listener.wait(timeout_s=0.5)


async def _newest(s: Session) -> Run | None:
    found = await runs.tail(s, 1)
    return found[0] if found else None


async def _knobs(node: RealNode) -> dict[str, int]:
    async with opened(node.home) as store, store.read() as s:
        (deployment,) = await deployments.every(s)
        return await knobs.of(s, deployment.name)


async def _load(node: RealNode) -> Load:
    """Clients that are told apart from people's, and may ask."""
    key = keys.mint()
    added = {
        "name": "load", "prefix": key.prefix, "sha256": key.sha256, "role": "client",
        "tenant": "load", "synthetic": True,
    }  # fmt: skip
    await node.must("keys.add", "load", added)
    port = node.environment["PADDOCK_GATEWAY__PORT"]
    return Load(f"http://127.0.0.1:{port}", key.secret, "support")


async def test_an_alert_that_fires_starts_its_runbook_which_stops_and_calls(node: RealNode) -> None:
    """It takes its own step, calls a person before the other, and all of it can be undone."""
    await node.must("alerts.set_rules", "alerts", {"rules": [CROWDED]})
    await node.must("runbooks.automate", "relieve", {})
    before = await _knobs(node)
    load = await _load(node)
    try:
        load.ask(Ask(words=20, max_tokens=100, temperature=2.0), 12)
        run = await _until(node.home, _newest, lambda run: run.state is State.WAITING)
        fired = await _until(node.home, _called, lambda found: "automation-waits" in found)
    finally:
        load.stop()
    assert (run.actor, run.waits_at, run.taken_by) == ("automation relieve", "shed", None)
    assert (await _knobs(node))["max_tokens_cap"] == 8
    crowded, waits = fired["crowded"], fired["automation-waits"]
    assert crowded.fired_at_us <= run.began_at_us
    assert (waits.labels["run"], waits.labels["runbook"]) == (str(run.id), "relieve")
    async with opened(node.home) as store, store.read() as s:
        started = await intents.find(s, run.intent_id)
    assert (started.actor, started.reason.partition(":")[0]) == (run.actor, f"alert {crowded.id}")

    await node.must("runbooks.next", str(run.id), {"step": "shed"})
    ended = await _until(node.home, _newest, lambda run: run.ended_at_us)
    assert ended.state is State.DONE, ended.reason
    assert (await _knobs(node))["queue_limit"] == 1
    await node.must("runbooks.undo", str(run.id), {})
    after = await _knobs(node)
    assert all(after[name] == before.get(name, after[name]) for name in after)
    assert after["max_tokens_cap"] > 8 < after["queue_limit"]

    async with opened(node.home) as store, store.read() as s:
        (incident,) = await incidents.open_ones(s)
        joined = {each.rule for each in await incident_alerts.of(s, incident.id)}
        lines = await incident_timelines.read(s, incident, ended.ended_at_us + 10**9)
    assert joined == {"crowded", "automation-waits"}
    said = [
        (each.actor, each.sentence) for each in lines if each.source is Source.RUNBOOK
    ]  # fmt: skip
    for kind, actor in (
        (f"relieve (run {run.id}) began", "automation relieve"),
        (f"relieve (run {run.id}) acted long", "automation relieve"),
        (f"relieve (run {run.id}) waits shed", "runner"),
        (f"relieve (run {run.id}) acted shed", started_by(said)),
        (f"undo of run {run.id} (run {run.id + 1}) acted long", started_by(said)),
    ):
        assert any(who == actor and line.startswith(kind) for who, line in said), (kind, said)
    await node.must("runbooks.automate", "relieve", {"on": False})


def started_by(said: list[tuple[str, str]]) -> str:
    """The person of the timeline, who is neither the runner nor automation."""
    (person,) = {who for who, _ in said} - {"runner", "automation relieve"}
    return person


async def _called(s: Session) -> dict[str, alerts.Alert]:
    """The firing alerts, by their rules."""
    return {each.rule: each for each in await alerts.active(s) if each.fired_at_us is not None}


def _decide(node: RealNode, run: Run, folder: Path) -> None:
    """Open a terminal, let the run continue by keys, and close the terminal before it has."""
    environment = {**node.environment, "PADDOCK_HOME": str(node.home.root), "LANG": "C.UTF-8"}
    terminal = Tmux(folder, [PADDOCK], environment)
    try:
        terminal.until("LIVE support")
        terminal.press(":", "r", "w", "Enter")
        terminal.until("RW 15 min")
        terminal.press("k")
        terminal.until(f"▸{run.id:>5}" if run.id > 9 else f"▸    {run.id}")
        terminal.press("Enter")
        terminal.until(f"waiting at {run.waits_at}")
        match run.waits_for:
            case Waits.NEXT:
                terminal.press("G")
            case Waits.CONFIRM:
                terminal.press("C")
                terminal.until("enter shows the effect")
                terminal.press("Enter")
            case _:
                terminal.press("S")
                terminal.until("needed; enter: do it")
                terminal.press(*"enough")
        terminal.until("enter: do it")
        terminal.press("Enter")
        asyncio.run(_until(node.home, _newest, lambda now: now.driver != run.driver))
    finally:
        terminal.close()


@needs_tmux
@pytest.mark.parametrize(
    ("book", "inputs", "stops"),
    [
        ("attended", {}, ["hand", "fewer", "cap", "fails", "fails"]),
        ("cost-overrun", {"max_tokens": "64"}, ["long", "background", "tenant"]),
        ("gpu-lost", {}, ["freeze", "reset", "unfreeze"]),
        ("disk-full", {"limit": "0.0001"}, ["models", "backups"]),
    ],
)
def test_a_run_survives_closing_the_terminal_at_every_step(
    node: RealNode, tmp_path: Path, book: str, inputs: dict[str, str], stops: list[str]
) -> None:
    """Each step is let act from another terminal, which is closed while the step runs."""
    before = asyncio.run(_knobs(node))
    asyncio.run(node.must("runbooks.start", book, {"inputs": inputs}))
    met = []
    while True:
        run = asyncio.run(_until(node.home, _newest, lambda now: now.state is not State.RUNNING))
        if run.state is not State.WAITING:
            break
        met.append(run.waits_at)
        _decide(node, run, tmp_path)
    assert (run.state, run.runbook) == (State.DONE, book), run.reason
    assert met == stops
    asyncio.run(_all_walked(node, run))
    asyncio.run(node.do("runbooks.undo", str(run.id), {}))
    after = asyncio.run(_knobs(node))
    assert {name: after[name] for name in before} == before


async def _all_walked(node: RealNode, run: Run) -> None:
    """Each step has ended, and each acted at most once, and is in the timeline."""
    async with opened(node.home) as store, store.read() as s:
        steps = await run_steps.of(s, run.id)
        events = await run_events.of(s, run.id)
    assert all(step.ended_at_us is not None for step in steps)
    acted = [each.step for each in events if each.kind is Kind.ACTED]
    assert len(acted) == len(set(acted))
    assert set(acted) == {step.name for step in steps if step.intent_id is not None}


@other_users.only_root
def test_two_people_in_one_run_see_each_other_and_one_decides(
    node: RealNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other is told who has it and how to take it over; both are in what everybody reads."""
    monkeypatch.setenv("PADDOCK_HOME", str(node.home.root))
    sara, tom = f"uid{SARA.uid}", f"uid{TOM.uid}"
    started, tried = other_users.paddock(
        {
            SARA: (("runbooks", "start", "attended", "--yes"),),
            TOM: (("runbooks", "list"),),
        }
    )
    assert (started[0].code, tried[0].code) == (0, 0), started
    run = asyncio.run(_until(node.home, _newest, lambda now: now.state is State.WAITING))
    number = str(run.id)

    def asked(who: User, *lines: tuple[str, ...]) -> list[Said]:
        (said,) = other_users.paddock(
            {who: tuple(("runbooks", verb, number, *rest) for verb, *rest in lines)}
        )
        return said

    refused, noted, shown = asked(TOM, ("confirm",), ("note", "the fan is loud"), ("get",))
    assert refused.code == 1
    assert f"Run {number} is taken by {sara}; `paddock runbooks take {number}`" in refused.err
    assert noted.code == 0, noted.err
    assert f"taken by {sara}" in shown.out
    assert f"timeline ({sara}, {tom})" in shown.out

    (seen,) = asked(SARA, ("get",))
    assert f"{tom}  noted hand: the fan is loud" in seen.out or "noted: the fan is loud" in seen.out
    taken, did = asked(TOM, ("take",), ("confirm", "--note", "20 degrees"))
    assert (taken.code, did.code) == (0, 0), taken.err + did.err
    assert f"Run {number} is {tom}'s now, from {sara}." in taken.out
    late, back, ended = asked(
        SARA, ("next", "--yes"), ("take",), ("abort", "--reason", "only a test")
    )
    assert late.code == 1
    assert f"is taken by {tom}" in late.err
    assert (back.code, ended.code) == (0, 0), back.err + ended.err
    assert f"aborted by {sara}" in ended.out
