"""How a worker starts, drains and dies: real processes, signals and broken files."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import signal
import socket as sockets
import subprocess
from pathlib import Path

import pytest

from engine.serving import framing, wire
from tests import home_fixtures
from tests.engine.serving import tiny_gguf, workers
from tests.engine.serving.workers import order


@pytest.mark.parametrize("kept", [0, 100, 40_000, 3_000_000])
def test_a_torn_model_ends_the_worker_with_a_reason(tmp_path: Path, kept: int) -> None:
    """Reported to the node as one sentence; exit code 3: a restart does not help."""
    torn = tmp_path / "torn.gguf"
    torn.write_bytes(home_fixtures.WEIGHTS.read_bytes()[:kept])
    said = _failure(torn, tmp_path)
    assert said.strip()
    assert not (tmp_path / "worker.sock").exists()


def test_a_missing_model_and_garbage_are_told_apart(tmp_path: Path) -> None:
    """The reason names the file that is missing, or what libllama found in its place.

    A file that is away may come back, so that trying again is worth it: exit code 4.
    """
    missing = tmp_path / "missing.gguf"
    said = _failure(missing, tmp_path, broken=False)
    assert said == f"there is no model file at {missing}"
    garbage = tmp_path / "garbage.gguf"
    garbage.write_bytes(b"not a model at all" * 1000)
    assert "magic" in _failure(garbage, tmp_path)


def test_missing_memory_is_not_a_fault_of_the_model(tmp_path: Path) -> None:
    """A context that does not fit now may fit later, or with another release's settings."""
    said = _failure(
        home_fixtures.WEIGHTS,
        tmp_path,
        "--context-tokens",
        "1000000",
        broken=False,
        memory_kb=3_000_000,
    )
    assert said.startswith("cannot allocate a context for 16 sequences of 1000000 tokens: ")


def _failure(
    model: Path, folder: Path, *more: str, broken: bool = True, memory_kb: int | None = None
) -> str:
    """The last report of a worker that cannot load."""
    command = [*workers.command(folder / "worker.sock", model=model), *more]
    if memory_kb is not None:
        command = ["sh", "-c", f'ulimit -v {memory_kb}; exec "$@"', "sh", *command]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == (3 if broken else 4), done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["broken"] is broken
    return str(said["failed"])


def test_a_model_that_cannot_generate_is_refused_with_the_reason(tmp_path: Path) -> None:
    """An embedding model loads, and the first decode would abort the process."""
    model = tmp_path / "bert.gguf"
    tiny_gguf.bert(model)
    said = _failure(model, tmp_path)
    assert said.startswith("a bert model cannot generate text")


def test_a_missing_device_is_not_a_fault_of_the_model(tmp_path: Path) -> None:
    """The reason says which are: exit code 4, as another machine may have it."""
    said = _failure(home_fixtures.WEIGHTS, tmp_path, "--devices", "97", broken=False)
    assert said.startswith("device 97 is not there; this machine has ")


async def test_a_worker_says_on_which_devices_its_weights_are(tmp_path: Path) -> None:
    """And which adapters are loaded: the base alone, at first."""
    path = tmp_path / "worker.sock"
    with workers.running(path):
        async with workers.connected(path) as gateway:
            hello = gateway.client.hello
            assert hello is not None
            assert hello.devices
            assert hello.adapters == ("",)


async def test_the_node_learns_which_adapter_is_loaded_and_the_outcome(tmp_path: Path) -> None:
    """Before it begins, as libllama may abort the worker; and whether a failure is the file's."""
    path, torn = tmp_path / "worker.sock", tmp_path / "torn.gguf"
    torn.write_bytes(home_fixtures.ADAPTER.read_bytes()[:4096])
    sha256 = hashlib.sha256(torn.read_bytes()).hexdigest()
    away = tmp_path / "away.gguf"
    with workers.running(path) as process:
        assert process.stdout is not None
        lines = map(json.loads, process.stdout)
        said = (
            line
            for line in lines
            if line.keys() & {"loading_adapter", "adapter_loaded", "adapter_failed"}
        )
        async with workers.connected(path) as gateway:
            gateway.client.want_adapters(
                {
                    "lora": workers.lora(),
                    "torn": wire.LoadAdapter("torn", str(torn), sha256),
                    "away": wire.LoadAdapter("away", str(away), sha256),
                }
            )
            heard = await asyncio.to_thread(lambda: list(itertools.islice(said, 6)))
    assert [heard[0], heard[1], heard[2], heard[4]] == [
        {"loading_adapter": "lora"},
        {"adapter_loaded": "lora", "sha256": workers.lora().sha256},
        {"loading_adapter": "torn"},
        {"loading_adapter": "away"},
    ]
    assert (heard[3]["adapter_failed"], heard[3]["broken"]) == ("torn", True)
    assert heard[5] == {
        "adapter_failed": "away",
        "failed": f"there is no adapter file at {away}",
        "broken": False,
    }


