"""Files of alert rules, in the format of Prometheus' rule files, and the rules that are shipped.

    groups:
      - name: requests
        rules:
          - alert: latency-p95
            expr: histogram_quantile(0.95, …) > 2
            for: 5m
            keep_firing_for: 2m
            samples: sum by (service) (increase(paddock_latency_seconds_count[5m]))
            min_samples: 20
            labels: {severity: warning}
            annotations: {summary: …, runbook: high-latency}

`samples` and `min_samples` are Paddock's own. What is exported for Prometheus has them within the
expression, and `promtool check rules` accepts it. An error names the file and the line. Imported by
every package.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from storage import alert_rules, errors
from storage.alert_rules import BadRule, Rule

SHIPPED: Final = Path(__file__).parent / "shipped_alert_rules.yaml"
LIMIT_BYTES: Final = 500_000

_UNITS: Final = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_NUMBER: Final = "([0-9]{1,9})"
_DURATION: Final = re.compile("(?=[0-9])" + "".join(f"(?:{_NUMBER}{unit})?" for unit in _UNITS))
_KEYS: Final = frozenset(
    {"alert", "expr", "for", "keep_firing_for", "samples", "min_samples", "labels", "annotations"}
)
_FIELDS: Final = {
    "expression": "expr",
    "for_s": "for",
    "keep_firing_for_s": "keep_firing_for",
    "summary": "annotations",
    "runbook": "annotations",
    "name": "alert",
    "severity": "labels",
}


class BadFile(errors.Invalid):
    """A file of rules cannot be read; the message begins with the file and the line."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in a file a node is."""

    name: str
    node: yaml.Node

    def bad(self, why: str, node: yaml.Node | None = None) -> BadFile:
        """The error at this place, or at a node within."""
        return BadFile(f"{self.name}:{(node or self.node).start_mark.line + 1}: {why}")


