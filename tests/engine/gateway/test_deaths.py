"""What clients see when a part dies, leaves, or is changed under load: real processes."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
from openai import APIError, OpenAI

from storage import errors, keys, knobs, requests, samples, services
from storage import store as stores
from storage.requests import Outcome
from storage.samples import GatewaySample
from storage.services import Arm
from tests.engine.gateway import gateway_processes
from tests.engine.gateway.gateway_processes import Stack
from tests.home_fixtures import WEIGHTS

if not WEIGHTS.exists():
    pytest.skip("the shipped model is not here", allow_module_level=True)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for this module; every test leaves it whole."""
    made = asyncio.run(gateway_processes.furnish(tmp_path_factory.mktemp("deaths") / "home"))
    with gateway_processes.running(made):
        made.start_worker(made.releases["plain"])
        made.start_gateway()
        made.until_ready()
        yield made


@pytest.fixture
def client(stack: Stack) -> Iterator[OpenAI]:
    """The openai client; it does not try again by itself."""
    with OpenAI(
        base_url=f"{stack.url}/v1", api_key=stack.secrets["client"], max_retries=0, timeout=120
    ) as one:
        yield one


def ask(client: OpenAI, **fields: Any) -> Any:
    """A text completion."""
    return client.completions.create(
        **{"model": "raw", "prompt": "order 17", "max_tokens": 6, "seed": 1, **fields}
    )


def change(stack: Stack, work: Callable[[Any], Awaitable[Any]]) -> None:
    """As control does it: a write, and the nudge that goes with it."""

    async def run() -> None:
        store = await stores.open(stack.home)
        await store.write(work)
        await store.close()

    asyncio.run(run())


def test_a_killed_worker_costs_time_but_no_answer_that_was_not_begun(
    stack: Stack, client: OpenAI
) -> None:
    """What had shown nothing is answered by the next worker; a stream ends with an error event.

    While the worker hangs, the gateway samples show the requests as held. Without a worker the box
    says that it is not ready, and why.
    """
    plain = stack.releases["plain"]
    worker = stack.processes[plain.deployment]
    expected = ask(client).choices[0].text
    stream = ask(client, stream=True, max_tokens=400)
    next(stream)
    worker.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(ask, client) for _ in range(4)]
        until(lambda: newest_sample(stack).held == 4)
        assert newest_sample(stack).connections == 5
        stack.kill(plain.deployment)
        with pytest.raises(openai.APIError) as caught:
            for _ in stream:
                pass
        assert caught.value.code == "worker_lost"
        with stack.http(None) as http:
            said = http.get("/readyz")
        assert said.status_code == 503
        assert {reason["reason"] for reason in said.json()["reasons"]} == {
            f"no instance of {plain.deployment} is connected"
        }
        stack.start_worker(plain)
        assert [each.result().choices[0].text for each in waiting] == [expected] * 4
    stack.until_ready()


def test_without_a_worker_a_request_waits_its_time_and_no_longer(
    stack: Stack, client: OpenAI
) -> None:
    """503, with the time after which to come again."""
    plain = stack.releases["plain"]
    stack.kill(plain.deployment)
    pin = {"x-paddock-release": stack.releases["hasty"].name}
    with (
        client.with_options(api_key=stack.secrets["operator"]) as operator,
        pytest.raises(openai.InternalServerError) as caught,
    ):
        ask(operator, extra_headers=pin)
    assert (caught.value.status_code, caught.value.code) == (503, "worker_unavailable")
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60
    until(lambda: outcome_of(stack, caught.value.response.headers["x-request-id"]) is not None)
    found = outcome_of(stack, caught.value.response.headers["x-request-id"])
    assert found is Outcome.FAILED, "an outage is not a refusal of admission"
    stack.start_worker(plain)
    stack.until_ready()


