"""Files of alert rules: what is shipped, what is refused and where, what Prometheus gets."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from storage import alert_rule_files, alert_rules, alert_texts, errors
from storage.alert_rule_files import BadFile
from storage.alert_rules import Rule, Severity
from tests.engine.control.alerts import promtool

RULE = """\
groups:
  - name: requests
    rules:
      - alert: slow
        expr: {expr}
        for: 5m
        labels: {{severity: critical}}
        annotations:
          summary: "{{{{ $labels.service }}}} is slow: {{{{ $value | humanizeDuration }}}}."
          runbook: high-latency
"""


def test_every_shipped_rule_can_be_used_and_says_what_to_do() -> None:
    """A rule without an action is noise: all but three, which say it themselves, name a runbook."""
    rules = alert_rule_files.shipped()
    for rule in rules.values():
        alert_rules.check(rule)
    unled = {rule.name for rule in rules.values() if rule.runbook is None}
    assert unled == {"memory", "notifications-undelivered", "automation-waits"}


def test_rules_that_are_written_read_as_the_same() -> None:
    """What is exported can be kept under version control and set again."""
    rules = list(alert_rule_files.shipped().values())
    assert rules == alert_rule_files.parse(alert_rule_files.write(rules), "rules.yaml")


@pytest.mark.skipif(promtool.found() is None, reason=promtool.WHY_NOT)
def test_promtool_accepts_what_is_exported_for_prometheus(tmp_path: Path) -> None:
    """The very same alerts can be had from a Prometheus that scrapes the gateway."""
    path = tmp_path / "rules.yml"
    rules = alert_rule_files.shipped().values()
    path.write_text(alert_rule_files.write(rules, prometheus=True))
    done = subprocess.run(
        [str(promtool.found()), "check", "rules", str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, f"{len(rules)} rules found" in done.stdout) == (0, True), done.stderr


def test_an_export_for_prometheus_has_the_least_samples_within_the_expression() -> None:
    """Prometheus has no `min_samples`."""
    rule = Rule(
        name="slow",
        expression="paddock_connections > 1",
        samples="sum by (service) (increase(paddock_latency_seconds_count[5m]))",
        min_samples=20,
        for_s=90,
        severity=Severity.WARNING,
        summary="slow",
    )
    text = " ".join(alert_rule_files.write([rule], prometheus=True).split())
    assert "for: 1m30s" in text
    assert (
        "expr: (paddock_connections > 1) and on (service) "
        "((sum by (service) (increase(paddock_latency_seconds_count[5m]))) >= 20)"
    ) in text


@pytest.mark.parametrize(
    ("expr", "why"),
    [
        ("paddock_latency > 1", "there is no series paddock_latency; there is"),
        ("paddock_connections / 0 > 1", "divides by zero"),
        ("paddock_connections / (2 - 2 * 1) > 1", "divides by zero"),
        ("paddock_connections % vector(-0) > 1", "divides by zero"),
        ("paddock_connections[5m]", "a range is not a value"),
        ("rate(paddock_connections) > 1", "not PromQL"),
        ("sum(paddock_connections[5m:1m]) > 1", "not PromQL"),
        ("avg_over_time(paddock_connections[5m:1m]) > 1", "subqueries are not supported"),
        ('paddock_connections{service="a"} > 1', "has no label service"),
        ('paddock_requests_total{service=~"(a+)+"} > 1', "repeats a group"),
        (f'paddock_requests_total{{service=~"{"a?" * 30}{"a" * 30}"}} > 1', "more than 3 rep"),
        (f'paddock_requests_total{{service=~"{"(a|aa)" * 30}b"}} > 1', "more than 3 rep"),
        ("predict_linear(paddock_connections[1h], 60) > 1", "predict_linear is not supported"),
        ("vector(1) > 0", "asks for no series"),
        ("rate(paddock_requests_total[30d]) > 1", "24 h together"),
    ],
)
def test_an_expression_that_cannot_be_used_is_refused_with_file_and_line(
    expr: str, why: str
) -> None:
    """Before it is in force, and not by an alert that never comes."""
    with pytest.raises(BadFile, match=r"^rules.yaml:5: slow: expr: ") as caught:
        alert_rule_files.parse(RULE.format(expr=expr), "rules.yaml")
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "by", "line", "why"),
    [
        ("for: 5m", "for: five minutes", 6, "is not a duration"),
        ("for: 5m", "fro: 5m", 6, "'fro' is not known"),
        ("for: 5m", "for: 5m\n        for: 6m", 7, "given twice"),
        ("severity: critical", "severity: bad", 7, "Invalid enum value 'bad'"),
        ("alert: slow", "alert: Slow Rule", 4, "alert: "),
        ("$value |", "$values |", 9, "is not known"),
        ("runbook:", "colour:", 9, "colour is not known"),
        ("for: 5m", "min_samples: 20", 6, "say with `samples`"),
        ("for: 5m", "samples: paddock_connections", 6, "begins with an aggregation"),
        ("requests", "*a", 2, "aliases are not supported"),
        ("groups:", "groups: [", 2, "not YAML"),
        ("groups:", "[a]: b\ngroups:", 1, "'a sequence' is not known"),
        ("severity: critical", "? [a]\n          : b", 7, "labels: it is not a value"),
        ("for: 5m", "for: 2026-13-45", 6, "for: it is not a value"),
        ("for: 5m", "for: !!python/name:os.system", 6, "for: it is not a value"),
        ("for: 5m", f"for: {'9' * 5000}s", 6, "is not a duration"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_line(
    changed: str, by: str, line: int, why: str
) -> None:
    """The person who wrote it can go there."""
    text = RULE.format(expr="paddock_connections > 1").replace(changed, by, 1)
    with pytest.raises(BadFile) as caught:
        alert_rule_files.parse(text, "rules.yaml")
    assert str(caught.value).startswith(f"rules.yaml:{line}: ")
    assert why in str(caught.value)


def test_a_name_that_is_given_twice_is_refused() -> None:
    """One of the two would be lost."""
    text = RULE.format(expr="paddock_connections > 1")
    twice = text + text.partition("rules:\n")[2]
    with pytest.raises(BadFile, match=r"^rules.yaml:11: there are two rules slow"):
        alert_rule_files.parse(twice, "rules.yaml")


@pytest.mark.parametrize(
    ("typed", "seconds"), [("90s", 90), ("1h30m", 5400), ("1d", 86_400), ("0s", 0)]
)
def test_durations_are_written_as_they_are_read(typed: str, seconds: int) -> None:
    """In Prometheus' notation."""
    assert alert_rule_files.duration(typed) == seconds
    assert alert_rule_files.duration(alert_rule_files.written(seconds)) == seconds


@pytest.mark.parametrize("typed", ["", "5", "5 m", "m", "1m1h", "-5m", "1y"])
def test_what_is_no_duration_is_refused(typed: str) -> None:
    """Rather than taken for nothing."""
    with pytest.raises(errors.Invalid):
        alert_rule_files.duration(typed)


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{{ $labels.service }} is slow", "a is slow"),
        ("{{$labels.missing}}!", "!"),
        ("{{ $value }}", "0.01234"),
        ("{{ $value | humanizePercentage }}", "1.234%"),
        ("{{ $value | humanizeDuration }}", "12.34ms"),
    ],
)
def test_a_summary_has_labels_and_value_filled_in(text: str, filled: str) -> None:
    """As Prometheus fills them in."""
    alert_texts.check(text)
    assert alert_texts.fill(text, {"service": "a"}, 0.012_34) == filled
