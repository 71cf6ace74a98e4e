"""Constraints are tried in a process that may die of one; each is judged once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from engine.backends.constraint_checker import Checker
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


async def test_after_the_end_nothing_is_tried(checker: Checker) -> None:
    """And closing twice is harmless."""
    await checker.close()
    failure = await refused(checker, Constraint("regex", "a", "grammar"))
    assert isinstance(failure, failures.Unavailable)
