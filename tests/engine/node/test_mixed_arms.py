"""Arms on different backends, a worker of the node beside an upstream, behind the real gateway.

The same gates, exposures and verdicts for both. The upstream is a server inside the test, and in
`make soak` a real llama-server on the shipped model.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio

from storage import ab_test_looks, ab_test_units, ab_tests, keys, rollout_looks, rollouts, services
from storage.ab_test_looks import Verdict
from storage.ab_tests import AbTest
from storage.home import secrets
from storage.rollout_looks import Verdict as Holds
from storage.rollouts import Phase, Rollout, State, Why
from storage.store import Session
from tests import home_fixtures
from tests.engine.gateway import peer_servers
from tests.engine.node import fickle_upstream
from tests.engine.node.nodes import BOUND_S, RealNode, opened
from tests.home_fixtures import WEIGHTS

NUMBERS: Final = itertools.count(1)
USERS: Final = 10
"""Too few to end a test."""
LOOSE: Final = [{"measure": "error_rate", "allowed_bp": 5_000}]
STEPS: Final[list[dict[str, Any]]] = [
    {"type": "set_weight", "weight_bp": 5_000},
    {"type": "analysis"},
    {"type": "set_weight", "weight_bp": 10_000},
    {"type": "analysis"},
]
TOKENS: Final = 24
SHORT: Final = 4

Look = Callable[[Session], Awaitable[Any]]


@dataclass(frozen=True)
class Far:
    """An upstream: its address and key, its model, and how it is made to fail."""

    url: str
    secret: str | None
    model: str
    fail: Callable[[], object]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealNode]:
    """One node for the module; each test has its own service and releases."""
    made = RealNode(tmp_path_factory.mktemp("mixed") / "home", PADDOCK_BEAT_S="20")
    made.start()
    try:
        yield made
    finally:
        made.end()


@asynccontextmanager
async def in_the_test() -> AsyncIterator[Far]:
    """A server that gives answers of twenty tokens until a test makes it fail."""
    async with fickle_upstream.served() as fickle:

        def fail() -> None:
            fickle.failing = True

        yield Far(f"http://127.0.0.1:{fickle.port}/v1", None, "m", fail)


@asynccontextmanager
async def llama_server(work: Path) -> AsyncIterator[Far]:
    """A real one on the model of the stable release, which fails by being killed."""
    with peer_servers.running("llama-server", work, home_fixtures.free_port()) as peer:
        yield Far(peer.url, peer_servers.KEY, "ops", peer.process.kill)


@pytest_asyncio.fixture(
    params=[
        "in the test",
        pytest.param("llama-server", marks=[pytest.mark.soak, pytest.mark.peers]),
    ]
)
async def box(request: pytest.FixtureRequest, node: RealNode, tmp_path: Path) -> AsyncIterator[Box]:
    """A service on a local release, a release on the upstream, and a client."""
    serving = in_the_test() if request.param == "in the test" else llama_server(tmp_path)
    async with serving as far:
        made = Box(node, far, f"mixed{next(NUMBERS)}")
        await made.furnish()
        async with made.http:
            yield made


class Box:
    """A node with `service` on `stable`, and `candidate` on the upstream."""

    def __init__(self, node: RealNode, far: Far, service: str) -> None:
        self.node = node
        self.far = far
        self.service = service
        self.rates = False
        """Whether users rate their answers; they like the candidate's."""
        self.answers: Counter[tuple[str, int]] = Counter()
        self.http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{node.environment['PADDOCK_GATEWAY__PORT']}",
            timeout=BOUND_S,
        )

    async def furnish(self) -> None:
        """Register all of it."""
        name, must = self.service, self.node.must
        if not await self._read(services.every):
            await self.node.register("ops", WEIGHTS)
        self.stable = await must("releases.create", "", {"model": "ops", **_short(TOKENS)})
        self.stable = self.stable.split()[0]
        key = (
            {}
            if self.far.secret is None
            else {"secret": secrets.deposit(self.node.home, self.far.secret)}
        )
        await must("upstreams.add", name, {"url": self.far.url, **key})
        there = {"upstream": {"name": name, "model": self.far.model}, **_short(SHORT)}
        self.candidate = (await must("releases.create", "", there)).split()[0]
        await must("services.create", name, {"release": self.stable})
        minted = keys.mint()
        client = {"name": name, "prefix": minted.prefix, "sha256": minted.sha256, "tenant": "t"}
        await must("keys.add", name, client)
        self.http.headers["authorization"] = f"Bearer {minted.secret}"

    async def ask(self, user: str | None = None) -> str:
        """The release that answers a user, "" where it fails."""
        turn = {"role": "user", "content": "Where is order 17?"}
        body: dict[str, Any] = {"model": self.service, "messages": [turn], "max_tokens": TOKENS}
        if user is not None:
            body["user"] = user
        answer = await self.http.post("/v1/chat/completions", json=body)
        release: str = answer.headers.get("x-paddock-release", "")
        self.answers[release, answer.status_code] += 1
        if answer.status_code != httpx.codes.OK:
            return ""
        if self.rates:
            score = 1 if release == self.candidate else -1
            rating = {"request_id": answer.headers["x-request-id"], "score": score}
            assert (await self.http.post("/v1/feedback", json=rating)).is_success
        return release

    async def until(self, look: Look, holds: Callable[[Any], bool], *, asking: bool = True) -> Any:
        """The result of a read of the store once a condition holds; requests continue."""
        users = itertools.count()

        async def ask() -> None:
            await self.ask(f"later-{next(users)}")

        return await self.node.found(
            look,
            lambda found: found is not None and holds(found),
            meanwhile=ask if asking else None,
        )

    async def rollout(self, holds: Callable[[Rollout], bool]) -> Rollout:
        """The rollout of the service, once something is true of it."""
        found = await self.until(lambda s: rollouts.latest(s, self.service), holds)
        assert isinstance(found, Rollout)
        return found

    async def test(self, holds: Callable[[AbTest], bool], *, asking: bool = True) -> AbTest:
        """The A/B test of the service, once something is true of it."""
        found = await self.until(lambda s: ab_tests.latest(s, self.service), holds, asking=asking)
        assert isinstance(found, AbTest)
        return found

    async def weights(self) -> dict[str, int]:
        """The split: basis points by release, of those with traffic."""
        service = await self._read(lambda s: services.find(s, self.service))
        return {f"r{arm.release}": arm.weight_bp for arm in service.split.arms if arm.weight_bp}

    async def start_test(self, **more: Any) -> None:
        """An A/B test of both releases by thumbs, with the length of answers beside them."""
        goals = [
            {"metric": "thumbs_up", "better": "up", "least": 500},
            {"metric": "answer_tokens", "better": "down", "least": 3},
        ]
        arms = {self.stable: 5_000, self.candidate: 5_000}
        asked = {"arms": arms, "goals": goals, "guards": LOOSE, **more}
        await self.node.must("ab_tests.start", self.service, asked)
        await self.test(lambda each: each.state is ab_tests.State.RUNNING, asking=False)

    async def _read(self, look: Look) -> Any:
        async with opened(self.node.home) as store, store.read() as s:
            return await look(s)


