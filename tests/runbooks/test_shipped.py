"""Each shipped runbook meets its fault, takes it away, and is undone.

The box is in one process; control carries out what the steps ask for, and its effect on what is
measured is recorded with it. `tests/acceptance/test_drills.py` has the same on a real box.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from runbooks import parsing
from storage import (
    alerts,
    deployments,
    freezes,
    knobs,
    prompts,
    rollouts,
    runs,
    services,
    upstream_health,
)
from storage.processes import State as ProcessState
from storage.samples import Kind
from storage.store import Session
from tests.runbooks import worlds
from tests.runbooks.worlds import World, gpu, host, instance, latency

OPS = "ops-1.0.0"
ARM = (Kind.ARM, "support/r1")
TESTED = {
    "high-latency", "high-error-rate", "cost-overrun", "quality-drop", "bad-canary",
    "worker-crash-loop", "stuck-engine", "kv-pressure", "gpu-too-hot", "gpu-lost", "disk-full",
    "toxic-output", "withdraw-prompt", "roll-back",
}  # fmt: skip


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A box that answers well."""
    async with worlds.world(tmp_path / "home", monkeypatch) as made:
        yield made


def test_every_shipped_runbook_is_tried() -> None:
    """Here, or in `test_runner.py` on a real box."""
    assert {path.stem for path in parsing.LIBRARY.glob("*.yaml")} == TESTED


async def knob(world: World, name: str) -> int | None:
    """A knob of the deployment as it is set now."""
    found: dict[str, int] = await world.read(lambda s: knobs.of(s, OPS))
    return found.get(name)


async def split(world: World) -> dict[int, int]:
    """The weights of the service."""
    service = await world.read(lambda s: services.find(s, "support"))
    return {arm.release: arm.weight_bp for arm in service.split.arms}


async def slow(world: World, ms: int, **more: Any) -> None:
    """The service answers so slowly; its instance is idle unless `more` says otherwise."""
    await world.measured(
        (*ARM, latency(ms)),
        (Kind.INSTANCE, f"{OPS}:1", instance(**more)),
        (Kind.HOST, "box", host()),
    )


async def test_high_latency_on_idle_hardware_is_a_batch_too_small(world: World) -> None:
    """The knob goes to what the instances were loaded for, and undo brings the former value."""
    await world.must("knobs.set", OPS, name="max_running", value=2)
    await slow(world, 6000, running=2, waiting=9)

    async def faster(world: World) -> None:
        await slow(world, 800, running=11)

    world.reacts["knobs.set max_running"] = faster
    run, steps = await world.walked("high-latency")
    assert run.state is runs.State.DONE
    assert world.asked == ["batch: knobs.set"]
    assert steps["batch"].before == pytest.approx(6000, rel=0.01)
    assert steps["batch"].after == pytest.approx(800, rel=0.01)
    assert await knob(world, "max_running") == 16
    world.reacts.clear()
    await world.must("runbooks.undo", str(run.id))
    assert await knob(world, "max_running") == 2


async def test_high_latency_on_busy_hardware_goes_to_the_long_answers_and_on(world: World) -> None:
    """Each step that does not help is followed by the next; what helped ends the run."""
    await world.must("services.split", "support", arms={"r1": 5000, "r2": 5000})
    await slow(world, 6000, running=16, waiting=40, busy=0.97)

    async def faster(world: World) -> None:
        await slow(world, 900, busy=0.6)

    world.reacts["services.undo"] = faster
    run, steps = await world.walked("high-latency")
    assert run.state is runs.State.DONE
    assert world.asked == [
        "long: knobs.set", "shed: knobs.set", "scale: deployments.scale",
        "scale (undo): deployments.scale", "back: services.undo",
    ]  # fmt: skip
    assert steps["scale"].outcome == "undone"  # a second instance did not help
    assert await knob(world, "queue_limit") == 2
    assert "batch" not in steps  # the branch went round it
    assert await split(world) == {1: 10_000}
    deployment = await world.read(lambda s: deployments.find(s, OPS))
    assert (deployment.replicas, await knob(world, "max_tokens_cap")) == (1, 128)
    await world.must("runbooks.undo", str(run.id))
    deployment = await world.read(lambda s: deployments.find(s, OPS))
    assert (deployment.replicas, await knob(world, "max_tokens_cap")) == (1, 131_072)
    assert await knob(world, "queue_limit") == 256
    assert await split(world) == {1: 5000, 2: 5000}


