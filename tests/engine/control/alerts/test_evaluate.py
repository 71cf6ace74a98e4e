"""Our evaluator answers as Prometheus does, on the same series at every instant."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.control.alerts import vectors
from engine.control.alerts.evaluate import Budget, Evaluator
from engine.control.alerts.vectors import Faulty, OverBudget, Series, Vector
from storage import alert_expressions
from tests.engine.control.alerts import promtool, promtool_cases
from tests.engine.control.alerts.promtool_cases import Written

VERDICTS: Final = Path(__file__).with_name("promtool_verdicts.json")
GROUPS, ASKED = 60, 15


def cases(chance: random.Random, groups: int) -> list[tuple[list[Written], list[tuple[str, int]]]]:
    """Groups of series, each with expressions and the seconds at which they are asked."""
    return [
        (
            promtool_cases.series(chance),
            [
                (
                    promtool_cases.expression(chance),
                    chance.choice((15, 15, 7, 1)) * chance.randint(0, promtool_cases.SPAN_S // 15),
                )
                for _ in range(ASKED)
            ],
        )
        for _ in range(groups)
    ]


def answer(database: dict[str, list[Series]], expression: str, at_s: int) -> object:
    """Our verdict: the values by labels, or FAULTY."""
    try:
        node = alert_expressions.parse(expression)
        return Evaluator(database, at_s * 1000).vector(node).values
    except Faulty:
        return promtool.FAULTY


def agrees(ours: object, theirs: Any) -> bool:
    """Whether both have the same elements with the same values, to a billionth."""
    if isinstance(theirs, str) or not isinstance(ours, dict):
        return bool(ours == theirs)
    expected = {vectors.ordered(labels): float(value) for labels, value in theirs}
    return ours.keys() == expected.keys() and all(
        math.isclose(ours[key], value, rel_tol=1e-9, abs_tol=1e-12)
        or (math.isnan(ours[key]) and math.isnan(value))
        for key, value in expected.items()
    )


def differences(
    groups: list[tuple[list[Written], list[tuple[str, int]]]], verdicts: Any
) -> list[object]:
    """The expressions on which we differ, with both answers."""
    found: list[object] = []
    for (written, asked), said in zip(groups, verdicts, strict=True):
        database = promtool_cases.database(written)
        for (expression, at_s), theirs in zip(asked, said, strict=True):
            ours = answer(database, expression, at_s)
            if not agrees(ours, theirs):
                found.append((expression, at_s, ours, theirs))
    return found


def test_we_answer_as_promtool_answered(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """900 expressions over series with gaps, resets and ends; `--snapshot-update` renews it."""
    groups = cases(random.Random(20261127), GROUPS)
    if request.config.getoption("--snapshot-update"):
        asked = [[[list(each) for each in asked], said] for (_, asked), said in
                 zip(groups, promtool.evaluate(groups, tmp_path), strict=True)]  # fmt: skip
        VERDICTS.write_text(json.dumps(asked, separators=(",", ":")) + "\n")
    stored = json.loads(VERDICTS.read_text())
    assert [asked for asked, _ in stored] == [[list(each) for each in asked] for _, asked in groups]
    verdicts = [said for _, said in stored]
    assert differences(groups, verdicts) == []
    answered = [each for said in verdicts for each in said]
    assert len([each for each in answered if each and each != promtool.FAULTY]) > 300


@pytest.mark.skipif(promtool.found() is None, reason=promtool.WHY_NOT)
@settings(
    max_examples=2,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32))
def test_we_answer_as_promtool_answers(tmp_path: Path, seed: int) -> None:
    """The same, for newly generated expressions."""
    groups = cases(random.Random(seed), 12)
    assert differences(groups, promtool.evaluate(groups, tmp_path)) == []


def counted(*values: float) -> dict[str, list[Series]]:
    """A counter by service a, every 15 s."""
    return {
        "hits": [
            Series(
                (("service", "a"),),
                [at * 15_000 for at in range(len(values))],
                list(values),
            )
        ]
    }


def evaluated(expression: str, database: dict[str, list[Series]], at_s: int) -> Vector:
    """The vector at a second."""
    return Evaluator(database, at_s * 1000).vector(alert_expressions.parse(expression))


A: Final = (("service", "a"),)


def test_what_was_measured_and_does_not_hold_is_told_from_what_was_not_measured() -> None:
    """A firing alert ends by the first and never by the second."""
    database = counted(0, 10, 20, 30, 40)
    assert evaluated("rate(hits[1m]) > 1", database, 60).unmet == {A}
    assert evaluated("rate(hits[1m]) > 0.1", database, 60).values.keys() == {A}
    late = evaluated("rate(hits[1m]) > 1", database, 600)
    assert (late.values, late.unmet) == ({}, set())


def test_a_comparison_with_what_is_no_number_is_no_measurement() -> None:
    """An error rate without requests is neither over its bound nor under it."""
    found = evaluated("rate(hits[1m]) / rate(hits[1m]) > 0.5", counted(5, 5, 5, 5, 5), 60)
    assert (found.values, found.unmet) == ({}, set())


@pytest.mark.parametrize(
    ("expression", "unmet"),
    [
        ("hits > 1 and hits < 5", True),
        ("hits < 5 and hits > 100", True),
        ("hits > 1 and missing > 1", False),
        ("hits > 100 or hits < 5", True),
        ("hits > 1 unless hits > 2", True),
        ("sum by (service) (hits > 100) > 1", True),
        ("(hits > 100) * 2", True),
        ("(hits > 100) / on (service) hits", True),
        ("hits / on (service) (missing > 1)", False),
        ('absent(hits{service="a"})', True),
    ],
)
def test_what_does_not_hold_is_known_through_every_operator(expression: str, unmet: bool) -> None:
    """A rule that combines two conditions still tells an end from a gap."""
    found = evaluated(expression, counted(40, 40, 40), 30)
    assert (found.values, bool(found.unmet)) == ({}, unmet)


def test_an_expression_that_reads_too_much_is_stopped() -> None:
    """A bad rule costs a bounded time."""
    evaluator = Evaluator(counted(*range(1000)), 15_000_000, Budget(500))
    with pytest.raises(OverBudget):
        evaluator.vector(alert_expressions.parse("rate(hits[6h])"))


def test_an_expression_that_takes_too_long_is_stopped() -> None:
    """Whatever it is that takes the time."""
    evaluator = Evaluator(counted(1, 2, 3), 30_000, Budget(late=lambda: True))
    with pytest.raises(OverBudget):
        evaluator.vector(alert_expressions.parse("hits > 1"))
