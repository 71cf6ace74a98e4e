"""Boxes in mid-life for the tests of the screen, written by the storage floor alone.

`quiet` is a node with one service and no requests, `busy` a box with a GPU and a split under
load, `crowded` one with more of everything than a small terminal has room for and with hostile
words wherever outsiders may write. All of it happened before `NOW_US`; no clock is read.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from storage import (
    deployments,
    feedback,
    intents,
    keys,
    processes,
    releases,
    requests,
    samples,
    services,
    splits,
    texts,
    upstream_health,
    upstreams,
)
from storage import store as stores
from storage.home import paths as homes
from storage.home.paths import Home
from storage.processes import Kind, State
from storage.requests import Class, Outcome
from storage.samples import ArmSample, GpuSample, HostSample, InstanceSample
from storage.services import Arm
from storage.sketches import Sketch
from storage.store import Session, Store
from tests.storage import fixtures

SECOND_US: Final = 1_000_000
NOW_US: Final = 1_741_921_927 * SECOND_US  # 2025-03-14 03:12:07Z
NOW: Final = NOW_US // SECOND_US
SPAN_S: Final = 15 * 60
STEP_S: Final = 5  # between two rows of one subject
GIB: Final = 2**30

# What a client, a model, a file or another machine may have written.
HOSTILE: Final = "\x1b]0;owned\x07\x1b[2J[/foo] [bold]\u202edne\u2066 \x9b31m\ttab\r\n[link=x]"

Scene = Callable[[Store], Awaitable[None]]


def make(root: Path, scene: Scene) -> Home:
    """A home with a scene in it; the store is closed again."""
    home = homes.make(Home(root))

    async def work() -> None:
        store = await stores.open(home)
        try:
            await scene(store)
        finally:
            await store.close()

    asyncio.run(work())
    return home


async def part(
    s: Session, name: str, kind: Kind, state: State, reason: str | None = None, again: int = 0
) -> None:
    """A process of the node, ten minutes old."""
    born = NOW_US - 600 * SECOND_US
    deployment = samples.deployment(name) if kind.is_instance else None
    await processes.declare(
        s, name=name, kind=kind, at_us=born, pid=4_000, restarts=again, deployment=deployment
    )
    if state is not State.STARTING:
        await processes.move(s, name, State.READY, at_us=born + SECOND_US)
    if state is not State.READY:
        await processes.move(s, name, state, at_us=NOW_US - 9 * SECOND_US, reason=reason)


async def node(s: Session, host: str = "box01") -> None:
    """A node that started ten minutes ago, with its parts."""
    born = NOW_US - 600 * SECOND_US
    await processes.node_started(s, pid=3_999, at_us=born, host=host, version="0.1.0")
    await part(s, "gateway", Kind.GATEWAY, State.READY)
    await part(s, "control", Kind.CONTROL, State.READY)
    await part(s, "runner", Kind.RUNNER, State.READY)


async def key(s: Session, name: str, *, synthetic: bool, tenant: str = "acme") -> keys.Key:
    """A client's key."""
    return await keys.add(
        s, name=name, prefix=f"pk-{name[:8]:x<8}", role=keys.Role.CLIENT,
        mac=hashlib.sha256(name.encode()).hexdigest(),
        tenant=tenant, synthetic=synthetic, actor="sara", at_us=5,
    )  # fmt: skip


async def split(s: Session, service: str, weights: dict[int, int], ago_s: int) -> None:
    """Sara set a split, and it was applied."""
    at_us = NOW_US - ago_s * SECOND_US
    arms = {f"r{release}": points for release, points in weights.items()}
    id = await intents.accept(
        s, actor="sara", role="operator", verb="services.split", target=service,
        arguments={"arms": arms}, at_us=at_us,
    )  # fmt: skip
    await intents.claim(s, verbs=["services.split"], by="control", at_us=at_us)
    await services.set_split(
        s, service=service, actor="sara", at_us=at_us, expected_version=None, intent_id=id,
        arms=[Arm(release=release, weight_bp=points) for release, points in weights.items()],
    )  # fmt: skip
    outcome = f"{service}: {splits.words(weights.items())}."
    await intents.end(s, id, intents.State.APPLIED, outcome, at_us, by="control")


def sketch(*values_us: float) -> dict[str, object]:
    """A sketch of these durations, as it is stored."""
    made = Sketch()
    for value in values_us:
        made.add(value)
    return made.to_dict()


def arm(seed: int, *, ms: int, failed: int = 0, refused: int = 0, synthetic: int = 0) -> ArmSample:
    """One second of an arm: three requests that took about `ms` milliseconds."""
    took = [(ms + 10 * ((seed + each) % 7)) * 1_000 for each in range(3)]
    return ArmSample(
        requests=3 + refused, ok=3 - failed, failed=failed, refused=refused, synthetic=synthetic,
        prompt_tokens=300, completion_tokens=90, busy_us=80_000, latency=sketch(*took),
        ttft=sketch(*(each / 5 for each in took)), thumbs_up=1, thumbs_down=int(seed % 3 == 0),
    )  # fmt: skip