async def test_a_run_for_an_alert_is_about_what_the_alert_is_about(world: World) -> None:
    """The deployment of its worker, and the service that it computes for."""

    async def fires(s: Session) -> int:
        return await alerts.begin(
            s, rule="kv-pressure", rule_version=0, labels={"worker": f"{OPS}:1"},
            runbook="kv-pressure", severity=alerts.Severity.WARNING, summary="full",
            state=alerts.State.FIRING, value=0.99, clock_us=1, at_us=world.now_us(),
        )  # fmt: skip

    number = await world.store.write(fires)
    await slow(world, 300, kv=0.99)
    started = await world.person("runbooks.start", "kv-pressure", alert=number, pace="step")
    run, _ = await world.run(started)
    assert (run.inputs["service"], run.inputs["deployment"]) == ("support", OPS)
    refused = await world.person("runbooks.start", "kv-pressure", alert=number + 1)
    assert f"There is no alert {number + 1}" in (refused.outcome or "")


async def test_what_is_fast_already_is_left_alone(world: World) -> None:
    """The first look ends the run."""
    await slow(world, 300)
    run, steps = await world.walked("high-latency")
    assert (run.state, list(steps), world.asked) == (runs.State.DONE, ["latency"], [])


async def test_high_error_rate_after_a_change_goes_back(world: World) -> None:
    """Without a rollout and with a sound deployment, the last change of the split is to blame."""
    await world.must("services.split", "support", arms={"r2": 10_000})
    await world.measured((*ARM, latency(300, failed=20)))

    async def sound(world: World) -> None:
        await world.measured((*ARM, latency(300)))

    world.reacts["services.undo"] = sound
    run, steps = await world.walked("high-error-rate")
    assert run.state is runs.State.DONE
    assert world.asked == ["back: services.undo"]
    assert (steps["canary"].outcome, steps["restart"].outcome) == ("skipped", "skipped")
    assert (steps["back"].before, steps["back"].after) == (0.5, 0.0)
    assert await split(world) == {1: 10_000}


async def test_high_error_rate_of_a_deployment_that_was_given_up_starts_it(world: World) -> None:
    """Its requests fail because nothing is there to compute them."""
    await world.store.write(
        lambda s: deployments.mark_failing(s, OPS, "3 deaths in 60 s: signal 11", 5)
    )
    await world.measured((*ARM, latency(300, failed=20)))

    async def sound(world: World) -> None:
        await world.measured((*ARM, latency(300)))

    world.reacts["deployments.restart"] = sound
    run, steps = await world.walked("high-error-rate")
    assert (run.state, world.asked) == (runs.State.DONE, ["restart: deployments.restart"])
    assert steps["restart"].looked == "3 deaths in 60 s: signal 11"


async def rolling_out(world: World) -> None:
    """A candidate is led to the traffic by a rollout."""
    await world.process(f"{OPS}:1", ProcessState.READY)
    await world.must("rollouts.start", "support", release="r2")


@pytest.mark.parametrize("book", ["bad-canary", "high-error-rate", "quality-drop"])
async def test_a_candidate_that_does_harm_is_taken_back(world: World, book: str) -> None:
    """By the runbook of each harm that it does; a retry is the undo."""
    await rolling_out(world)
    await world.measured((*ARM, latency(300, failed=5, down=9, up=1)))

    async def sound(world: World) -> None:
        await world.measured((*ARM, latency(300)))

    world.reacts["rollouts.abort"] = sound
    run, _ = await world.walked(book)
    assert run.state is runs.State.DONE
    assert [asked.partition(": ")[2] for asked in world.asked] == ["rollouts.abort"]
    newest = await world.read(lambda s: rollouts.latest(s, "support"))
    assert newest.state.value == "aborted"


async def test_cost_overrun_caps_answers_and_background_work(world: World) -> None:
    """The undo, when the day is over, brings both back."""
    await slow(world, 300)
    run, steps = await world.walked("cost-overrun")
    assert (run.state, steps["cost"].looked) == (runs.State.DONE, None)
    assert await knob(world, "max_tokens_cap") == 256
    assert await knob(world, "weight_background") == 1
    assert steps["instances"].outcome == "skipped"  # there is one
    await world.must("runbooks.undo", str(run.id))
    assert await knob(world, "max_tokens_cap") == 131_072
    assert await knob(world, "weight_background") == 10