def _short(tokens: int) -> dict[str, Any]:
    """At most so many tokens an answer, always the likeliest."""
    return {"limits": {"max_tokens_cap": tokens}, "sampling": {"temperature": 0.0}}


@pytest.mark.soak
async def test_a_canary_to_an_upstream_is_held_to_the_same_guards(box: Box) -> None:
    """Both arms answer at its first weight; the guards hold on the upstream, which gets it all."""
    start = {"release": box.candidate, "steps": STEPS, "guards": LOOSE}
    await box.node.must("rollouts.start", box.service, start)
    ended = await box.rollout(lambda each: each.phase is Phase.HEALTHY)
    assert (ended.state, ended.weight_bp) == (State.COMPLETED, 10_000)
    assert await box.weights() == {box.candidate: 10_000}
    assert await box.ask() == box.candidate
    assert set(box.answers) == {(box.stable, 200), (box.candidate, 200)}
    async with opened(box.node.home) as store, store.read() as s:
        looks = await rollout_looks.of(s, ended.id)
    guards = [look for look in looks if look.guard == "error_rate<=50%"]
    assert guards[-1].verdict is Holds.HOLDS
    assert guards[-1].events == 0


async def test_an_upstream_that_starts_to_fail_during_a_canary_is_taken_back(box: Box) -> None:
    """Nobody does anything, and the local release answers everyone again."""
    steps = [{**STEPS[0]}, {"type": "pause"}, *STEPS[2:]]
    guards = [{"measure": "error_rate", "allowed_bp": 100}]
    start = {"release": box.candidate, "steps": steps, "guards": guards}
    await box.node.must("rollouts.start", box.service, start)
    await box.rollout(lambda each: each.state is State.PAUSED and each.weight_bp == 5_000)
    box.far.fail()
    ended = await box.rollout(lambda each: each.phase is Phase.DEGRADED)
    assert ended.why in {Why.HARM, Why.UNLOADABLE}
    if ended.why is Why.HARM:
        assert ended.sentence.startswith("error_rate<=1%: ")
        assert ended.impact is not None
        assert ended.impact.requests >= ended.impact.failed > 0
    assert await box.weights() == {box.stable: 10_000}
    assert {await box.ask() for _ in range(10)} == {box.stable}