def worker(at: int, *, top: int = 400, waiting: int = 0) -> InstanceSample:
    """One row of a worker whose work swells and ebbs; it covers `STEP_S` seconds."""
    wave = abs(at % 240 - 120) / 120
    return InstanceSample(
        running=round(13 * wave), waiting=waiting, max_running=16,
        oldest_waiting_us=1_800_000 if waiting else 0, sequences=20,
        kv_used_tokens=round(11_000 * wave), kv_total_tokens=16_384, steps=40,
        prefill_tokens=200, decode_tokens=round(top * wave) * STEP_S,
        busy_us=round(900_000 * wave) * STEP_S,
        idle_us=round(1_000_000 - 900_000 * wave) * STEP_S, batch_max=13,
    )  # fmt: skip


def host(at: int, disk_percent: int = 40) -> HostSample:
    """One second of the machine."""
    return HostSample(
        cpu_percent=20 + at % 30, cores=16, memory_used=61 * GIB, memory_total=128 * GIB,
        disk_used=10 * disk_percent * GIB, disk_total=1_000 * GIB, load1=3.25,
    )  # fmt: skip


def gpu(at: int, index: int = 0, throttle: tuple[str, ...] = ()) -> GpuSample:
    """One second of a GPU."""
    return GpuSample(
        index=index, name="NVIDIA H100 80GB HBM3", utilisation_percent=abs(at % 240 - 120) * 0.8,
        memory_used=61 * GIB, memory_total=80 * GIB, power_mw=412_000, power_limit_mw=700_000,
        temperature_c=71, throttle=throttle,
    )  # fmt: skip


def ended(number: int, **changes: object) -> requests.Request:
    """A request that ended `number` seconds ago."""
    values: dict[str, object] = {
        "id": f"req_{number:024x}", "at_us": NOW_US - number * SECOND_US - 1_900_000,
        "service": "support", "release": 2 if number % 10 == 0 else 1, "worker": "ops-1.0.0:1",
        "endpoint": "/v1/chat/completions", "key_id": 1, "tenant": "acme", "stream": True,
        "prompt_tokens": 300 + number, "completion_tokens": 40, "queue_us": 12_000,
        "ttft_us": 420_000, "latency_us": 1_900_000, "busy_us": 310_000, "outcome": Outcome.OK,
        "finish_reason": "stop", "seed": 7, **changes,
    }  # fmt: skip
    return requests.Request(**values)  # type: ignore[arg-type]


async def quiet(store: Store) -> None:
    """A node with one service and two releases; all goes to the first, and no request came."""
    await fixtures.furnish(store)

    async def work(s: Session) -> None:
        await node(s)
        await samples.record(s, NOW - 1, [(samples.Kind.HOST, "box01", host(NOW))])

    await store.write(work)


async def busy(store: Store) -> None:
    """A GPU, one worker, a split of nine to one, a quarter of an hour of load, 60 requests."""
    await fixtures.furnish(store)

    async def work(s: Session) -> None:
        await node(s)
        await part(s, "ops-1.0.0:1", Kind.WORKER, State.READY)
        await key(s, "shop", synthetic=False)
        await key(s, "demo-load", synthetic=True)
        await split(s, "support", {1: 9_000, 2: 1_000}, 700)
        for at in range(NOW - SPAN_S + STEP_S - 1, NOW, STEP_S):
            rows: list[tuple[samples.Kind, str, samples.Sample]] = [
                (samples.Kind.HOST, "box01", host(at)),
                (samples.Kind.GPU, "0", gpu(at)),
                (samples.Kind.INSTANCE, "ops-1.0.0:1", worker(at, waiting=4 * (at == NOW - 1))),
            ]
            if at >= NOW - 310:
                first = arm(at, ms=1_500, synthetic=1)
                rows.append((samples.Kind.ARM, "support/r1", first))
                if at % 9 == 0:
                    second = arm(at, ms=1_900, failed=int(at % 2), refused=at % 4)
                    rows.append((samples.Kind.ARM, "support/r2", second))
            await samples.record(s, at, rows)
        await requests.record(s, [ended(number) for number in range(60, 4, -1)])
        odd = [
            ended(
                4, outcome=Outcome.REFUSED, error_code="queue_full", ttft_us=None, latency_us=900,
                completion_tokens=0, finish_reason=None, release=None,
            ),
            ended(3, outcome=Outcome.FAILED, error_code="worker_died", finish_reason=None),
            ended(2, synthetic=True, key_id=2, class_=Class.BACKGROUND, stream=False),
            ended(
                1, prompt_tokens=131_072, queue_us=75_000_000, ttft_us=76_000_000,
                latency_us=96_000_000,
            ),
        ]  # fmt: skip
        await requests.record(s, odd)
        await texts.record(s, [text(2, "Where is order 214?", "It arrives on Monday.")])
        await feedback.add(
            s, request_id=odd[2].id, at_us=NOW_US - SECOND_US, score=1, correct=True, key_id=2,
            comment="synthetic: judged against the known answer, which it contains word for word",
        )  # fmt: skip

    await store.write(work)