async def test_a_crash_loop_is_started_again_or_left_behind(world: World) -> None:
    """The input finds the deployment that died; without success its traffic goes back."""
    await world.must("services.split", "support", arms={"r2": 10_000})
    await world.process(f"{OPS}:1", ProcessState.READY)
    await world.process(f"{OPS}:1", ProcessState.CRASHED, restarts=1, reason="signal 11")
    await world.store.write(lambda s: deployments.mark_failing(s, OPS, "signal 11, five times", 5))
    run, steps = await world.walked("worker-crash-loop")
    assert run.inputs["deployment"] == OPS
    assert world.asked == ["restart: deployments.restart", "back: services.undo"]
    assert steps["reason"].looked == "signal 11, five times"
    assert "instances_ready is 0" in (steps["restart"].sentence or "")
    assert await split(world) == {1: 10_000}


async def test_a_stuck_engine_gets_company(world: World) -> None:
    """Until the node has replaced it; undo takes the second instance away."""
    await slow(world, 300)
    await world.process(f"{OPS}:1", ProcessState.READY, silent_since_us=3, reason="no heartbeat")

    async def alive(world: World) -> None:
        await world.process(f"{OPS}:1", ProcessState.READY, silent_since_us=None)
        await world.process(f"{OPS}:2", ProcessState.READY)

    world.reacts["deployments.scale"] = alive
    run, steps = await world.walked("stuck-engine")
    assert (run.inputs["deployment"], steps["silent"].looked) == (OPS, 1)
    assert (steps["another"].before, steps["another"].after) == (1, 2)
    assert "log" not in steps  # all are alive again
    await world.must("runbooks.undo", str(run.id))
    assert (await world.read(lambda s: deployments.find(s, OPS))).replicas == 1


async def test_kv_pressure_shortens_answers_then_runs_fewer(world: World) -> None:
    """Half of what ran, once the cap alone did not make room."""
    await slow(world, 300, kv=0.99)

    async def room(world: World) -> None:
        await slow(world, 300, kv=0.5)

    world.reacts["knobs.set max_running"] = room
    run, steps = await world.walked("kv-pressure")
    assert world.asked == ["long: knobs.set", "fewer: knobs.set"]
    assert (steps["fewer"].before, steps["fewer"].after) == (0.99, 0.5)
    assert await knob(world, "max_running") == 8
    await world.must("runbooks.undo", str(run.id))
    assert await knob(world, "max_running") == 16


@pytest.fixture
async def remote(world: World) -> World:
    """The same box with the service far, which r1 answered before the upstream vllm did."""
    await world.must("upstreams.add", "vllm", url="http://127.0.0.1:9/v1")
    await world.must("releases.create", upstream={"name": "vllm", "model": "m"})
    await world.must("services.create", "far", release="r1")
    await world.must("services.split", "far", arms={"r3": 10_000})
    return world


async def busy(world: World, ms: int, kv: float) -> None:
    """The upstream answers so slowly, with its cache so full."""
    await world.measured(
        (Kind.ARM, "far/r3", latency(ms)), (Kind.INSTANCE, "vllm", instance(waiting=40, kv=kv))
    )


async def test_high_latency_of_an_upstream_goes_back_since_nothing_else_is_here(
    remote: World,
) -> None:
    """It has no knobs, and its instances are not the node's: those steps are left out."""
    await busy(remote, 6000, kv=0.5)

    async def faster(world: World) -> None:
        await busy(world, 800, kv=0.5)

    remote.reacts["services.undo"] = faster
    run, steps = await remote.walked("high-latency", service="far")
    assert (run.state, remote.asked) == (runs.State.DONE, ["back: services.undo"])
    assert steps["latency"].looked == pytest.approx(6000, rel=0.01)
    assert steps["back"].after == pytest.approx(800, rel=0.01)
    assert {steps[name].outcome for name in ("batch", "long", "shed", "scale")} == {"skipped"}


async def test_a_full_cache_of_an_upstream_is_a_persons(remote: World) -> None:
    """By its own figure; nothing here makes room in it, and the run says so."""
    await busy(remote, 300, kv=0.99)
    run, steps = await remote.walked("kv-pressure", service="far")
    assert (run.state, remote.asked) == (runs.State.DONE, [])
    assert (steps["cache"].looked, steps["call"].outcome) == (0.99, "done")


async def test_an_upstream_that_gives_no_sign_of_life_is_started_where_it_runs(
    remote: World,
) -> None:
    """It is found, as a silent instance is, and no instance is started beside it."""
    await remote.store.write(lambda s: upstream_health.observe(s, "vllm", "connection refused", 5))
    started = await remote.person("runbooks.start", "stuck-engine", inputs={})
    run, steps = await remote.run(started)
    assert (run.inputs["deployment"], steps["silent"].looked) == ("vllm", 1)
    assert (run.waits_at, "another" in steps) == ("elsewhere", False)
    await remote.store.write(lambda s: upstream_health.observe(s, "vllm", None, 6))
    await remote.must("runbooks.confirm", str(run.id), step="elsewhere", note="restarted")
    run, steps = await remote.run(started)
    assert (run.state, steps["recovered"].looked) == (runs.State.DONE, 0)


