"""An upstream that points back at its own gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from storage import releases, services, upstreams
from storage import store as stores
from storage.home import secrets
from storage.releases import Limits, Sampling, Upstream
from tests.engine.gateway import gateway_processes
from tests.engine.gateway.gateway_processes import Stack
from tests.engine.gateway.test_openai_client import rows
from tests.home_fixtures import WEIGHTS

if not WEIGHTS.exists():
    pytest.skip("the shipped model is not here", allow_module_level=True)

PARALLEL = 80
"""More than the connections of an upstream."""


async def _register(stack: Stack) -> None:
    """A service `loop`, whose release asks this gateway for the service `loop`."""
    store = await stores.open(stack.home)

    async def work(s: Any) -> None:
        await upstreams.add(
            s, name="self", url=stack.url, secret=secrets.deposit(
                stack.home, stack.secrets["client"]
            ), metrics_path=None, actor="t", at_us=1,
        )  # fmt: skip
        release = await releases.create(
            s, model_version=None, prompt_version=None, sampling=Sampling(temperature=0.0),
            limits=Limits(max_tokens=8, queue_s=20.0),
            upstream=Upstream(name="self", model="loop"), comment="", actor="t", at_us=2,
        )  # fmt: skip
        await services.create(
            s, name="loop", release=release.number, record_text=False, actor="t", at_us=3
        )

    await store.write(work)
    await store.close()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A gateway alone: nothing here needs a worker."""
    made = asyncio.run(gateway_processes.furnish(tmp_path_factory.mktemp("loop") / "home"))
    asyncio.run(_register(made))
    with gateway_processes.running(made):
        made.start_gateway()
        yield made


def ask(stack: Stack) -> tuple[int, str, str]:
    """The status of an answer, its error's code and message."""
    with stack.http() as http:
        answer = http.post("/v1/completions", json={"model": "loop", "prompt": "x"})
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["message"]


def test_a_loop_is_found_at_its_first_turn(stack: Stack) -> None:
    """Also with more requests than connections, which would wait for each other."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        answers = set(pool.map(lambda _: ask(stack), range(PARALLEL)))
    ((status, code, message),) = answers
    assert (status, code) == (500, "upstream_loop")
    assert message.startswith("This request has come back to a gateway")


def test_the_loop_counts_against_its_release(stack: Stack) -> None:
    """Once for each request of a client: what comes back is refused before it is planned."""
    with stack.http("operator") as http:
        id = http.post("/v1/completions", json={"model": "loop", "prompt": "x"}).headers[
            "x-request-id"
        ]
        http.post("/v1/feedback", json={"request_id": id, "score": -1}).raise_for_status()
    ((outcome, count),) = rows(
        stack, "SELECT outcome, count(*) FROM requests WHERE id = ? GROUP BY outcome", id
    )
    assert (outcome, count) == ("failed", 1)


@pytest.mark.parametrize(
    ("via", "code"),
    [("", "model_not_found"), (",,", "model_not_found"), ("a, b", "model_not_found"),
     (",".join("abcdefgh"), "upstream_loop")],
)  # fmt: skip
def test_other_gateways_on_the_way_are_no_loop(stack: Stack, via: str, code: str) -> None:
    """Up to a number that no chain of gateways needs."""
    with stack.http(**{"x-paddock-via": via}) as http:
        answer = http.post("/v1/completions", json={"model": "none", "prompt": "x"})
    assert answer.json()["error"]["code"] == code


def test_metrics_say_which_upstreams_can_answer(stack: Stack) -> None:
    """Beside how many requests they have and how many wait."""
    with stack.http("viewer") as http:
        families = {f.name: f for f in text_string_to_metric_families(http.get("/metrics").text)}
    for name in ("ready", "running", "waiting"):
        (sample,) = families[f"paddock_upstream_{name}"].samples
        assert sample.labels == {"upstream": "self"}
    assert families["paddock_upstream_running"].samples[0].value == 0