async def ailing(store: Store) -> None:
    """A split over three backends: workers that the node gave up, a dead upstream, a server."""
    await fixtures.furnish(store)

    async def work(s: Session) -> None:
        await node(s)
        await upstreams.add(s, name="vllm", url="http://box02:8000/v1", actor="sara", at_us=5)
        for settings in (
            {"upstream": releases.Upstream(name="vllm", model="qwen")},
            {"server": releases.Server(command=("llama-server", "--port", "{port}"), model="phi")},
        ):
            await releases.create(
                s, model_version=None, prompt_version=None, sampling=releases.Sampling(),
                limits=releases.Limits(), comment="", actor="sara", at_us=6, **settings,
            )  # fmt: skip
        await split(s, "support", {1: 5_000, 3: 4_000, 4: 1_000}, 700)
        await deployments.mark_failing(
            s, "ops-1.0.0", "its instances died 3 times in 60 s: signal 9", NOW_US - 30 * SECOND_US
        )
        refused = "it is unreachable: connection refused"
        await upstream_health.observe(s, "vllm", refused, NOW_US)
        await part(s, "phi:1", Kind.SERVER, State.READY)
        await samples.record(
            s, NOW - 1,
            [
                (samples.Kind.HOST, "box01", host(NOW)),
                (samples.Kind.INSTANCE, "phi:1", worker(NOW - 40)),
            ],
        )  # fmt: skip

    await store.write(work)


def text(number: int, prompt: str, completion: str) -> requests.Text:
    """What was asked and answered in a request."""
    id = f"req_{number:024x}"
    return requests.Text(request_id=id, at_us=NOW_US, prompt=prompt, completion=completion)


LONG: Final = "the-longest-name-that-a-service-has"
SERVICES: Final = (LONG, "search", "translate")


async def crowded(store: Store) -> None:
    """Four services, five workers that ail, six GPUs, a full disk, hostile words everywhere."""
    placed = await fixtures.furnish(store)

    async def work(s: Session) -> None:
        await node(s, host=f"box{HOSTILE}")
        await part(s, "recorder", Kind.CONTROL, State.CRASHED, HOSTILE, again=3)
        for number in range(5):
            state = State.CRASHED if number % 2 else State.READY
            name = f"a-model-with-a-very-long-name-1.{number}.0:1"
            await part(s, name, Kind.WORKER, state, f"signal 9 {HOSTILE}" * (number % 2), number)
        more = [
            await fixtures.release(
                s, placed.weights, None, placed.prompt, None,
                releases.Sampling(temperature=0.1 * number),
            )
            for number in range(2, 5)
        ]  # fmt: skip
        for name in SERVICES:
            await services.create(
                s, name=name, release=1, record_text=True, actor=f"lee{HOSTILE}", at_us=9
            )
        await split(s, LONG, {1: 9_975, 2: 25, **{each.number: 0 for each in more}}, 30)
        await key(s, "shop", synthetic=False, tenant="acme")
        for at in range(NOW - 16, NOW, STEP_S):
            rows: list[tuple[samples.Kind, str, samples.Sample]] = [
                (samples.Kind.HOST, "box", host(at, disk_percent=97))
            ]
            for index in range(6):
                rows.append((samples.Kind.GPU, str(index), gpu(at, index, ("heat",) * (index > 3))))
                name = f"a-model-with-a-very-long-name-1.{index}.0:1"
                rows.append((samples.Kind.INSTANCE, name, worker(at, top=40_000, waiting=123)))
            rows += [
                (samples.Kind.ARM, f"{LONG}/r1", arm(at, ms=90_000, refused=40, synthetic=2)),
                (samples.Kind.ARM, f"{LONG}/r2", arm(at, ms=900, failed=3)),
            ]
            await samples.record(s, at, rows)
        await requests.record(
            s, [ended(1, service=LONG, error_code=HOSTILE, tenant=HOSTILE, finish_reason=HOSTILE)]
        )
        await texts.record(s, [text(1, HOSTILE, HOSTILE * 40)])
        await feedback.add(
            s, request_id=f"req_{1:024x}", at_us=NOW_US, score=-1, correct=None, comment=HOSTILE,
            key_id=1,
        )  # fmt: skip

    await store.write(work)