def test_a_revoked_key_stops_working_at_once(stack: Stack, client: OpenAI) -> None:
    """And a new one works at once."""
    made = keys.mint()

    async def add(s: Any) -> None:
        await keys.add(
            s, name="late", prefix=made.prefix, mac=await keys.seal(s, made.sha256),
            role=keys.Role.CLIENT, tenant="here", synthetic=False, actor="t", at_us=9,
        )  # fmt: skip

    async def revoke(s: Any) -> None:
        await keys.revoke(s, "late", actor="t", at_us=10)

    change(stack, add)
    with client.with_options(api_key=made.secret) as late:
        assert ask(late).choices
        change(stack, revoke)
        until(lambda: _unknown(late))


def outcome_of(stack: Stack, id: str) -> Outcome | None:
    """How a request ended, None until that is in the store."""

    async def look() -> Outcome | None:
        store = await stores.open(stack.home)
        try:
            async with store.read() as s:
                return (await requests.find(s, id)).outcome
        except errors.NotFound:
            return None
        finally:
            await store.close()

    return asyncio.run(look())


def newest_sample(stack: Stack) -> GatewaySample:
    """What the gateway has measured of itself last."""

    async def look() -> GatewaySample:
        store = await stores.open(stack.home)
        async with store.read() as s:
            found = await samples.since(s, 0, samples.Kind.GATEWAY)
        await store.close()
        return found[-1][2] if found else GatewaySample(held=0, connections=0)

    return asyncio.run(look())


def _unknown(client: OpenAI) -> bool:
    try:
        client.models.list()
    except openai.AuthenticationError:
        return True
    return False


def until(true: Callable[[], bool]) -> None:
    """Ask until it is so; the run's own limit ends what never is."""
    while not true():
        pass


def test_a_new_split_takes_effect_on_the_next_requests(stack: Stack, client: OpenAI) -> None:
    """All traffic to the other arm."""
    adapted = stack.releases["adapted"]

    async def split(s: Any) -> None:
        await services.set_split(
            s, service="raw", arms=[Arm(release=adapted.number, weight_bp=10_000)],
            expected_version=None, actor="t", at_us=11,
        )  # fmt: skip

    change(stack, split)

    def moved() -> bool:
        raw = client.completions.with_raw_response.create(model="raw", prompt="x", max_tokens=1)
        return raw.headers["x-paddock-release"] == adapted.name

    until(moved)


def test_a_knob_reaches_the_worker(stack: Stack, client: OpenAI) -> None:
    """What it has in force is what the metrics show; a cap on tokens holds for the next answer."""
    worker = stack.releases["plain"].deployment

    async def set_knob(s: Any) -> None:
        await knobs.set(s, deployment=worker, name="max_tokens_cap", value=3, actor="t", at_us=12)

    async def undo(s: Any) -> None:
        knob = await knobs.current(s, worker, "max_tokens_cap")
        assert knob is not None
        await knobs.undo(
            s, deployment=worker, name="max_tokens_cap", setting=knob.id, actor="t", at_us=13
        )

    def in_force(value: str) -> bool:
        with stack.http("viewer") as http:
            said = http.get("/metrics").text
        return (
            f'{{deployment="{worker}",knob="max_tokens_cap",worker="{worker}:1"}} {value}' in said
        )

    change(stack, set_knob)
    until(lambda: in_force("3.0"))
    capped = ask(client, prompt="Order 17 travels with")
    assert (capped.usage.completion_tokens, capped.choices[0].finish_reason) == (3, "length")
    change(stack, undo)
    until(lambda: in_force("131072.0"))


def test_a_full_disk_costs_no_answer_and_no_row(stack: Stack, client: OpenAI) -> None:
    """Serving continues, the rows wait, /readyz says so; with room again they are written."""
    gateway = stack.processes["gateway"].pid
    before = resource.prlimit(gateway, resource.RLIMIT_FSIZE)
    resource.prlimit(gateway, resource.RLIMIT_FSIZE, (1, before[1]))
    answer = ask(client)
    with stack.http(None) as http:
        until(lambda: http.get("/readyz").json()["recorder"]["trouble"] is not None)
        said = http.get("/readyz").json()["recorder"]
        assert "disk" in said["trouble"]
        assert "/" not in said["trouble"]
        assert (said["held"] > 0, said["lost"]) == (True, 0)
    with stack.http() as http:
        refused = http.post("/v1/feedback", json={"id": answer.id, "score": 1})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_unavailable")
        assert ask(client).choices
        resource.prlimit(gateway, resource.RLIMIT_FSIZE, before)
        until(lambda: http.get("/readyz").json()["recorder"]["trouble"] is None)
        said = http.post("/v1/feedback", json={"id": answer.id, "score": 1})
        assert said.status_code == 200