async def test_sigterm_lets_a_worker_finish_its_streams_and_admit_nothing_new(
    tmp_path: Path,
) -> None:
    """The streams end as they would have; later requests wait for the successor; exit 0."""
    path = tmp_path / "worker.sock"
    with workers.running(path) as process:
        async with workers.connected(path) as gateway:
            submits = [order(question) for question in workers.questions(8)]
            alone = await gateway.one_by_one(submits)
            long = gateway.ask(order(workers.NO_END, max_tokens=300))
            many = [gateway.ask(submit) for submit in submits]
            for heard in many:
                await heard.begun.wait()
            process.send_signal(signal.SIGTERM)
            for heard in many:
                await heard.finish()
            assert not gateway.client.serves(""), "the worker has said that it drains"
            assert [heard.text for heard in many] == alone
            await long.finish()
            late = gateway.ask(order("Order 157", max_tokens=4))
            assert process.wait(60) == 0
            assert late.end is None
            with workers.running(path):
                gateway.client.poke()
                await late.finish()


def test_sigterm_ends_an_idle_worker_at_once(tmp_path: Path) -> None:
    """Nothing to finish, no gateway connected; the socket is removed."""
    path = tmp_path / "worker.sock"
    with workers.running(path) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert not path.exists()


def test_a_draining_worker_waits_until_its_last_frames_are_read(tmp_path: Path) -> None:
    """A gateway that is slow to read still gets the end of every stream: 600 KB wait for it."""
    path = tmp_path / "worker.sock"
    with workers.running(path) as process, sockets.socket(sockets.AF_UNIX) as peer:
        peer.connect(str(path))
        peer.sendall(framing.encode(wire.Inbox(tuple(_wordy(id) for id in range(1, 121)))))
        assert process.stdout is not None
        beats = map(json.loads, process.stdout)
        assert any(beat["step"] and not beat["running"] for beat in beats if "beat" in beat)
        process.send_signal(signal.SIGTERM)  # all is computed and nothing has been read
        splitter, finished = framing.Splitter(), list[int]()
        while data := peer.recv(1 << 16):
            for body in splitter.feed(data):
                for item in framing.decode_outbox(body).items:
                    finished += [f.id for f in item.finished] if isinstance(item, wire.Step) else []
        assert sorted(finished) == list(range(1, 121))
        assert process.wait(60) == 0


def _wordy(id: int) -> wire.Submit:
    """An answer of many bytes: twenty alternatives for each token."""
    plain = order("Order", seed=id, temperature=2.0, max_tokens=40, logprobs=20)
    return wire.Submit(
        id, plain.adapter, plain.prompt, plain.sampling, plain.max_tokens, plain.stop, plain.class_,
        plain.tenant, plain.queue_us, plain.logprobs,
    )  # fmt: skip


async def test_a_killed_worker_loses_its_streams_and_its_successor_serves(
    tmp_path: Path,
) -> None:
    """Begun streams are lost; the socket file that a killed worker left does not matter."""
    path = tmp_path / "worker.sock"
    with workers.running(path) as process:
        async with workers.connected(path) as gateway:
            submit = order(workers.questions(4)[0])
            (expected,) = await gateway.together([submit])
            stream = gateway.ask(order(workers.NO_END, max_tokens=400))
            await stream.begun.wait()
            process.kill()
            await stream.over.wait()
            assert stream.is_lost
            waiting = gateway.ask(submit)
            assert path.exists()
            with workers.running(path):
                gateway.client.poke()
                await waiting.finish()
            assert waiting.text == expected
