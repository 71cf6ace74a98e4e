"""The model of a runbook: named steps with look, do, verify, undo, and branches between them.

Pure; `runbooks.parsing` makes runbooks out of YAML, `runbooks.values` fills them in. Imported by
`runbooks` and `app`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

LOOKED: Final = "looked"
"""As an expectation of `verify`, and as `{looked}` in arguments: what the step's `look` saw."""

INTENT: Final = "intent"
"""As `{intent}` in the arguments of `undo`: the id of the intent by which the step acted."""

END: Final = "end"
"""As the target of a branch: the run has done what it is for."""


class InputType(StrEnum):
    """What an input may be; the nouns are checked against the box when a run starts."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    SERVICE = "service"
    DEPLOYMENT = "deployment"
    RELEASE = "release"
    PROMPT = "prompt"


class Outcome(StrEnum):
    """What a step's own look or verify came to, as a condition names it."""

    EXPECTED = "expected"
    UNEXPECTED = "unexpected"
    UNMEASURED = "unmeasured"
    VERIFIED = "verified"
    UNVERIFIED = "unverified"


class Unmet(StrEnum):
    """What follows where a verify is not met in time."""

    FAIL = "fail"  # the step failed
    CONTINUE = "continue"  # what it did stays; a branch may ask for `unverified`
    UNDO = "undo"  # its undo is carried out, then the run continues as for `continue`


class Pace(StrEnum):
    """How a run of the runbook is walked where the person does not say."""

    THROUGH = "through"  # from its first step to its last, manual steps aside
    STEP = "step"  # it stops before each action


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the parts of a runbook have in common: unknown fields are refused."""


class Input(_Part, frozen=True, kw_only=True):
    """What the person who starts the runbook is asked for.

    `probe` and `of` are where the default comes from, looked at when the run starts.
    """

    sentence: str
    default: str | None = None
    type: InputType = InputType.TEXT
    probe: str | None = None
    of: str = ""


class Look(_Part, frozen=True, kw_only=True):
    """A probe and what is expected of it, such as `<= 0.01`; without an expectation, it reports.

    Looks inform, `verify` decides: an unexpected value is reported and stops nothing.
    """

    probe: str
    of: str = ""
    window_s: int = 300
    expected: str | None = None


class Do(_Part, frozen=True, kw_only=True):
    """An intent on behalf of the person who drives the run.

    `confirm` repeats the target where the verb is hard to reverse.
    """

    verb: str
    target: str = ""
    arguments: dict[str, Any] = {}
    confirm: str = ""


class Verify(_Part, frozen=True, kw_only=True):
    """Wait until the probe is as expected; `looked` means what this step's look saw."""

    probe: str
    of: str = ""
    window_s: int = 300
    expected: str
    timeout_s: float = 30.0
    unmet: Unmet = Unmet.FAIL


class Condition(_Part, frozen=True, kw_only=True):
    """Whether a probe is as expected now; what was not measured is not."""

    probe: str
    of: str = ""
    window_s: int = 300
    expected: str


class Branch(_Part, frozen=True, kw_only=True, rename={"condition": "if"}):
    """Continue at a later step, or at `end`, if the condition holds."""

    condition: Outcome | Condition
    to: str


class Ask(_Part, frozen=True, kw_only=True):
    """Something that a person does by hand and confirms; `note` asks what they found."""

    sentence: str
    note: bool = False


class Step(_Part, frozen=True, kw_only=True):
    """One named step; the name is what a run resumes by.

    Where `when` does not hold, the step does nothing and the run continues with the next one.
    """

    name: str
    sentence: str
    look: Look | None = None
    when: Outcome | Condition | None = None
    ask: Ask | None = None
    do: Do | None = None
    verify: Verify | None = None
    undo: Do | None = None
    branch: tuple[Branch, ...] = ()


class Automation(_Part, frozen=True, kw_only=True):
    """The alert that starts the runbook without a person, where an operator enabled that.

    It takes the steps of `alone` by itself, at most so often ("2 per 1h"), and stops and calls
    before any other action and before the step `stop_at`. `inputs` come from the alert's labels of
    the same names unless they are given here.
    """

    alert: str
    alone: tuple[str, ...]
    at_most: str = "1 per 1h"
    stop_at: str | None = None
    inputs: dict[str, str] = {}


class Runbook(_Part, frozen=True, kw_only=True):
    """A named procedure."""

    name: str
    title: str
    when: str
    inputs: dict[str, Input] = {}
    pace: Pace = Pace.THROUGH
    on: Automation | None = None
    steps: tuple[Step, ...]


_SINCE: Final[Mapping[str, object]] = {
    "confirm": "", "type": "text", "probe": None, "of": "", "unmet": "fail", "when": None,
    "ask": None, "branch": [], "pace": "through", "on": None,
}  # fmt: skip
"""Fields that the first runbooks did not have, with what they are where they are not set."""


def content(book: Runbook) -> str:
    """The hash of what a runbook says; comments and whitespace of its file do not count.

    Fields that older versions did not have are hashed only where they are set, so that a runbook
    keeps its hash across versions of Paddock.
    """
    said = msgspec.to_builtins(book)
    kept = _set(said, "pace", "on")
    kept["inputs"] = {
        name: _set(each, "type", "probe", "of") for name, each in said["inputs"].items()
    }
    kept["steps"] = [_step(each) for each in said["steps"]]
    return hashlib.sha256(msgspec.json.encode(kept, order="sorted")).hexdigest()


def _step(said: dict[str, Any]) -> dict[str, Any]:
    kept = _set(said, "when", "ask", "branch")
    for name, added in (("do", "confirm"), ("undo", "confirm"), ("verify", "unmet")):
        if kept[name] is not None:
            kept[name] = _set(kept[name], added)
    return kept


def _set(said: Mapping[str, Any], *added: str) -> dict[str, Any]:
    """The fields without those of `added` that are not set."""
    return {
        name: value
        for name, value in said.items()
        if name not in added or _plain(value) != _SINCE[name]
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
