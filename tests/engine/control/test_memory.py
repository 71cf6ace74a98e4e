"""What does not fit is refused before it is loaded, with the numbers and what would fit."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from engine.control import devices, memory
from engine.control import releases as creation
from engine.control.memory_demand import Demand, Observed
from engine.metering import gpu
from engine.node import memory_estimate
from engine.node.placement import Device
from storage import intents, processes, releases, samples
from storage.home import clock
from storage.model_memory import Memory, Point
from storage.processes import State
from storage.releases import Engine
from storage.store import Session
from tests.engine.control.desks import Desk, desk
from tests.engine.metering.fake_nvml import Driver
from tests.engine.node.test_footprint import VERSION

GB = 10**9
ENGINE = Engine(context_tokens=8192, max_sequences=16)
MEASURED = Memory(
    weights_bytes=4 * GB,
    repacked=False,
    process_bytes=GB // 10,
    points=tuple(
        Point(
            context_tokens=tokens,
            max_sequences=sequences,
            cache_bytes=tokens * sequences * 50_000,
            compute_bytes=200_000_000 + tokens * 1000 + sequences * 500_000,
        )
        for tokens in (1024, 8192)
        for sequences in (1, 16)
    ),
)
DEMAND = Demand(
    "llama-1.0.0", msgspec.structs.replace(VERSION, memory=MEASURED), ENGINE, 1, 0, False
)


def test_settings_between_the_measured_ones_are_interpolated() -> None:
    """The cache exactly, as it is bilinear."""
    cache, compute = MEASURED.context_bytes(2048, 4)
    assert (cache, compute) == (2048 * 4 * 50_000, 200_000_000 + 2_048_000 + 2_000_000)


def test_each_adapter_has_a_context_of_its_own() -> None:
    """The weights are shared."""
    alone = memory_estimate.of(DEMAND.weights, ENGINE, on_gpu=False)
    two = memory_estimate.of(DEMAND.weights, ENGINE, on_gpu=False, adapters=2)
    assert two.cache_bytes == 3 * alone.cache_bytes
    assert two.weights_bytes == alone.weights_bytes


def test_what_fits_is_not_refused() -> None:
    """To the byte."""
    assert memory.decide(Observed((DEMAND,), (), DEMAND.needed_bytes, "in memory")) is None


def test_a_refusal_has_the_numbers_and_the_plans_that_fit() -> None:
    """Fewer sequences, less context, or another deployment drained first."""
    other = replace(DEMAND, name="ops-1.0.0", engine=Engine(context_tokens=1024, max_sequences=4))
    refusal = memory.decide(Observed((DEMAND,), (other,), 8 * GB, "in memory"))
    assert refusal is not None
    said = refusal.sentence
    assert said.startswith(
        "llama-1.0.0 does not fit: it needs 10.9 GB in memory (weights 4 GB, KV cache 6.55 GB, "
        "the rest 316 MB), and 8 GB are free."
    )
    assert "--max-sequences 8 or in a release with --context-tokens 4096" in said
    assert "once ops-1.0.0 (" in said
    for engine in memory_estimate.smaller(DEMAND.weights, ENGINE, 8 * GB, on_gpu=False):
        assert memory_estimate.of(DEMAND.weights, engine, on_gpu=False).more_bytes(0, 1) <= 8 * GB


def test_a_quantised_kv_cache_is_among_the_plans_where_the_model_can_have_one() -> None:
    """The most exact that fits; a release that has q8_0 already is offered q4_0."""
    halved = tuple(
        msgspec.structs.replace(each, kv_cache_type="q8_0", cache_bytes=each.cache_bytes * 34 // 64)
        for each in MEASURED.points
    )
    quartered = tuple(
        msgspec.structs.replace(each, kv_cache_type="q4_0", cache_bytes=each.cache_bytes * 18 // 64)
        for each in MEASURED.points
    )
    measured = msgspec.structs.replace(MEASURED, points=(*MEASURED.points, *halved, *quartered))
    able = replace(DEMAND, weights=msgspec.structs.replace(VERSION, memory=measured))
    refusal = memory.decide(Observed((able,), (), 8 * GB, "in memory"))
    assert refusal is not None
    assert refusal.sentence.endswith("or in a release with --kv-cache-type q8_0.")
    able = replace(able, engine=msgspec.structs.replace(ENGINE, kv_cache_type="q8_0"))
    assert memory.decide(Observed((able,), (), 8 * GB, "in memory")) is None
    refusal = memory.decide(Observed((able,), (), 7 * GB, "in memory"))
    assert refusal is not None
    assert refusal.sentence.endswith("or in a release with --kv-cache-type q4_0.")


def test_weights_that_do_not_fit_at_all_have_no_plan() -> None:
    """Nothing is promised that would not help."""
    refusal = memory.decide(Observed((DEMAND,), (), GB, "in memory"))
    assert refusal is not None
    assert refusal.sentence.endswith("No smaller setting would fit.")


def test_an_adapter_that_joins_a_running_deployment_takes_its_context_alone() -> None:
    """The weights and the other contexts are there; what is held against memory is what is new."""
    joining = replace(DEMAND, adapters=2, loaded=1)
    cache, compute = MEASURED.context_bytes(ENGINE.context_tokens, ENGINE.max_sequences)
    assert joining.needed_bytes == cache + compute
    other = replace(DEMAND, name="ops-1.0.0", engine=Engine(context_tokens=1024, max_sequences=4))
    assert (
        memory.decide(Observed((joining,), (DEMAND, other), cache + compute, "in memory")) is None
    )
    refusal = memory.decide(Observed((joining,), (DEMAND, other), cache, "in memory"))
    assert refusal is not None
    assert refusal.sentence == (
        "1 more adapter of llama-1.0.0 does not fit: that needs 6.77 GB in memory "
        "(KV cache 6.55 GB, the rest 216 MB), and 6.55 GB are free. It would fit once ops-1.0.0 "
        "(4.51 GB) is drained: take its releases out of every split first."
    )


def test_a_kv_cache_that_the_model_cannot_have_is_refused_with_its_release() -> None:
    """With the reason that libllama gave when the model was added, before anything is loaded."""
    reason = "K cache type q8_0 with block size 32 does not divide n_embd_head_k=24"
    measured = msgspec.structs.replace(MEASURED, impossible={"q8_0": reason, "q4_0": reason})
    version = msgspec.structs.replace(VERSION, memory=measured)
    assert creation.refuse(version, None, Engine()) is None
    refusal = creation.refuse(version, None, Engine(kv_cache_type="q8_0"))
    assert refusal is not None
    assert refusal.sentence == (
        "ops@1.0.0 cannot have a KV cache of type q8_0; use --kv-cache-type f16. "
        f"libllama says: {reason}."
    )


@asynccontextmanager
async def full_box(root: Path) -> AsyncIterator[Desk]:
    """A box with a service whose deployment runs, and a megabyte of memory left."""
    async with desk(root, furnished=True) as control:
        host = samples.HostSample(
            cpu_percent=0, cores=1, memory_used=98 * 10**6, memory_total=101 * 10**6, disk_used=0,
            disk_total=1, load1=0,
        )  # fmt: skip

        async def work(s: Session) -> None:
            second = clock.now_us() // 1_000_000
            await samples.record(s, second, [(samples.Kind.HOST, "box01", host)])
            await processes.declare(
                s, name="ops-1.0.0:1", kind=processes.Kind.WORKER, at_us=1, deployment="ops-1.0.0"
            )
            await processes.move(s, "ops-1.0.0:1", State.READY, at_us=1)

        await control.store.write(work)
        yield control


async def test_without_a_sample_the_memory_is_asked_for_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Just after a start, or while the store takes no samples: nothing is loaded blindly."""
    async with desk(tmp_path / "home", furnished=True) as control:
        await control.do("releases.create", "", model="ops@1.0.0", engine={"max_sequences": 8})
        with monkeypatch.context() as patch:
            patch.setattr(devices, "ram_now", lambda: devices.Ram(101 * 10**6, 98 * 10**6))
            refused = await control.do("services.create", "another", release="r3")
            assert refused.state is intents.State.REFUSED
            assert "does not fit: it needs" in (refused.outcome or "")
        created = await control.do("services.create", "another", release="r3")
        assert created.state is intents.State.APPLIED, created.outcome


