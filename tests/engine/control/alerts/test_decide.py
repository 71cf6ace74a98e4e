"""States of alerts: as Prometheus has them, and never ended by what is not measured."""

from __future__ import annotations

import json
import random
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from engine.control.alerts import decide, vectors
from engine.control.alerts.decide import Begin, Found, Keep, Move
from engine.control.alerts.evaluate import Evaluator
from storage import alert_expressions, alert_rule_files
from storage.alert_rule_versions import Kind, Versioned
from storage.alert_rules import Rule
from storage.alerts import Alert, State, Why
from tests.engine.control.alerts import promtool, promtool_cases
from tests.engine.control.alerts.made_alerts import changed, made
from tests.engine.control.alerts.promtool_cases import INTERVAL_S, SPAN_S, Written

VERDICTS: Final = Path(__file__).with_name("promtool_alerts.json")
_US: Final = 1_000_000
_EXPRESSIONS: Final = (
    "depth > 2.0173",
    "rate(hits_total[1m]) > 0.1371",
    "sum by (service) (rate(hits_total[100s])) > 0.2371",
    "(depth > 1.0137) and on (service) (depth < 5.0119)",
    'depth{service="a"} > 0.2371 or depth{service!="a"} < 1.0137',
)


def rules(chance: random.Random) -> list[Rule]:
    """A rule of each expression, with random patience."""
    return [
        Rule(
            name=f"rule-{number}",
            expression=expression,
            for_s=chance.choice((0, 15, 30, 60, 100)),
            keep_firing_for_s=chance.choice((0, 0, 30, 60)),
            summary="x",
        )
        for number, expression in enumerate(_EXPRESSIONS)
    ]


class Life:
    """The alerts of a rule, evaluated every 15 seconds over written series."""

    def __init__(self, rule: Rule, written: Sequence[Written]) -> None:
        self.rule = Versioned(name=rule.name, version=1, kind=Kind.SET, rule=rule)
        self.node = alert_expressions.parse(rule.expression)
        self.database = promtool_cases.database(written)
        self.alerts: dict[int, Alert] = {}
        self.unmeasured: set[str] = set()
        """Fingerprints of alerts that were held for want of data."""
        self._next = 1

    def evaluate(self, at_s: int) -> list[str]:
        """One evaluation; the labels of what fires then, as JSON."""
        vector = Evaluator(self.database, at_s * 1000).vector(self.node)
        seen = decide.found(vector, None, 0, rule=self.rule.name)
        for step in decide.decide(
            self.rule, list(self.alerts.values()), seen, clock_us=at_s * _US, at_us=at_s * _US
        ):
            self._take(step, at_s)
        return sorted(
            json.dumps(alert.about, sort_keys=True)
            for alert in self.alerts.values()
            if alert.state is State.FIRING
        )

    def _take(self, step: decide.Step, at_s: int) -> None:
        match step:
            case Begin():
                self.alerts[self._next] = made(
                    self._next, step.labels, step.state, began_s=at_s, rule=self.rule.name
                )
                self._next += 1
            case Move():
                self.alerts.pop(step.alert.id)
                if step.to is State.FIRING:
                    self.alerts[step.alert.id] = changed(step.alert, state=State.FIRING)
            case Keep():
                if step.no_data_since_us is not None:
                    self.unmeasured.add(json.dumps(step.alert.about, sort_keys=True))
                self.alerts[step.alert.id] = changed(
                    step.alert,
                    unmet_clock_us=step.unmet_clock_us,
                    no_data_since_us=step.no_data_since_us,
                )


