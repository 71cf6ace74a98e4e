"""A local release beside one on an upstream: the same headers, records, errors and cancellation.

The upstream is another Paddock, and a real llama-server and the Python example server where they
are built. All three serve the shipped model, so that the answers can be compared.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI

from storage import releases, services, upstreams
from storage import store as stores
from storage.home import secrets
from storage.releases import Limits, Release, Sampling, Upstream
from storage.services import Arm
from tests import home_fixtures
from tests.engine.gateway import gateway_processes, peer_servers
from tests.engine.gateway.gateway_processes import Stack
from tests.engine.gateway.test_openai_client import rows
from tests.home_fixtures import WEIGHTS

if not WEIGHTS.exists():
    pytest.skip("the shipped model is not here", allow_module_level=True)

ASK = [{"role": "user", "content": "Notes: order 17 is late. What is the status of order 17?"}]
WHOLE: dict[str, Any] = {"model": "mixed", "messages": ASK, "max_tokens": 24, "seed": 1}
QUEUE_S = 10.0
TRIES = 5000


@dataclass
class Pair:
    """A gateway in front, and what is behind it: `kind`, its port, and how it is started anew."""

    front: Stack
    kind: str
    port: int
    work: Path
    local: Release
    remote: Release
    back: Stack | None = None
    running: contextlib.ExitStack | None = None

    def start_peer(self) -> None:
        """Start what is behind, or start it again."""
        if self.back is not None:
            self.back.start_gateway()
            return
        self.running = contextlib.ExitStack()
        self.running.enter_context(peer_servers.running(self.kind, self.work, self.port))

    def kill_peer(self) -> None:
        """As a crash does."""
        if self.back is not None:
            self.back.kill("gateway")
        elif self.running is not None:
            self.running.close()

    def client(self, **headers: str) -> OpenAI:
        """An operator's client, which may name the release; it does not try again by itself."""
        return OpenAI(
            base_url=f"{self.front.url}/v1", api_key=self.front.secrets["operator"], max_retries=0,
            timeout=120, default_headers=headers,
        )  # fmt: skip

    def on(self, release: Release) -> OpenAI:
        """A client whose requests go to one release."""
        return self.client(**{"x-paddock-release": release.name})

    def unready(self) -> str | None:
        """What the gateway says of the remote arm of `mixed`."""
        with self.front.http(None) as http:
            answer = http.get("/readyz").json()
        reasons = {
            each["release"]: each["reason"]
            for each in answer["reasons"]
            if each.get("service") == "mixed"
        }
        assert answer["status"] == "ready" or "far" in str(answer["reasons"])
        return reasons.get(self.remote.name)

    def until(self, *, ready: bool) -> str | None:
        """Wait until the gateway says so of the remote arm; the reason."""
        for _ in range(TRIES):
            reason = self.unready()
            if (reason is None) == ready:
                return reason
        raise AssertionError(f"the remote arm did not become {'ready' if ready else 'unready'}")

    def recorded_health(self, *, ready: bool) -> str | None:
        """Wait until the store says so of the upstream, too; the reason."""
        for _ in range(TRIES):
            for row in rows(self.front, "SELECT reason FROM upstream_health WHERE name = 'peer'"):
                if (row["reason"] is None) == ready:
                    return row["reason"]  # type: ignore[no-any-return]
        raise AssertionError(f"the upstream was not recorded as {'ready' if ready else 'unready'}")

    def record(self, id: str) -> Any:
        """The row of a request, once it is written."""
        for _ in range(TRIES):
            if found := rows(self.front, "SELECT * FROM requests WHERE id = ?", id):
                return found[0]
        raise AssertionError(f"{id} was not recorded")


