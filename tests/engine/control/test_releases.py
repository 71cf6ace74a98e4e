"""Releases that are refused: the model cannot answer, the prompt or the device does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from storage import samples
from storage.home import clock
from storage.intents import State
from storage.releases import Sampling
from storage.store import Session
from tests.engine.control import ggufs
from tests.engine.control.desks import Desk, desk


@pytest.mark.parametrize(
    ("architecture", "template", "said"),
    [
        ("bert", "", "x@1.0.0 cannot answer: its file does not say how to pool"),
        ("llama", "{% for %}", "x@1.0.0 cannot answer: its chat template fails: Expected an exp"),
    ],
)
async def test_a_model_that_cannot_answer_gets_no_release(
    furnished: Desk, tmp_path: Path, architecture: str, template: str, said: str
) -> None:
    """It is registered and says why; no worker is started to die of requests."""
    path = ggufs.of_architecture(
        architecture, tmp_path / "x.gguf", **{"tokenizer.chat_template": template}
    )
    added = await furnished.do("models.add", "x", model="x", version="1.0.0", path=str(path))
    assert added.state is State.APPLIED
    created = await furnished.do("releases.create", "", model="x", engine={"context_tokens": 32})
    assert created.state is State.REFUSED
    assert (created.outcome or "").startswith(said)


async def test_a_release_for_embeddings_takes_no_prompt(furnished: Desk) -> None:
    """Nothing would come of it."""
    message = {"role": "system", "template": "Be terse."}
    await furnished.do("prompts.add", "terse", prompt="terse", messages=[message])
    engine = {"task": "embedding", "pooling": "last"}
    refused = await furnished.do(
        "releases.create", "", model="ops@1.0.0", prompt="terse@1", engine=engine
    )
    assert refused.state is State.REFUSED
    assert "leave out the prompt" in (refused.outcome or "")


async def test_a_device_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    """By the latest samples; while nothing was sampled the driver is asked, which is not here."""
    gpu = samples.GpuSample(
        index=0, name="H100", utilisation_percent=None, memory_used=0, memory_total=80 * 10**9,
        power_mw=None, power_limit_mw=None, temperature_c=None, throttle=(),
    )  # fmt: skip
    host = samples.HostSample(
        cpu_percent=0, cores=1, memory_used=0, memory_total=1, disk_used=0, disk_total=1, load1=0
    )

    def on(*devices: int) -> dict[str, Any]:
        return {"model": "ops", "engine": {"devices": list(devices)}}

    async def sampled(session: Session) -> None:
        found: list[tuple[samples.Kind, str, samples.Sample]] = [
            (samples.Kind.HOST, "box01", host),
            (samples.Kind.GPU, "0", gpu),
        ]
        await samples.record(session, clock.now_us() // 1_000_000, found)

    async with desk(tmp_path / "home", furnished=True) as control:
        asked = await control.do("releases.create", "", **on(77))
        assert (asked.outcome or "").startswith("The release cannot run here: there is no GPU 77")
        await control.store.write(sampled)
        refused = await control.do("releases.create", "", **on(0, 3))
        assert (refused.state, refused.outcome) == (
            State.REFUSED,
            "The release cannot run here: there is no GPU 3; present: 0.",
        )
        assert (await control.do("releases.create", "", **on(0))).state is State.APPLIED


async def test_a_penalty_that_makes_logits_infinite_is_refused(furnished: Desk) -> None:
    """The worker would fail every request; what a store has from before is still read."""
    stored = Sampling(repetition_penalty=0.001)
    assert msgspec.json.decode(msgspec.json.encode(stored), type=Sampling) == stored
    for penalty, state in ((0.001, State.REFUSED), (0.01, State.APPLIED)):
        sampling = {"repetition_penalty": penalty}
        created = await furnished.do("releases.create", "", model="ops@1.0.0", sampling=sampling)
        assert created.state is state
