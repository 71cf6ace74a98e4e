"""Whether the condition of a step or a branch holds, and why, in words.

Reads what a condition asks for and nothing else. Imported by `runbooks.walk` and
`runbooks.foresight`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runbooks import values
from runbooks.probes import Probe
from runbooks.steps import Condition, Outcome, Step
from runbooks.values import Value
from storage.store import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a step: what its look saw, whether its verify came true.

    `second` is the current second, `probes` what a condition may look at.
    """

    step: Step
    inputs: Mapping[str, str]
    looked: Value
    as_expected: bool | None
    verified: bool | None
    probes: Mapping[str, Probe]
    second: int


async def holds(
    s: Session, condition: Outcome | Condition | None, facts: Facts
) -> tuple[bool, str]:
    """Whether it holds, and the value that decided."""
    if isinstance(condition, Condition):
        of = values.filled(condition.of, facts.inputs)
        found = await facts.probes[condition.probe](s, of, condition.window_s, facts.second)
        wanted = values.filled(condition.expected, facts.inputs)
        said = f"{condition.probe} is {values.shown(found)} (asked for {wanted})"
        return values.as_expected(found, wanted) is True, said
    look = facts.step.look
    seen = "" if look is None else f"{look.probe} is {values.shown(facts.looked)}"
    if look is not None and look.expected is not None:
        seen += f" (expected {values.filled(look.expected, facts.inputs)})"
    match condition:
        case Outcome.EXPECTED:
            return facts.as_expected is True, seen
        case Outcome.UNEXPECTED:
            return facts.as_expected is False, seen
        case Outcome.UNMEASURED:
            return facts.looked is None, seen
        case Outcome.VERIFIED | Outcome.UNVERIFIED:
            probe = facts.step.verify.probe if facts.step.verify else ""
            said = f"{probe} is as expected" if facts.verified else f"{probe} is not as expected"
            return facts.verified is (condition is Outcome.VERIFIED), said
        case None:
            return True, ""
