"""Verbs of alerts: acknowledged, closed; and of their rules: set, removed, reset."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from storage import alert_rules
from storage.alert_rules import BadRule, Rule
from storage.control_socket.verbs.verb import (
    Arguments,
    Danger,
    NoArguments,
    Process,
    Verb,
    Why,
)
from storage.keys import Role


class SetRules(Arguments, frozen=True, kw_only=True):
    """Rules that replace those of the same names; `only` removes all others."""

    rules: Annotated[tuple[Rule, ...], Meta(min_length=1, max_length=alert_rules.MOST_RULES)]
    only: bool = False

    def __post_init__(self) -> None:
        """Refuse rules that cannot be evaluated, and names that are given twice."""
        names = [rule.name for rule in self.rules]
        if len(set(names)) < len(names):
            raise ValueError("two rules have the same name - at `$.rules`")
        for rule in self.rules:
            try:
                alert_rules.check(rule)
            except BadRule as error:
                raise ValueError(f"{str(error).rstrip('.')} - at `$.rules`") from error


ROWS: Final[tuple[Verb, ...]] = (
    Verb(
        "alerts.ack", NoArguments, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Acknowledge a firing alert: it is seen to",
        "alerts ack ALERT",
        Why.ASKED,
    ),
    Verb(
        "alerts.unack", NoArguments, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Take the acknowledgement of an alert back",
        "alerts unack ALERT",
        Why.ASKED,
    ),
    Verb(
        "alerts.close", NoArguments, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "End a firing alert of which nothing is measured any more",
        "alerts close ALERT --reason WHY",
        Why.REQUIRED,
    ),
    Verb(
        "alerts.set_rules", SetRules, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Set alert rules",
        "alerts rules set FILE",
        Why.ASKED,
    ),
    Verb(
        "alerts.remove_rule", NoArguments, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Evaluate an alert rule no more",
        "alerts rules remove RULE --reason WHY",
        Why.REQUIRED,
    ),
    Verb(
        "alerts.reset_rule", NoArguments, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Put a shipped alert rule in force again",
        "alerts rules reset RULE",
        Why.ASKED,
    ),
)  # fmt: skip