@pytest.fixture(
    scope="module",
    params=[
        "paddock",
        pytest.param("llama-server", marks=pytest.mark.peers),
        pytest.param("example-server", marks=pytest.mark.peers),
    ],
)
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    """A gateway and its upstream, for this module; every test leaves both running."""
    work = tmp_path_factory.mktemp(request.param)
    with contextlib.ExitStack() as running:
        back = running.enter_context(_back(work)) if request.param == "paddock" else None
        if back is None:
            peer_servers.built()
        port = home_fixtures.free_port() if back is None else back.port
        key = peer_servers.KEY if back is None else back.secrets["client"]
        front = asyncio.run(gateway_processes.furnish(work / "front"))
        local, remote = asyncio.run(_register(front, port, key))
        made = Pair(front, request.param, port, work, local, remote, back)
        running.callback(made.kill_peer if back is None else lambda: None)
        running.enter_context(gateway_processes.running(front))
        made.start_peer()
        front.start_worker(local)
        front.start_gateway()
        front.until_ready()
        made.until(ready=True)
        yield made


def chat(one: OpenAI, **fields: Any) -> Any:
    """A chat, whole or as an iterator over its chunks."""
    return one.chat.completions.create(**{"model": "mixed", "messages": ASK, "seed": 1, **fields})


def text(one: OpenAI, **fields: Any) -> Any:
    """A text completion."""
    return one.completions.create(**{"model": "mixed", "prompt": "order 17", **fields})


@contextmanager
def _back(work: Path) -> Iterator[Stack]:
    back = asyncio.run(gateway_processes.furnish(work / "back"))
    with gateway_processes.running(back):
        back.start_worker(back.releases["plain"])
        yield back


async def _register(front: Stack, port: int, key: str) -> tuple[Release, Release]:
    """Services `mixed`, 90 % local and 10 % on the upstream, and `far`, all of it there."""
    store = await stores.open(front.home)
    local = front.releases["plain"]

    async def work(s: Any) -> Release:
        await upstreams.add(
            s,
            name="peer",
            url=f"http://127.0.0.1:{port}",
            secret=secrets.deposit(front.home, key),
            metrics_path="/metrics",
            actor="t",
            at_us=1,
        )
        remote = await releases.create(
            s,
            model_version=None,
            prompt_version=None,
            sampling=Sampling(temperature=0.0),
            limits=Limits(max_tokens=48, queue_s=QUEUE_S),
            upstream=Upstream(name="peer", model="raw"),
            comment="",
            actor="t",
            at_us=2,
        )
        for name in ("mixed", "far"):
            await services.create(
                s, name=name, release=remote.number, record_text=True, actor="t", at_us=3
            )
        arms = [
            Arm(release=local.number, weight_bp=9000), Arm(release=remote.number, weight_bp=1000),
        ]  # fmt: skip
        await services.set_split(
            s, service="mixed", arms=arms, expected_version=None, actor="t", at_us=4
        )
        return remote

    remote = await store.write(work)
    await store.close()
    return local, remote


def test_both_arms_answer_alike(pair: Pair) -> None:
    """The same text for the same greedy request, the same headers, the same kind of record."""
    answers: list[Any] = []
    headers, records = [], []
    for release in (pair.local, pair.remote):
        with pair.on(release) as one:
            raw = one.chat.completions.with_raw_response.create(**WHOLE)
        headers.append(raw.headers)
        answers.append(raw.parse())
        records.append(pair.record(raw.headers["x-request-id"]))
    local, remote = answers
    assert local.usage is not None
    assert remote.usage is not None
    assert remote.choices[0].message.content == local.choices[0].message.content
    assert remote.choices[0].finish_reason == local.choices[0].finish_reason
    assert headers[0].keys() == headers[1].keys()
    assert [each["x-paddock-release"] for each in headers] == [pair.local.name, pair.remote.name]
    for record, release in zip(records, (pair.local, pair.remote), strict=True):
        assert (record["outcome"], record["release"]) == ("ok", release.number)
        assert record["completion_tokens"] > 0
        assert record["ttft_us"] <= record["latency_us"]
        assert record["worker"].partition(":")[0] == release.deployment
    if pair.kind != "example-server":  # it counts nothing in a stream
        assert local.usage.completion_tokens == remote.usage.completion_tokens
        assert abs(local.usage.prompt_tokens - remote.usage.prompt_tokens) <= 1


