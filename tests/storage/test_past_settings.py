"""Knobs, prompts, models, budgets, jobs and A/B tests of a past moment are what they were then."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from storage import (
    ab_tests,
    budgets,
    errors,
    job_attempts,
    jobs,
    knobs,
    ledger,
    model_aliases,
    models,
    prompt_labels,
    prompts,
)
from storage.ab_test_goals import parse
from storage.ab_tests import Arm, State, Why
from storage.budgets import Budget, Period, Scope
from storage.past import ab_tests as past_ab_tests
from storage.past import budgets as past_budgets
from storage.past import entries
from storage.past import jobs as past_jobs
from storage.past import knobs as past_knobs
from storage.past import models as past_models
from storage.past import prompts as past_prompts
from storage.store import Session, Store
from tests.storage import fixtures
from tests.storage.stories import Work, told

BY: dict[str, Any] = {"actor": "kim", "intent_id": None}


async def test_knobs_of_then_are_those_that_had_been_set(store: Store) -> None:
    """With their values of then, also one that was undone since."""
    await fixtures.furnish(store)
    of: dict[str, Any] = {"deployment": "ops-1.0.0", "name": "queue_limit", **BY}
    story: list[Work] = [
        lambda s, at_us: knobs.set(s, value=7, at_us=at_us, **of),
        lambda s, at_us: knobs.set(s, value=9, at_us=at_us, **of),
        lambda s, at_us: knobs.undo(s, setting=2, at_us=at_us, **of),
        lambda s, at_us: knobs.set(s, value=3, at_us=at_us, **of | {"name": "max_running"}),
    ]
    known = await told(store, story, lambda s: knobs.of(s, "ops-1.0.0"))
    async with store.read() as s:
        for at_us, then in known.items():
            assert then == await past_knobs.of(s, "ops-1.0.0", at_us)
        assert await past_knobs.of(s, "ops-1.0.0", 1) == {}


async def test_prompts_of_then_have_the_labels_of_then(store: Store) -> None:
    """Also one that was removed and set again."""
    await fixtures.furnish(store)
    name = (await _read(store, prompts.page))[0].prompt

    async def read(s: Session) -> Any:
        page, labels = await prompts.page(s), await prompt_labels.of(s, [name])
        return page, {(each.label, each.number) for each in labels}

    story: list[Work] = [
        lambda s, at_us: prompt_labels.label(s, name, "canary", 1, "kim", at_us),
        lambda s, at_us: prompt_labels.remove(s, prompt=name, label="canary", at_us=at_us, **BY),
        lambda s, at_us: prompt_labels.label(s, name, "canary", 1, "kim", at_us),
    ]
    known = await told(store, story, read)
    async with store.read() as s:
        for at_us, (page, labels) in known.items():
            assert page == await past_prompts.every(s, at_us)
            found = await past_prompts.labels(s, at_us, [name])
            assert labels == {(each.label, each.number) for each in found}


async def test_models_of_then_have_the_status_and_aliases_of_then(store: Store) -> None:
    """Also one that was removed since."""
    await fixtures.furnish(store)
    first = (await _read(store, models.every))[0]

    async def read(s: Session) -> Any:
        versions = [(each.name, each.status) for each in await models.every(s)]
        return versions, [(each.alias, each.version_id) for each in await model_aliases.every(s)]

    story: list[Work] = [
        lambda s, at_us: model_aliases.point(s, first.model, "best", first.id, at_us=at_us, **BY),
        lambda s, at_us: model_aliases.remove(s, first.model, "best", at_us=at_us, **BY),
        lambda s, at_us: models.remove(s, first.id, at_us=at_us, **BY),
    ]
    known = await told(store, story, read)
    async with store.read() as s:
        for at_us, (versions, aliases) in known.items():
            then = await past_models.every(s, at_us)
            assert versions == [(each.name, each.status) for each in then]
            found = await past_models.aliases(s, at_us)
            assert aliases == [(each.alias, each.version_id) for each in found]
        assert await past_models.every(s, -1) == []


async def test_budgets_of_then_have_the_limits_of_then(store: Store) -> None:
    """Also one that was removed and set again."""
    budget = Budget(scope=Scope.TENANT, subject="t", period=Period.DAY, limit_micro=3)
    dearer = msgspec.structs.replace(budget, limit_micro=9, refuse=False)
    gone: dict[str, Any] = {"scope": Scope.TENANT, "subject": "t", "period": Period.DAY, **BY}

    async def read(s: Session) -> Any:
        return [(each.name, each.limit_micro, each.refuse) for each in await budgets.every(s)]

    story: list[Work] = [
        lambda s, at_us: budgets.set(s, budget, at_us=at_us, **BY),
        lambda s, at_us: budgets.set(s, dearer, at_us=at_us, **BY),
        lambda s, at_us: budgets.remove(s, at_us=at_us, **gone),
        lambda s, at_us: budgets.set(s, budget, at_us=at_us, **BY),
    ]
    known = await told(store, story, read)
    async with store.read() as s:
        for at_us, then in known.items():
            found = await past_budgets.every(s, at_us)
            assert then == [(each.name, each.limit_micro, each.refuse) for each in found]


async def test_jobs_of_then_have_the_state_of_then(store: Store) -> None:
    """A job that failed and was retried since ran once, then had failed."""
    arguments: dict[str, Any] = {"kind": "models.add", "target": "ops@1.0.0", "arguments": {}}
    story: list[Work] = [
        lambda s, at_us: jobs.add(s, at_us=at_us, **arguments, **BY),
        lambda s, at_us: job_attempts.start(s, 1, at_us=at_us),
        lambda s, at_us: jobs.cancel(s, 1, at_us=at_us, **BY),
        lambda s, at_us: job_attempts.cancelled(s, 1, 1, at_us=at_us),
        lambda s, at_us: jobs.retry(s, 1, at_us=at_us, **BY),
    ]

    async def read(s: Session) -> Any:
        return [(each.id, each.state, each.ended_at_us) for each in await jobs.tail(s)]

    known = await told(store, story, read)
    async with store.read() as s:
        for at_us, then in known.items():
            found = await past_jobs.tail(s, at_us)
            assert then == [(each.id, each.state, each.ended_at_us) for each in found]
        with pytest.raises(errors.NotFound, match="had not been created"):
            await past_jobs.find(s, 1, 1)


async def test_ab_tests_of_then_have_the_state_of_then(store: Store) -> None:
    """The winner is known from the end on."""
    records = await fixtures.furnish(store)
    arms = tuple(
        Arm(release=each.number, weight_bp=5_000) for each in (records.stable, records.candidate)
    )

    async def add(s: Session, at_us: int) -> object:
        return await ab_tests.add(
            s, service="support", control=arms[0].release, arms=arms,
            goals=(parse("thumbs_up"),), guards=(), least_units=200, at_most_s=86_400,
            load_timeout_s=60, promotes=False, label=None, salt="s", base_split_id=1,
            sentence="It began.", actor="kim", at_us=at_us,
        )  # fmt: skip

    def move(to: State, why: Why, **more: Any) -> Work:
        async def step(s: Session, at_us: int) -> object:
            test = await ab_tests.find(s, 1)
            return await ab_tests.move(
                s, test, to, why, f"{why.value}.", actor="kim", at_us=at_us, **more
            )

        return step

    async def read(s: Session) -> Any:
        test = await ab_tests.find(s, 1)
        return test.state, test.why, test.sentence, test.version, test.winner, test.ended_at_us

    story = [
        add, move(State.RUNNING, Why.LOADED),
        move(State.ENDED, Why.WINNER, winner=arms[1].release),
    ]  # fmt: skip
    known = await told(store, story, read)
    async with store.read() as s:
        for at_us, then in known.items():
            (found,) = await past_ab_tests.tail(s, at_us)
            assert then == (
                found.state, found.why, found.sentence, found.version, found.winner,
                found.ended_at_us,
            )  # fmt: skip
        assert await past_ab_tests.tail(s, 1) == []


@pytest.mark.parametrize("since_us", [0, 40])
async def test_the_newest_of_each_thing_is_the_same_however_it_is_found(
    store: Store, monkeypatch: pytest.MonkeyPatch, since_us: int
) -> None:
    """By one query where a kind of thing has few entries, by each thing where it has many."""
    chance = random.Random(7)

    async def work(s: Session) -> None:
        for at_us in range(120):
            await ledger.write(
                s, actor="kim", verb=chance.choice(["a", "b", "c"]), noun=chance.choice(["x", "y"]),
                key=chance.choice("pqrst"), before=None, after=at_us, at_us=at_us,
            )  # fmt: skip

    await store.write(work)

    async def read(s: Session) -> list[list[ledger.Entry]]:
        return [
            await entries.last(s, noun, 100, since_us=since_us, verbs=verbs, keys=keys)
            for noun in ("x", "y", "z")
            for verbs in (None, ["a"], ["a", "c"])
            for keys in (None, ["p", "t", "u"], [])
        ]

    few = await _read(store, read)
    monkeypatch.setattr(entries, "_MANY", 0)
    assert few == await _read(store, read)
    assert sum(map(len, few)) > 10


async def _read(store: Store, read: Any) -> Any:
    async with store.read() as s:
        return await read(s)