def read(path: Path) -> list[Rule]:
    """The rules of a file.

    Raises:
        BadFile: it cannot be read, or a rule in it cannot be used.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(LIMIT_BYTES + 1)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise BadFile(f"{path}:1: it cannot be read: {why}.") from error
    return parse(text, str(path))


def parse(text: str, name: str) -> list[Rule]:
    """The rules of a text; `name` is the file's in errors.

    Raises:
        BadFile: as `read`.
    """
    if len(text) > LIMIT_BYTES:
        raise BadFile(f"{name}:1: it has more than {LIMIT_BYTES} characters.")
    place = _Place(name, _composed(text, name))
    found: dict[str, Rule] = {}
    for group in _items(place, _mapping(place, {"groups"}).get("groups")):
        rules = _mapping(group, {"name", "rules", "interval", "limit"}).get("rules")
        for each in _items(group, rules):
            rule = _rule(each)
            if rule.name in found:
                raise each.bad(f"there are two rules {rule.name}.")
            found[rule.name] = rule
    if len(found) > alert_rules.MOST_RULES:
        raise place.bad(f"it has {len(found)} rules; at most {alert_rules.MOST_RULES} can be set.")
    return list(found.values())


def _composed(text: str, name: str) -> yaml.Node:
    """The nodes of a text in YAML, which know their lines."""
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                line = 1 if event.start_mark is None else event.start_mark.line + 1
                raise BadFile(f"{name}:{line}: aliases are not supported; repeat the value.")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = 1 if error.problem_mark is None else error.problem_mark.line + 1
        raise BadFile(f"{name}:{line}: it is not YAML: {error.problem}.") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise BadFile(f"{name}:1: it is not YAML: {error}.") from error
    if root is None:
        raise BadFile(f"{name}:1: it is empty; it begins with `groups:`.")
    return root


@functools.cache
def shipped() -> Mapping[str, Rule]:
    """The rules that Paddock comes with, by name."""
    return {rule.name: rule for rule in read(SHIPPED)}


def duration(typed: str) -> int:
    """Seconds of a duration as Prometheus writes it: 90s, 5m, 1h30m, 0s.

    Raises:
        Invalid: it is not one.
    """
    found = _DURATION.fullmatch(typed.strip())
    if found is None:
        raise errors.Invalid(f"{typed!r} is not a duration such as 90s, 5m or 1h30m")
    return sum(int(found[at] or 0) * size for at, size in enumerate(_UNITS.values(), 1))


def written(seconds: int) -> str:
    """A duration as Prometheus writes it: 5m, 1h30m, 0s."""
    text = ""
    for unit, size in _UNITS.items():
        whole, seconds = divmod(seconds, size)
        text += f"{whole}{unit}" if whole else ""
    return text or "0s"


def write(rules: Iterable[Rule], *, prometheus: bool = False) -> str:
    """The rules as a file that `read` reads, or one for Prometheus."""
    document = {
        "groups": [{"name": "paddock", "rules": [_written(rule, prometheus) for rule in rules]}]
    }
    return str(yaml.safe_dump(document, sort_keys=False, width=96, allow_unicode=True))


def _written(rule: Rule, prometheus: bool) -> dict[str, Any]:
    expression: dict[str, Any] = {"alert": rule.name, "expr": rule.expression}
    if prometheus and rule.samples is not None and rule.min_samples:
        counted = alert_rules.samples_of(rule)
        on = "" if counted is None else ", ".join(counted[1])
        expression["expr"] = (
            f"({rule.expression}) and on ({on}) (({rule.samples}) >= {rule.min_samples})"
        )
    if rule.for_s:
        expression["for"] = written(rule.for_s)
    if rule.keep_firing_for_s:
        expression["keep_firing_for"] = written(rule.keep_firing_for_s)
    if rule.samples is not None and not prometheus:
        expression |= {"samples": rule.samples, "min_samples": rule.min_samples}
    expression["labels"] = {"severity": rule.severity.value, **rule.labels}
    expression["annotations"] = {"summary": rule.summary}
    if rule.runbook is not None:
        expression["annotations"]["runbook"] = rule.runbook
    return expression


def _rule(place: _Place) -> Rule:
    nodes = _mapping(place, _KEYS)
    raw: dict[str, Any] = {key: _value(place, key, node) for key, node in nodes.items()}
    labels, annotations = raw.get("labels") or {}, raw.get("annotations") or {}
    for key, value in (("labels", labels), ("annotations", annotations)):
        if not isinstance(value, dict):
            raise place.bad(f"{key} is a mapping.", nodes[key])
    unknown = sorted(map(str, annotations.keys() - {"summary", "runbook", "description"}))
    if unknown:
        raise place.bad(f"annotations: {', '.join(unknown)} is not known.", nodes["annotations"])
    given = {
        "name": raw.get("alert"),
        "expression": raw.get("expr"),
        "samples": raw.get("samples"),
        "min_samples": raw.get("min_samples", 0),
        "severity": labels.pop("severity", "warning"),
        "labels": labels,
        "summary": annotations.get("summary", raw.get("alert")),
        "runbook": annotations.get("runbook"),
    }
    try:
        for key, field in (("for", "for_s"), ("keep_firing_for", "keep_firing_for_s")):
            if key in raw:
                given[field] = duration(str(raw[key]))
    except errors.Invalid as error:
        raise place.bad(f"{key}: {error}.", nodes[key]) from error
    try:
        rule = msgspec.convert(given, Rule)
        alert_rules.check(rule)
    except msgspec.ValidationError as error:
        found = re.search(r"\$\.(\w+)", str(error))
        field = _FIELDS.get(found[1], found[1]) if found else ""
        raise place.bad(f"{field}: {error}.", nodes.get(field)) from error
    except BadRule as error:
        raise place.bad(str(error), nodes.get(_FIELDS.get(error.field, error.field))) from error
    return rule


def _value(place: _Place, key: str, node: yaml.Node) -> Any:
    """The value of a key; a date or a tag that YAML cannot make sense of is refused."""
    try:
        return yaml.SafeLoader("").construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        why = getattr(error, "problem", None) or str(error)
        raise place.bad(f"{key}: it is not a value: {why}.", node) from error


def _mapping(place: _Place, known: Iterable[str]) -> dict[str, yaml.Node]:
    """The values of a mapping whose keys are known, by key."""
    if not isinstance(place.node, yaml.MappingNode):
        raise place.bad(f"here is a mapping with {', '.join(sorted(known))}.")
    found: dict[str, yaml.Node] = {}
    for key, value in place.node.value:
        if not isinstance(key, yaml.ScalarNode) or key.value not in known:
            name = key.value if isinstance(key, yaml.ScalarNode) else f"a {key.id}"
            raise place.bad(f"{name!r} is not known; there are {', '.join(sorted(known))}.", key)
        if key.value in found:
            raise place.bad(f"{key.value} is given twice.", key)
        found[key.value] = value
    return found


def _items(place: _Place, node: yaml.Node | None) -> list[_Place]:
    """The items of a list."""
    if not isinstance(node, yaml.SequenceNode):
        raise place.bad("here is a list of groups with rules.", node)
    return [_Place(place.name, each) for each in node.value]