def test_both_arms_stream_alike(pair: Pair) -> None:
    """Role first, then text, the reason, the usage; the pieces make up the whole."""
    texts = []
    for release in (pair.local, pair.remote):
        with pair.on(release) as one:
            usage = {"include_usage": True}
            chunks = list(chat(one, max_tokens=12, stream=True, stream_options=usage))
        assert chunks[0].choices[0].delta.role == "assistant"
        assert chunks[-1].usage is not None
        assert chunks[-2].choices[0].finish_reason in {"stop", "length"}
        texts.append("".join(c.choices[0].delta.content or "" for c in chunks if c.choices))
    assert texts[0] == texts[1] != ""


def test_a_split_holds_under_load(pair: Pair) -> None:
    """Forty concurrent users: each is answered by the arm of the split, and recorded."""

    def ask(number: int) -> str:
        raw = one.completions.with_raw_response.create(
            model="mixed", prompt="order 17", max_tokens=4, user=f"user-{number}"
        )
        assert raw.parse().choices[0].text
        return raw.headers["x-paddock-release"]

    with pair.client() as one, ThreadPoolExecutor(8) as pool:
        first, again = list(pool.map(ask, range(40))), list(pool.map(ask, range(40)))
    assert first == again
    assert set(first) == {pair.local.name, pair.remote.name}
    assert first.count(pair.local.name) > first.count(pair.remote.name)


def test_both_arms_refuse_what_does_not_fit(pair: Pair) -> None:
    """The same status and code from either backend."""
    for release in (pair.local, pair.remote):
        with pair.on(release) as one, pytest.raises(openai.BadRequestError) as refused:
            text(one, prompt="word " * 3000, max_tokens=4)
        assert refused.value.code == "context_length_exceeded", release.name


def test_a_client_that_goes_is_recorded_and_the_upstream_learns_of_it(pair: Pair) -> None:
    """What is under way upstream ends; the record says cancelled, on both sides of two Paddocks."""
    with pair.on(pair.remote) as one:
        stream = text(one, max_tokens=48, stream=True)
        id = stream.response.headers["x-request-id"]
        next(iter(stream))
        stream.close()
    record = pair.record(id)
    assert record["outcome"] in {"cancelled", "ok"}  # it may have been whole by then
    with pair.client() as one:
        assert text(one, model="far", max_tokens=1).choices[0].text


def test_a_killed_upstream_errs_in_time_says_so_and_recovers(pair: Pair) -> None:
    """Its arm fails at once instead of at its deadline; the service is still ready by the other."""
    pair.kill_peer()
    reason = pair.until(ready=False)
    assert "upstream peer" in (reason or "")
    with pair.on(pair.remote) as one:
        with pytest.raises(openai.InternalServerError) as failed:
            text(one, max_tokens=4)
        assert failed.value.status_code == 503
        assert failed.value.code == "upstream_unreachable"
        record = pair.record(failed.value.response.headers["x-request-id"])
    assert (record["outcome"], record["error_code"]) == ("failed", "upstream_unreachable")
    assert record["latency_us"] < QUEUE_S * 1e6
    with pair.on(pair.local) as one:
        assert text(one, max_tokens=1).choices[0].text
    assert "unreachable" in str(pair.recorded_health(ready=False))
    pair.start_peer()
    assert pair.until(ready=True) is None
    assert pair.recorded_health(ready=True) is None
    with pair.on(pair.remote) as one:
        assert text(one, max_tokens=1).choices[0].text


def test_the_upstreams_load_is_sampled_as_an_instance(pair: Pair) -> None:
    """Under the name of its deployment, with the tokens that it has computed."""
    with pair.on(pair.remote) as one:
        text(one, max_tokens=8)
    query = "SELECT body FROM samples WHERE kind = 'instance' AND subject = ?"
    for _ in range(TRIES):
        bodies = [row["body"] for row in rows(pair.front, query, f"{pair.remote.deployment}:1")]
        if any('"decode_tokens":0' not in body for body in bodies):
            return
    raise AssertionError("no sample has tokens")
