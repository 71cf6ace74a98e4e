"""A box without processes: a store in which a test plays the node, the job and the clients.

Control is real, and made anew for each act, as after a crash.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.control.intents import Intents
from engine.control.reconcile import Loop
from engine.control.rollouts.controller import Rollouts
from engine.control.rollouts.decide import Plan
from storage import (
    feedback,
    held_releases,
    intents,
    job_attempts,
    jobs,
    processes,
    releases,
    requests,
    rollout_events,
    rollout_evidence,
    rollout_looks,
    rollout_webhooks,
    rollouts,
    services,
    shadow_comparisons,
)
from storage import store as stores
from storage.intents import Intent
from storage.jobs import State as JobState
from storage.processes import Kind, State
from storage.release_content import Engine
from storage.requests import Class, Outcome
from storage.rollout_events import RolloutEvent
from storage.rollout_evidence import Evidence
from storage.rollout_looks import Look
from storage.rollout_webhooks import Answer
from storage.rollouts import Rollout
from storage.services import Service
from storage.shadow_comparisons import Comparison
from storage.store import Session, Store
from tests.engine.control import turns
from tests.home_templates import Template
from tests.storage import fixtures

SECOND_US: Final = 1_000_000
BEGINNING_US: Final = 1_000 * SECOND_US
STABLE, CANDIDATE = 1, 2


class World:
    """The box: a service `support` on r1, whose worker is ready, and a release r2."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now_us = BEGINNING_US
        self._requests = 0

    async def furnish(self) -> None:
        """Two releases on separate deployments, and the service."""

        async def work(s: Session) -> None:
            weights = await fixtures.model(s)
            stable = await fixtures.release(s, weights)
            await fixtures.release(s, weights, engine=Engine(context_tokens=512))
            await services.create(
                s, name="support", release=stable.number, record_text=False, actor="sara", at_us=4
            )

        await self.store.write(work)
        await self.load(STABLE)

    # What the test plays

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now_us += int(seconds * SECOND_US)

    async def instance(self, release: int) -> tuple[str, str]:
        """The deployment of a release and its only instance."""
        async with self.store.read() as s:
            name = (await releases.get(s, release)).deployment
        return name, f"{name}:1"

    async def load(self, release: int) -> None:
        """The node has loaded it."""
        deployment, name = await self.instance(release)

        async def work(s: Session) -> None:
            await processes.declare(
                s, name=name, kind=Kind.WORKER, deployment=deployment, at_us=self.now_us
            )
            await processes.move(s, name, State.READY, at_us=self.now_us)

        await self.store.write(work)

    async def crash(self, release: int, *, restarts: int = 1) -> None:
        """Its worker dies, and is started again."""
        deployment, name = await self.instance(release)

        async def work(s: Session) -> None:
            await processes.declare(
                s, name=name, kind=Kind.WORKER, deployment=deployment, at_us=self.now_us,
                restarts=restarts,
            )  # fmt: skip

        await self.store.write(work)

    async def smoke(self, *, answered: bool = True) -> None:
        """The job of the smoke requests runs to its end."""
        async with self.store.read() as s:
            queued = await jobs.unfinished(s, {JobState.QUEUED})
        at_us = self.now_us
        for job in (each for each in queued if each.kind == held_releases.SMOKE):

            async def work(s: Session, id: int = job.id) -> None:
                started = await job_attempts.start(s, id, at_us=at_us)
                if answered:
                    await job_attempts.succeed(s, id, started.attempt, "All answered.", at_us=at_us)
                else:
                    await job_attempts.fail(
                        s, id, started.attempt, "request 1 of 3: no.", at_us=at_us
                    )

            await self.store.write(work)

    async def enter(self) -> None:
        """The candidate is loaded, answers its smoke requests, and the first step is taken."""
        await self.settle()
        await self.load(CANDIDATE)
        await self.settle()
        await self.smoke()
        await self.settle()

    async def answer(self, *, proceed: bool | None) -> None:
        """The webhooks that are asked, or notified, answer so; None: their jobs fail."""
        async with self.store.read() as s:
            queued = await jobs.unfinished(s, {JobState.QUEUED})
        at_us, said = self.now_us, "It answered."
        for job in (each for each in queued if each.kind == rollout_webhooks.JOB):

            async def work(s: Session, id: int = job.id) -> None:
                attempt = (await job_attempts.start(s, id, at_us=at_us)).attempt
                if proceed is None:
                    await job_attempts.fail(s, id, attempt, "No answer.", at_us=at_us)
                    return
                await job_attempts.take(s, id, pid=1, steps=[rollout_webhooks.STEP], at_us=at_us)
                answer = msgspec.to_builtins(Answer(proceed=proceed, sentence=said))
                await job_attempts.end_step(
                    s, id, attempt, rollout_webhooks.STEP, answer, at_us=at_us
                )
                await job_attempts.succeed(s, id, attempt, said, at_us=at_us)

            await self.store.write(work)

    async def serve(
        self,
        count: int,
        *,
        failed: int = 0,
        slow: int = 0,
        release: int = CANDIDATE,
        outcome: Outcome | None = None,
        class_: Class = Class.INTERACTIVE,
        unit: str | None = None,
        latency_us: int = 200_000,
        at_us: int | None = None,
    ) -> None:
        """Clients get answers from a release; the first of them fail, or are slow."""
        rows = []
        for number in range(count):
            self._requests += 1
            ended = Outcome.FAILED if number < failed else Outcome.OK
            rows.append(
                requests.Request(
                    id=f"req_{self._requests}", service="support", unit=unit,
                    at_us=self.now_us if at_us is None else at_us, release=release, worker="w",
                    endpoint="chat", key_id=1 + number % 3, tenant="acme", class_=class_,
                    outcome=outcome or ended,
                    ttft_us=10_000,
                    latency_us=9_000_000 if number < slow else latency_us,
                )
            )  # fmt: skip
        await self.store.write(lambda s: requests.record(s, rows))

    async def mirror(
        self, count: int, *, failed: int = 0, differing: int = 0, times_slower: int = 1
    ) -> None:
        """The gateway has compared copies; the first of them failed, or differ."""
        newest, rows = await self.rollout(), []
        for number in range(count):
            self._requests += 1
            rows.append(
                Comparison(
                    rollout_id=newest.id, attempt=newest.attempt, at_us=self.now_us,
                    request_id=f"req_{self._requests}", copy_id=f"req_{self._requests}c",
                    error_code="engine_error" if number < failed else None,
                    f1=0.2 if number < differing else 0.9, stable_tokens=10, candidate_tokens=12,
                    stable_us=200_000, candidate_us=200_000 * times_slower,
                    stable_ttft_us=10_000, candidate_ttft_us=10_000,
                )
            )  # fmt: skip
        await self.store.write(lambda s: shadow_comparisons.record(s, rows))

    async def thumb(self, score: int, request: int) -> None:
        """A client rates an answer."""
        await self.store.write(
            lambda s: feedback.add(
                s, request_id=f"req_{request}", at_us=self.now_us, score=score, correct=None,
                comment=None, key_id=1,
            )
        )  # fmt: skip

    # Control

    async def ask(
        self,
        verb: str,
        *,
        by: str = "kim",
        expected_version: int | None = None,
        reason: str = "",
        target: str = "support",
        **arguments: Any,
    ) -> Intent:
        """A person's intent, carried out by a control that has just been started."""
        id = await self.accept(verb, by, expected_version, reason, target, arguments)
        await Loop(self.store, [Intents()], now_us=lambda: self.now_us).settle()
        async with self.store.read() as s:
            return await intents.find(s, id)

    async def freeze_box(self) -> str | None:
        """A person freezes the whole box; the outcome."""
        return (await self.ask("box.freeze", target="box", reason="an incident")).outcome

    async def accept(
        self,
        verb: str,
        by: str,
        expected_version: int | None,
        reason: str,
        target: str,
        arguments: dict[str, Any],
    ) -> int:
        """Store an intent; nothing carries it out yet."""
        return await self.store.write(
            lambda s: intents.accept(
                s, actor=by, role="operator", verb=verb, target=target, arguments=arguments,
                at_us=self.now_us, expected_version=expected_version, reason=reason,
            )
        )  # fmt: skip

    async def start(self, **arguments: Any) -> Rollout:
        """A rollout of r2 is started, and accepted."""
        done = await self.ask("rollouts.start", release="r2", **arguments)
        assert done.state is intents.State.APPLIED, done.outcome
        return await self.rollout()

    async def turn(self) -> Plan | None:
        """One look and at most one act, by a new controller."""
        return await turns.take(self.store, Rollouts(), Plan, self.now_us)

    async def settle(self) -> list[Plan]:
        """Turns until there is nothing to do."""
        return await turns.settle(self.turn)

    # What is there now

    async def rollout(self) -> Rollout:
        """The newest rollout."""
        async with self.store.read() as s:
            found = await rollouts.latest(s, "support")
        assert found is not None
        return found

    async def service(self) -> Service:
        """The service."""
        async with self.store.read() as s:
            return await services.find(s, "support")

    async def weights(self) -> dict[int, int]:
        """The split: basis points by release."""
        return {arm.release: arm.weight_bp for arm in (await self.service()).split.arms}

    async def events(self) -> list[RolloutEvent]:
        """The moves of the newest rollout, oldest first."""
        newest = await self.rollout()
        async with self.store.read() as s:
            return await rollout_events.of(s, newest.id)

    async def evidence(self) -> Evidence:
        """What is kept of the newest rollout's counts."""
        newest = await self.rollout()
        async with self.store.read() as s:
            return await rollout_evidence.stored(s, newest)

    async def looks(self) -> list[Look]:
        """The looks of the newest rollout, oldest first."""
        newest = await self.rollout()
        async with self.store.read() as s:
            return await rollout_looks.of(s, newest.id)


_FURNISHED: Final = Template(lambda store: World(store).furnish())


@asynccontextmanager
async def made(root: Path) -> AsyncIterator[World]:
    """A world in a new home."""
    store = await stores.open(await _FURNISHED.copy(root))
    try:
        yield World(store)
    finally:
        await store.close()