async def test_a_hot_gpu_gets_less_to_do(world: World) -> None:
    """Until it has cooled down; then no person has to look at the room."""
    await world.measured((Kind.GPU, "0", gpu(celsius=91, throttle=("thermal",))))

    async def cooler(world: World) -> None:
        await world.measured((Kind.GPU, "0", gpu(celsius=71)))

    world.reacts["knobs.set max_running"] = cooler
    run, steps = await world.walked("gpu-too-hot")
    assert (steps["fewer"].before, steps["fewer"].after) == (91, 71)
    assert steps["throttled"].looked == 0
    assert "room" not in steps
    await world.must("runbooks.undo", str(run.id))
    assert await knob(world, "max_running") == 16


async def test_a_lost_gpu_freezes_the_box_until_it_is_back(world: World) -> None:
    """A person resets it; then the deployment is started again and changes are allowed."""
    await world.measured((Kind.GPU, "0", gpu()), (Kind.GPU, "1", gpu(1)))
    await world.store.write(lambda s: deployments.mark_failing(s, OPS, "Xid 79", 5))
    world.second += 100
    started = await world.person("runbooks.start", "gpu-lost", inputs={})
    run, steps = await world.run(started)
    assert (steps["gpus"].looked, steps["before"].looked) == (0, 2)
    await world.must("runbooks.next", str(run.id))
    assert (await world.read(freezes.of_box)) is not None
    await world.must("runbooks.confirm", str(run.id), note="Xid 79, reset")
    await world.process(f"{OPS}:1", ProcessState.READY)
    for step in ("restart", "unfreeze"):
        await world.must("runbooks.next", str(run.id), step=step)
    run, steps = await world.run(started)
    assert (run.state, steps["restart"].after) == (runs.State.DONE, 1)
    assert await world.read(freezes.of_box) is None


async def test_a_full_disk_loses_texts_before_requests(world: World) -> None:
    """Texts are not recorded for now; downloaded models that nothing needs are deleted."""
    await world.must("services.set", "support", record_text=True)
    await world.measured((Kind.HOST, "box", host(disk=0.98)))

    async def room(world: World) -> None:
        await world.measured((Kind.HOST, "box", host(disk=0.6)))

    world.reacts["models.gc"] = room
    run, steps = await world.walked("disk-full")
    assert run.state is runs.State.DONE
    assert world.asked == ["texts: services.set", "models: models.gc"]
    assert (steps["models"].before, steps["models"].after) == (0.98, 0.6)
    await world.must("runbooks.undo", str(run.id))
    assert (await world.read(lambda s: services.find(s, "support"))).record_text is True


async def test_toxic_output_goes_back_and_stays_there(world: World) -> None:
    """The service is frozen, so that nothing brings the release back before people have looked."""
    await world.must("services.split", "support", arms={"r2": 10_000})
    run, _ = await world.walked("toxic-output", service="support")
    assert world.asked == ["back: services.undo", "freeze: services.freeze"]
    assert await split(world) == {1: 10_000}
    assert (await world.read(lambda s: services.find(s, "support"))).frozen is not None
    await world.must("runbooks.undo", str(run.id))
    assert (await world.read(lambda s: services.find(s, "support"))).frozen is None
    assert await split(world) == {2: 10_000}


async def test_a_prompt_is_withdrawn_by_its_label(world: World) -> None:
    """To the version before; undo points it at the later one again."""
    for text in ("Be kind.", "Be rude."):
        await world.must(
            "prompts.add", "tone", prompt="tone", messages=[{"role": "system", "template": text}]
        )
    for number in (1, 2):
        await world.must("prompts.label", "tone", label="production", number=number)
    run, _ = await world.walked("withdraw-prompt", prompt="tone")
    assert (run.inputs["now"], run.inputs["to"]) == ("2", "1")
    assert (await world.read(lambda s: prompts.labels(s, "tone")))["production"] == 1
    await world.must("runbooks.undo", str(run.id))
    assert (await world.read(lambda s: prompts.labels(s, "tone")))["production"] == 2


async def test_roll_back_is_walked_without_a_stop(world: World) -> None:
    """It is what a person wants at once."""
    await world.must("services.split", "support", arms={"r2": 10_000})
    started = await world.person("runbooks.start", "roll-back", inputs={"service": "support"})
    run, _ = await world.run(started)
    assert (run.state, await split(world)) == (runs.State.DONE, {1: 10_000})