def test_a_store_that_vanishes_costs_no_answer_and_no_row(stack: Stack, client: OpenAI) -> None:
    """Keys and splits are served from memory, rows wait, /readyz says so; it comes back by itself.

    While it is away nothing is made in its place.
    """
    database = stack.home.database
    away = database.with_name("away.db")
    database.rename(away)
    with stack.http(None) as http:
        until(lambda: http.get("/readyz").json()["recorder"]["trouble"] is not None)
        said = http.get("/readyz")
    assert said.status_code == 200
    assert "paddock.db is gone" in said.json()["recorder"]["trouble"]
    answer = ask(client)
    with stack.http() as http:
        refused = http.post("/v1/feedback", json={"id": answer.id, "score": 1})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_unavailable")
        assert "paddock restore" in refused.json()["error"]["message"]
        with pytest.raises(openai.AuthenticationError), client.with_options(api_key="x") as wrong:
            ask(wrong)
        assert not database.exists()
        away.rename(database)
        until(lambda: http.get("/readyz").json()["recorder"]["trouble"] is None)
        said = http.post("/v1/feedback", json={"id": answer.id, "score": 1})
        assert said.status_code == 200


def _closed_loop(
    stack: Stack, stop: threading.Event, seen: list[str], heard: threading.Event
) -> None:
    """One client that asks again and again; the ids of the answers that it has in full."""
    with stack.http() as one:
        for number in itertools.count():
            if stop.is_set():
                return
            stream = number % 2 == 0
            body = {"model": "ops", "prompt": "Order 17", "max_tokens": 4, "stream": stream}
            try:
                answer = one.post("/v1/completions", json=body)
            except httpx.HTTPError:  # the gateway is dead
                stop.wait(0.01)
                continue
            if answer.status_code == httpx.codes.OK and (not stream or "[DONE]" in answer.text):
                seen.append(answer.headers["x-request-id"])
                heard.set()


async def _recorded(stack: Stack) -> dict[str, requests.Request]:
    store = await stores.open(stack.home, readonly=True)
    async with store.read() as s:
        found = {each.id: each for each in await requests.tail(s, 1_000_000)}
    await store.close()
    return found


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.soak)])
def test_an_answer_that_a_client_has_is_in_the_store_whenever_the_gateway_is_killed(
    stack: Stack, kills: int
) -> None:
    """Under load, streamed or not; requests that were under way are there as failed."""
    stop, heard, seen = threading.Event(), threading.Event(), list[str]()
    with ThreadPoolExecutor(6) as pool:
        clients = [pool.submit(_closed_loop, stack, stop, seen, heard) for _ in range(6)]
        try:
            for _ in range(kills):
                wanted = len(seen) + 30
                while len(seen) < wanted:
                    heard.clear()
                    assert heard.wait(60)
                stack.kill("gateway")
                stack.start_gateway()
        finally:
            stop.set()
        for each in clients:
            each.result()
    found = asyncio.run(_recorded(stack))  # what the last kill left is there once it is ready
    lost = [each for each in found.values() if each.error_code == "gateway_lost"]
    assert stack.stop("gateway") == 0
    found = asyncio.run(_recorded(stack))
    assert [id for id in seen if id not in found] == []
    assert {found[id].outcome for id in seen} == {requests.Outcome.OK}
    assert {each.outcome for each in lost} == {requests.Outcome.FAILED}
    stack.start_gateway()
    stack.until_ready()


def test_a_gateway_that_leaves_finishes_what_it_began(stack: Stack, client: OpenAI) -> None:
    """And writes it down; the next one answers on the same port."""
    stream = ask(client, stream=True, max_tokens=300, stream_options={"include_usage": True})
    first = next(stream)
    stack.processes["gateway"].send_signal(signal.SIGTERM)
    *_, last = stream
    client.close()
    assert last.usage.completion_tokens > 0
    assert stack.stop("gateway") == 0
    stack.start_gateway()
    stack.until_ready()
    with stack.http("operator") as http:
        answer = http.post("/v1/feedback", json={"id": first.id, "score": 1})
    assert answer.status_code == 200