async def test_a_driver_that_does_not_answer_lets_nothing_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for half a second; a release that uses no GPU is not concerned."""
    answers = threading.Event()

    def hanging() -> list[Device]:
        answers.wait(60)
        return []

    monkeypatch.setattr(devices, "gpus_now", hanging)
    monkeypatch.setattr(devices, "DRIVER_S", 0.0)
    async with desk(tmp_path / "home", furnished=True) as control:
        refused = await control.do("services.create", "another", release="r1")
        assert refused.state is intents.State.REFUSED
        assert "the driver of the GPUs does not answer" in (refused.outcome or "")
        await control.do("releases.create", "", model="ops@1.0.0", engine={"gpu_layers": 0})
        created = await control.do("services.create", "another", release="r3")
        assert created.state is intents.State.APPLIED, created.outcome
        answers.set()


def test_the_free_memory_of_the_cards_is_asked_of_their_driver() -> None:
    """A card that does not say is left out; without a driver there is none."""
    free = 77 << 30
    assert gpu.free_bytes(lambda: Driver(2)) == [(0, free), (1, free)]
    assert gpu.free_bytes(lambda: Driver(2, broken=("nvmlDeviceGetMemoryInfo",))) == []
    assert gpu.free_bytes(lambda: Driver(2, broken=("nvmlInit",))) == []


async def test_an_adapter_that_does_not_fit_beside_what_runs_is_refused(tmp_path: Path) -> None:
    """By a split; the release that runs may get more traffic."""
    async with full_box(tmp_path / "home") as control:
        refused = await control.do("services.split", "support", arms={"r1": 9000, "r2": 1000})
        assert refused.state is intents.State.REFUSED
        assert (refused.outcome or "").startswith("1 more adapter of ops-1.0.0 does not fit")
        created = await control.do("services.create", "another", release="r1")
        assert created.state is intents.State.APPLIED


async def test_a_manifest_that_does_not_fit_is_refused_as_a_whole(tmp_path: Path) -> None:
    """As `services create` and `services split` are; no release is left behind."""
    async with full_box(tmp_path / "home") as control:
        large = {"model": "ops@1.0.0", "engine": {"max_sequences": 8}}
        wanted = [{"weight_bp": 10_000, "release": large}]
        for target, seen in (("support", 1), ("another", 0)):
            refused = await control.do("manifests.apply", target, seen, arms=wanted)
            assert refused.state is intents.State.REFUSED
            assert "does not fit: it needs" in (refused.outcome or "")
        async with control.store.read() as s:
            assert await releases.newest(s) == 2
