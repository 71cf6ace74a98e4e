"""The steps of a runbook in words: what each looks at, does and verifies, or would do now.

Pure. Imported by `app.commands`.
"""

from __future__ import annotations

from typing import Final

from app import words
from runbooks import foresight, steps, values
from runbooks.steps import Do, Look, Step

_UNMET: Final = {
    steps.Unmet.FAIL: "",
    steps.Unmet.CONTINUE: ", else continue",
    steps.Unmet.UNDO: ", else undo it and continue",
}


def parts(step: Step) -> list[str]:
    """The parts of a step, a line each."""
    rows = []
    if step.look is not None:
        rows.append(f"   look    {_look(step.look)}")
    if step.when is not None:
        rows.append(f"   when    {_condition(step.when)}")
    if step.ask is not None:
        rows.append(f"   ask     {step.ask.sentence}")
    if step.do is not None:
        rows.append(f"   do      {do(step.do)}")
    if step.verify is not None:
        wanted = step.verify
        expected = "what look saw" if wanted.expected == steps.LOOKED else wanted.expected
        fact = f"{wanted.probe} {wanted.of} is {expected}"
        rows.append(f"   verify  {fact} within {wanted.timeout_s:g} s{_UNMET[wanted.unmet]}")
    if step.undo is not None:
        rows.append(f"   undo    {do(step.undo)}")
    rows += [f"   if      {_condition(each.condition)}: on to {each.to}" for each in step.branch]
    return [words.safe(row) for row in rows]


def _condition(condition: steps.Outcome | steps.Condition) -> str:
    if isinstance(condition, steps.Condition):
        return f"{condition.probe} {condition.of} is {condition.expected}"
    return condition.value


def _look(look: Look) -> str:
    expected = f", expected {look.expected}" if look.expected else ""
    return f"{look.probe} {look.of} over {look.window_s} s{expected}"


def do(asked: Do) -> str:
    """A verb with its target and arguments."""
    rest = "".join(f" {name}={value}" for name, value in asked.arguments.items())
    return f"{asked.verb} {asked.target}{rest}"


def foreseen(number: int, each: foresight.Foreseen) -> list[str]:
    """A step of a preview: the value that it sees, and what it would do."""
    passed = "" if each.reached else "  (a branch skips it as of now)"
    rows = [f"{number}. {each.step}  {each.sentence}{passed}"]
    if each.probe:
        expected = f" (expected {each.expected})" if each.expected else ""
        rows.append(f"   look    {each.probe} {values.shown(each.looked)}{expected}")
    if not each.needed:
        rows.append(f"   not needed: {each.why}")
    elif each.effect:
        rows.append(f"   would   {each.effect}")
    if each.measure and each.needed:
        rows.append(f"   verify  {each.measure} {values.shown(each.before)} now")
    if each.goto:
        rows.append(f"   then    {each.goto}")
    return [words.safe(row) for row in rows]