def test_what_a_leaving_gateway_cuts_ends_with_an_error(stack: Stack, client: OpenAI) -> None:
    """A hung worker does not block the stop: at the drain timeout its stream ends with an error."""
    worker = next(process for name, process in stack.processes.items() if name != "gateway")
    said = ""
    for _ in range(10):  # on a busy machine the answer may be there before its worker is stopped
        assert stack.stop("gateway") == 0
        stack.start_gateway("--drain-s", "0")
        stack.until_ready()
        stream = ask(client, stream=True, max_tokens=400, temperature=2, seed=3, n=4)
        next(stream)
        worker.send_signal(signal.SIGSTOP)
        try:
            stack.processes["gateway"].send_signal(signal.SIGTERM)
            list(stream)
        except APIError as error:
            said = str(error)
            break
        finally:
            worker.send_signal(signal.SIGCONT)
    assert "The gateway is stopping" in said
    assert stack.stop("gateway") == 0
    stack.start_gateway()
    stack.until_ready()


_NODE = (
    "import os, subprocess, sys\n"
    "environment = os.environ | {'PADDOCK_NODE': str(os.getpid())}\n"
    "sys.exit(subprocess.call(sys.argv[1:], env=environment))\n"
)


@pytest.mark.parametrize("hangs", [False, pytest.param(True, marks=pytest.mark.soak)])
def test_when_the_node_is_killed_a_stream_ends_with_an_error_event(
    stack: Stack, client: OpenAI, *, hangs: bool
) -> None:
    """The gateway outlives it for the moment that takes; the next one waits for that, and serves.

    One that hangs then is killed by the next.
    """
    worker = next(process for name, process in stack.processes.items() if name != "gateway")
    assert stack.stop("gateway") == 0
    stack.start_gateway(through=(sys.executable, "-c", _NODE))
    stack.until_ready()
    node, reader = stack.processes.pop("gateway"), stack._readers.pop("gateway")
    (gateway,) = psutil.Process(node.pid).children()
    stream = ask(client, stream=True, max_tokens=400, temperature=2, seed=3, n=4)
    next(stream)
    worker.send_signal(signal.SIGSTOP)
    try:
        if hangs:
            gateway.suspend()
        node.kill()
        node.wait(60)
        if not hangs:
            with pytest.raises(APIError, match="The gateway is stopping"):
                list(stream)
    finally:
        worker.send_signal(signal.SIGCONT)
    stack.start_gateway()
    reader.join(30)
    assert not reader.is_alive()  # it held the pipe of the gateway before
    stack.until_ready()
    assert ask(client).choices


def _started(home: Path, port: int) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "engine.gateway", "--home", str(home)],
        env=os.environ | {"PADDOCK_GATEWAY__PORT": str(port)},
        capture_output=True, check=False, timeout=120,
    )  # fmt: skip


def test_metrics_are_open_where_the_configuration_says_so(stack: Stack) -> None:
    """To everybody who reaches the port."""
    assert stack.stop("gateway") == 0
    stack.home.config.write_text("[gateway]\nopen_metrics = true\n")
    stack.start_gateway()
    stack.home.config.unlink()
    with stack.http(None) as http:
        assert http.get("/metrics").status_code == 200


def test_a_port_in_use_is_reported_and_nothing_is_served(tmp_path: Path) -> None:
    """To the node on standard output, to people on standard error."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = _started(tmp_path / "home", port)
    assert ended.returncode == 4
    assert f"port {port} on 127.0.0.1" in json.loads(ended.stdout)["failed"]
    assert b"config.toml" in ended.stderr


def test_a_faulty_configuration_is_reported(tmp_path: Path) -> None:
    """With the name of what is wrong."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "config.toml").write_text("[gateway]\nhots = 'x'\n")
    ended = _started(home, 1)
    assert ended.returncode == 2
    assert "hots" in json.loads(ended.stdout)["failed"]