async def test_an_ab_test_across_backends_logs_each_unit_once_and_states_its_verdict(
    box: Box,
) -> None:
    """By the users' thumbs; n, effect and interval are stated, and the winner stays loaded."""
    await box.start_test(least_units=20)
    box.rates = True
    users = [f"user-{number}" for number in range(USERS)]
    met = {user: await box.ask(user) for user in users}
    assert {user: await box.ask(user) for user in users} == met
    ended = await box.test(lambda each: each.state not in ab_tests.OPEN)
    assert (ended.why, ended.winner) == (ab_tests.Why.WINNER, int(box.candidate[1:]))
    async with opened(box.node.home) as store, store.read() as s:
        looks = {look.name: look for look in await ab_test_looks.of(s, ended.id) if look.release}
        exposed = await ab_test_units.log(s, ended.id, limit=10_000)
    goal = looks["thumbs_up"]
    assert (goal.verdict, goal.effect) == (Verdict.BETTER, 1.0)
    assert goal.n >= 2 * 20
    assert 0 < (goal.low or 0) <= 1 <= (goal.high or 0)
    assert goal.sentence in ended.sentence
    assert looks["answer_tokens"].effect
    assert looks["error_rate<=50%"].verdict is Verdict.HOLDS
    assert len({each.unit for each in exposed}) == len(exposed)
    counted = Counter(f"r{each.release}" for each in exposed)
    assert all(counted[release] >= users for release, users in Counter(met.values()).items())
    assert await box.weights() == {box.stable: 10_000}


@pytest.mark.soak
async def test_an_upstream_that_starts_to_fail_ends_its_ab_test(box: Box) -> None:
    """With the traffic back on the local release, and no winner."""
    guards = [{"measure": "error_rate", "allowed_bp": 100}]
    await box.start_test(least_units=1_000, guards=guards)
    box.far.fail()
    ended = await box.test(lambda each: each.state not in ab_tests.OPEN)
    assert ended.why in {ab_tests.Why.HARM, ab_tests.Why.UNLOADABLE}
    assert ended.winner is None
    assert await box.weights() == {box.stable: 10_000}
    assert {await box.ask() for _ in range(10)} == {box.stable}