def cases(chance: random.Random, groups: int) -> list[tuple[list[Written], list[Rule], list[int]]]:
    """Series, rules, and the seconds at which it is asked what fires."""
    return [
        (
            promtool_cases.series(chance),
            rules(chance),
            sorted({INTERVAL_S * chance.randint(1, SPAN_S // INTERVAL_S) for _ in range(12)}),
        )
        for _ in range(groups)
    ]


def ask(
    groups: Sequence[tuple[Sequence[Written], Sequence[Rule], Sequence[int]]], folder: Path
) -> list[list[list[list[str]]]]:
    """What fires in Prometheus: by group, rule and second, the labels as JSON."""
    answers = []
    for written, asked, seconds in groups:
        (folder / "rules.yml").write_text(alert_rule_files.write(asked, prometheus=True))
        document = {
            "rule_files": ["rules.yml"],
            "evaluation_interval": f"{INTERVAL_S}s",
            "tests": [
                {
                    "interval": f"{INTERVAL_S}s",
                    "input_series": [{"series": s.head, "values": s.text} for s in written],
                    "alert_rule_test": [
                        {
                            "eval_time": f"{at}s",
                            "alertname": rule.name,
                            "exp_alerts": [{"exp_labels": {"never": "1"}}],
                        }
                        for rule in asked
                        for at in seconds
                    ],
                }
            ],
        }
        (folder / "tests.yml").write_text(yaml.safe_dump(document, width=100_000))
        done = subprocess.run(
            [str(promtool.found()), "test", "rules", str(folder / "tests.yml")],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        said = _fired(done.stdout + done.stderr)
        answers.append([[said[rule.name, at] for at in seconds] for rule in asked])
    return answers


def _fired(said: str) -> dict[tuple[str, int], list[str]]:
    found: dict[tuple[str, int], list[str]] = {}
    for block in re.split(r"(?m)^ {4}alertname: ", said)[1:]:
        head = re.match(r"([\w-]+), time: (\S+)", block)
        assert head is not None, block
        got = block.partition("got:")[2]
        labels = []
        for text in re.findall(r"Labels:\{([^}]*)\}", got):
            pairs = dict(re.findall(r'(\w+)="([^"]*)"', text))
            about = {k: v for k, v in pairs.items() if k not in {"alertname", "severity"}}
            labels.append(json.dumps(about, sort_keys=True))
        found[head[1], alert_rule_files.duration(head[2].rstrip(","))] = sorted(labels)
    return found


def differences(
    groups: Sequence[tuple[Sequence[Written], Sequence[Rule], Sequence[int]]], answers: Any
) -> tuple[list[object], int]:
    """Where we differ although all was measured; and how many alerts both fire."""
    wrong: list[object] = []
    both = 0
    for (written, asked, seconds), said in zip(groups, answers, strict=True):
        for rule, theirs in zip(asked, said, strict=True):
            life, expected = Life(rule, written), dict(zip(seconds, theirs, strict=True))
            for at_s in range(0, SPAN_S + 1, INTERVAL_S):
                ours = life.evaluate(at_s)
                if at_s not in expected:
                    continue
                both += len(ours)
                held = [each for each in ours if each not in expected[at_s]]
                lost = [each for each in expected[at_s] if each not in ours]
                if lost or any(each not in life.unmeasured for each in held):
                    wrong.append((rule, at_s, ours, expected[at_s]))
    return wrong, both


def test_what_fires_is_what_fired_in_prometheus(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """At every instant; beyond it only alerts that are held because nothing was measured."""
    groups = cases(random.Random(20261127), 25)
    if request.config.getoption("--snapshot-update"):
        VERDICTS.write_text(json.dumps(ask(groups, tmp_path), separators=(",", ":")) + "\n")
    wrong, both = differences(groups, json.loads(VERDICTS.read_text()))
    assert wrong == []
    assert both > 200


@pytest.mark.skipif(promtool.found() is None, reason=promtool.WHY_NOT)
@pytest.mark.parametrize("seed", range(3))
def test_what_fires_is_what_fires_in_prometheus(tmp_path: Path, seed: int) -> None:
    """The same, of series that are not stored."""
    groups = cases(random.Random(seed), 4)
    assert differences(groups, ask(groups, tmp_path))[0] == []


SLOW: Final = Versioned(
    name="slow",
    version=1,
    kind=Kind.SET,
    rule=Rule(
        name="slow", expression="paddock_connections > 1", for_s=60, keep_firing_for_s=60,
        summary="{{ $labels.service }} {{ $value }}",
    ),
)  # fmt: skip
LABELS: Final = {"service": "a", "alertname": "slow", "severity": "warning"}
A: Final = vectors.ordered({"service": "a"})


@pytest.mark.parametrize("state", [State.PENDING, State.FIRING])
def test_a_fault_of_the_rule_holds_its_alerts_as_they_are(state: State) -> None:
    """Neither an end nor a beginning is known."""
    alert = made(1, LABELS, state)
    (step,) = decide.decide(SLOW, [alert], Found(fault="divided"), clock_us=10**9, at_us=5)
    assert isinstance(step, Keep)


def test_a_pending_alert_without_data_ends() -> None:
    """It has not been shown for long enough, and now it is not shown."""
    steps = decide.decide(
        SLOW, [made(1, LABELS, State.PENDING)], Found(), clock_us=30 * _US, at_us=5
    )
    assert [(step.to, step.why) for step in steps if isinstance(step, Move)] == [
        (State.INACTIVE, Why.NO_DATA)
    ]


def test_a_rule_that_finds_too_much_is_at_fault() -> None:
    """A rule that forgot to aggregate does not flood the people on call."""
    vector = vectors.Vector({(("a", str(n)),): 1.0 for n in range(decide.MOST_ALERTS + 1)})
    assert "aggregate" in decide.found(vector, None, 0, rule="slow").fault


def test_an_element_with_too_few_samples_neither_holds_nor_is_unmet() -> None:
    """It rests on too little to say either."""
    b = vectors.ordered({"service": "b"})
    samples = vectors.Vector({A: 19.0, b: 20.0}), ("service",)
    seen = decide.found(vectors.Vector({A: 5.0, b: 5.0}), samples, 20, rule="slow")
    assert (set(seen.holds), seen.unmet) == ({b}, frozenset())
    seen = decide.found(vectors.Vector(unmet={A, b}), samples, 20, rule="slow")
    assert seen.unmet == {b}
