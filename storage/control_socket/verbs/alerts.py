"""Verbs of alerts: acknowledged, closed, silenced; of their rules and receivers."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from storage import alert_matchers, alert_rules, receivers, silences
from storage.alert_rules import BadRule, Rule
from storage.control_socket.verbs.verb import (
    Arguments,
    Danger,
    NoArguments,
    Process,
    Verb,
    Why,
)
from storage.errors import Invalid
from storage.home import secrets
from storage.keys import Role

Matcher = Annotated[str, Meta(min_length=1, max_length=300)]
Label = Annotated[str, Meta(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]{0,63}\Z")]
Reference = Annotated[str, Meta(pattern=rf"^{secrets.PATTERN}\Z")]


def _check_narrow(matchers: tuple[str, ...]) -> None:
    """ValueError unless they can be read and leave an alert out."""
    try:
        checked = alert_matchers.check(matchers)
    except Invalid as error:
        raise ValueError(f"{str(error).rstrip('.')} - at `$.matchers`") from error
    if not alert_matchers.narrows(checked):
        raise ValueError("a silence of everything hides everything - at `$.matchers`")


def _check_end(for_s: int) -> None:
    """ValueError unless it lasts as long as a silence may."""
    if not 1 <= for_s <= silences.MOST_S:
        days = silences.MOST_S // 86_400
        raise ValueError(f"it lasts at least 1 s and at most {days} days - at `$.for_s`")


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


class Silence(Arguments, frozen=True, kw_only=True):
    """Which alerts send no notifications, and for how long; every silence has an end.

    `starts_in_s` puts the beginning off.
    """

    matchers: Annotated[tuple[Matcher, ...], Meta(min_length=1, max_length=alert_matchers.MOST)]
    for_s: int
    starts_in_s: Annotated[int, Meta(ge=0, le=silences.MOST_S)] = 0

    def __post_init__(self) -> None:
        """Refuse matchers that cannot be read, a silence of everything, and one without an end."""
        _check_narrow(self.matchers)
        _check_end(self.for_s)


class Maintain(Arguments, frozen=True, kw_only=True):
    """A maintenance window: which alerts are marked and send no notifications, from when to when.

    `starts_at_us` is UTC; without it, from now on.
    """

    matchers: Annotated[tuple[Matcher, ...], Meta(min_length=1, max_length=alert_matchers.MOST)]
    for_s: int
    starts_at_us: Annotated[int, Meta(ge=1, le=2**53)] | None = None

    def __post_init__(self) -> None:
        """Refuse matchers that cannot be read, a window of everything, and one without an end."""
        _check_narrow(self.matchers)
        _check_end(self.for_s)


class AddReceiver(Arguments, frozen=True, kw_only=True):
    """Where to send; `secret` refers to the deposited address, `signing` to a webhook's key.

    `shown` is the address without what may be a token.
    """

    kind: receivers.Kind
    shown: Annotated[
        str, Meta(min_length=1, max_length=200, pattern=r"^[a-z][a-z0-9+.-]*://[^\x00-\x20\x7f]*\Z")
    ]
    secret: Reference
    signing: Reference | None = None
    matchers: Annotated[tuple[Matcher, ...], Meta(max_length=alert_matchers.MOST)] = ()
    group_by: Annotated[tuple[Label, ...], Meta(max_length=10)] = receivers.GROUP_BY
    group_wait_s: Annotated[int, Meta(ge=0, le=3600)] = receivers.GROUP_WAIT_S
    group_interval_s: Annotated[int, Meta(ge=1, le=24 * 3600)] = receivers.GROUP_INTERVAL_S
    repeat_interval_s: Annotated[int, Meta(ge=60, le=30 * 24 * 3600)] = receivers.REPEAT_INTERVAL_S
    send_resolved: bool = True

    def __post_init__(self) -> None:
        """Refuse matchers that cannot be read."""
        try:
            alert_matchers.check(self.matchers)
        except Invalid as error:
            raise ValueError(f"{str(error).rstrip('.')} - at `$.matchers`") from error


ROWS: Final[tuple[Verb, ...]] = (
    Verb(
        "alerts.ack", NoArguments, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Acknowledge a firing alert",
        "alerts ack ALERT",
        Why.ASKED,
    ),
    Verb(
        "alerts.unack", NoArguments, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Withdraw the acknowledgement of an alert",
        "alerts unack ALERT",
        Why.ASKED,
    ),
    Verb(
        "alerts.close", NoArguments, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "End a firing alert that has no data any more",
        "alerts close ALERT --reason WHY",
        Why.REQUIRED,
    ),
    Verb(
        "alerts.silence", Silence, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Silence alerts for a while",
        "alerts silence service=support --for 2h --reason WHY",
        Why.REQUIRED,
    ),
    Verb(
        "alerts.maintain", Maintain, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Plan a maintenance window",
        "alerts maintenance service=support --from 22:00 --for 2h --reason WHY",
        Why.REQUIRED,
    ),
    Verb(
        "alerts.unsilence", NoArguments, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "End a silence or a maintenance window",
        "alerts unsilence SILENCE",
        Why.ASKED,
    ),
    Verb(
        "alerts.add_receiver", AddReceiver, Role.ADMIN, Danger.REVERSIBLE, Process.CONTROL,
        "Add a receiver of notifications",
        "alerts receivers add NAME --url-file FILE",
    ),
    Verb(
        "alerts.remove_receiver", NoArguments, Role.ADMIN, Danger.REVERSIBLE, Process.CONTROL,
        "Remove a receiver of notifications",
        "alerts receivers remove NAME",
        Why.ASKED,
    ),
    Verb(
        "alerts.test_receiver", NoArguments, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Send a receiver a test notification",
        "alerts test-notify NAME",
    ),
    Verb(
        "alerts.set_rules", SetRules, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Set alert rules",
        "alerts rules set FILE",
        Why.ASKED,
    ),
    Verb(
        "alerts.remove_rule", NoArguments, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Remove an alert rule and end its alerts",
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
