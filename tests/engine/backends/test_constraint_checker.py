"""Constraints are tried in a process that may die of one; each is judged once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import psutil
import pytest

from engine.backends.constraint_checker import TENANT_LIMIT, WAITING_LIMIT, Checker
from engine.execution import failures
from engine.serving.wire import Constraint

WITHIN_S = 120.0
SLOW = '{"type":"integer","multipleOf":999983}'


@pytest.fixture
async def checker() -> AsyncIterator[Checker]:
    """Closed afterwards."""
    one = Checker(cpu_s=1)
    yield one
    await one.close()


async def refused(checker: Checker, constraint: Constraint) -> failures.Failure:
    """How it is refused."""
    with pytest.raises(failures.Failure) as failed:
        await checker.check(constraint, "t", WITHIN_S)
    return failed.value


async def test_a_refusal_names_the_field_and_what_kills_the_process_harms_nothing_else(
    checker: Checker,
) -> None:
    """A constraint that would keep a worker busy for a minute is killed, and not tried twice."""
    good = Constraint("json_schema", '{"type":"object"}', "guided_json")
    slow = Constraint("json_schema", SLOW, "response_format.schema")
    found = await asyncio.gather(
        checker.check(slow, "mean", WITHIN_S),
        checker.check(slow, "mean", WITHIN_S),
        checker.check(good, "nice", WITHIN_S),
        return_exceptions=True,
    )
    assert found[2] is None
    for failure in found[:2]:
        assert isinstance(failure, failures.Invalid)
        assert (failure.code, failure.param) == ("invalid_value", "response_format.schema")
    again = await refused(checker, slow)
    assert "too much time" in again.message
    bad = await refused(checker, Constraint("regex", "(a", "guided_regex"))
    assert (bad.param, bad.message.partition(":")[0]) == ("guided_regex", "guided_regex")


def number(at: int) -> Constraint:
    """One of many."""
    return Constraint("regex", f"{at}", "guided_regex")


async def test_a_tenant_leaves_places_to_others_and_gives_back_its_own(checker: Checker) -> None:
    """A flood of one is refused; who has gone does not wait any more."""
    nicer = asyncio.create_task(checker.check(number(-2), "nicer", WITHIN_S))
    nice = asyncio.create_task(checker.check(number(-1), "nice", WITHIN_S))
    flood = [
        asyncio.create_task(checker.check(number(at), "mean", WITHIN_S))
        for at in range(TENANT_LIMIT + 1)
    ]
    await asyncio.sleep(0)
    assert [each.done() for each in flood] == [*[False] * TENANT_LIMIT, True]
    assert isinstance(flood[-1].exception(), failures.Overloaded)
    for each in flood[1:]:
        each.cancel()
    await asyncio.gather(*flood, return_exceptions=True)
    again = [checker.check(number(at), "mean", WITHIN_S) for at in range(1, 10)]
    assert await asyncio.gather(nice, nicer, *again) == [None] * 11


async def test_a_tenant_alone_may_have_three_quarters_of_the_places(checker: Checker) -> None:
    """With no other tenant waiting; another that comes finds a place."""
    most = WAITING_LIMIT - TENANT_LIMIT
    alone = [
        asyncio.create_task(checker.check(number(at), "one", WITHIN_S)) for at in range(most + 1)
    ]
    other = asyncio.create_task(checker.check(number(-1), "other", WITHIN_S))
    await asyncio.sleep(0)
    assert [each.done() for each in (*alone, other)] == [*[False] * most, True, False]
    for each in (*alone, other):
        each.cancel()
    await asyncio.gather(*alone, other, return_exceptions=True)


class _Stuck(Checker):
    """Never comes to a verdict."""

    async def _try(self, _: Constraint) -> str | None:
        await asyncio.Event().wait()
        return None


async def test_what_no_request_waits_for_any_more_gives_up_its_place() -> None:
    """Whether its caller went or waited too long."""
    stuck = _Stuck()
    asked = [stuck.check(number(at), "t", 0.01) for at in range(TENANT_LIMIT + 1)]
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert {getattr(each, "code", None) for each in found} == {"deadline"}
    assert not stuck._waiting
    assert len(stuck._trials) == 1, "the one that is being tried"
    await stuck.close()


async def test_a_process_that_was_killed_from_outside_says_nothing_of_a_constraint(
    checker: Checker,
) -> None:
    """The kernel kills it for want of memory, say; the next constraint is sound all the same."""
    await checker.check(number(1), "t", WITHIN_S)
    (process,) = (
        each
        for each in psutil.Process().children()
        if "engine.serving.constraints.check" in each.cmdline()
    )
    process.kill()
    await checker.check(number(2), "t", WITHIN_S)


async def test_after_the_end_nothing_is_tried(checker: Checker) -> None:
    """And closing twice is harmless."""
    await checker.close()
    failure = await refused(checker, Constraint("regex", "a", "grammar"))
    assert isinstance(failure, failures.Unavailable)
