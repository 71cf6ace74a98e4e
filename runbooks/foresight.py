"""What a runbook would do if it were started now, step by step, with live values.

Reads what its steps would look at and never acts; the run looks again, and control decides.
Imported by `runbooks.walk` and `app`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

from runbooks import conditions, start_request, steps, values
from runbooks.probes import PROBES
from runbooks.steps import Do, Look, Runbook, Step, Verify
from runbooks.values import Value
from storage import deployments, errors, knobs, services, splits
from storage.services import Service
from storage.store import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """One step as it would go now.

    `looked` and `before` are what its look (`probe`) and its verify (`measure`) see; `effect` is
    what it would do, empty for nothing. `needed` is False where its condition does not hold, `why`
    says so; `goto` is where it would branch to, and `reached` whether the run would come here.
    """

    step: str
    sentence: str
    probe: str = ""
    looked: Value = None
    expected: str | None = None
    as_expected: bool | None = None
    measure: str = ""
    before: Value = None
    effect: str = ""
    needed: bool = True
    why: str = ""
    goto: str | None = None
    reached: bool = True


async def preview(
    s: Session, book: Runbook, given: Mapping[str, object], second: int
) -> list[Foreseen]:
    """Every step with live values.

    The effect of an action is not measured: branches on a verify assume that it is met.

    Raises:
        Refused: an input is missing, unknown or wrong.
    """
    inputs = await start_request.complete(s, book, start_request.inputs(book, given), second)
    found: list[Foreseen] = []
    skip_to: str | None = None
    for step in book.steps:
        reached = skip_to in {None, step.name}
        skip_to = None if reached else skip_to
        each = await _foreseen(s, book, step, inputs, second, reached=reached)
        skip_to = each.goto if reached and each.goto else skip_to
        found.append(each)
    return found


async def effects(s: Session, book: Runbook, given: Mapping[str, object], second: int) -> list[str]:
    """What each step that is needed would do, a sentence each."""
    try:
        inputs = await start_request.complete(s, book, start_request.inputs(book, given), second)
    except start_request.Refused:
        return []  # the run says it in full
    found = []
    for step in book.steps:
        if step.do is not None:
            with contextlib.suppress(errors.StorageError, KeyError, ValueError):
                each = await _foreseen(s, book, step, inputs, second, reached=True)
                if each.needed:
                    found.append(each.effect)
    return found


async def _foreseen(
    s: Session, book: Runbook, step: Step, inputs: Mapping[str, str], second: int, *, reached: bool
) -> Foreseen:
    looked = None if step.look is None else await _probe(s, step.look, inputs, second)
    expected = None
    if step.look is not None and step.look.expected is not None:
        expected = values.filled(step.look.expected, inputs)
    good = values.as_expected(looked, expected)
    facts = conditions.Facts(
        step=step, inputs=inputs, looked=looked, as_expected=good, verified=True, probes=PROBES,
        second=second,
    )  # fmt: skip
    needed, why = await conditions.holds(s, step.when, facts)
    goto = None
    if needed:
        for branch in step.branch:
            if (await conditions.holds(s, branch.condition, facts))[0]:
                goto = branch.to
                break
    effect_ = ""
    if step.do is not None:
        seen = {steps.LOOKED: looked, **values.typed(book, inputs)}
        effect_ = await effect(s, step.do, inputs, seen)
    elif step.ask is not None:
        effect_ = f"asks a person: {values.filled(step.ask.sentence, inputs)}"
    return Foreseen(
        step=step.name,
        sentence=step.sentence,
        probe="" if step.look is None else step.look.probe,
        looked=looked,
        expected=expected,
        as_expected=good,
        measure="" if step.verify is None else step.verify.probe,
        before=None if step.verify is None else await _probe(s, step.verify, inputs, second),
        effect=effect_,
        needed=needed,
        why="" if needed else why,
        goto=goto,
        reached=reached,
    )


async def _probe(s: Session, look: Look | Verify, inputs: Mapping[str, str], second: int) -> Value:
    return await PROBES[look.probe](s, values.filled(look.of, inputs), look.window_s, second)


async def effect(s: Session, do: Do, inputs: Mapping[str, str], seen: Mapping[str, Value]) -> str:
    """What an action would do now, in a sentence."""
    target = values.filled(do.target, inputs)
    given = values.arguments(do, inputs, seen)
    noun = do.verb.partition(".")[0]
    if noun == "services" and isinstance(to := given.get("to"), int):
        service = await services.find(s, target)
        return _going_back(service, await services.find_split(s, service.name, to))
    if noun == "knobs" and isinstance(value := given.get("value"), int):
        return await _knob(s, target, str(given.get("name")), value)
    if noun == "deployments" and isinstance(replicas := given.get("replicas"), int):
        now = (await deployments.find(s, target)).replicas
        return f"{target}  replicas {now} → {replicas}" + (": no change" * (now == replicas))
    said = " ".join(f"{name}={value}" for name, value in given.items())
    return f"{do.verb} {target} {said}".rstrip()


async def _knob(s: Session, deployment: str, name: str, value: int) -> str:
    engine = (await deployments.find(s, deployment)).engine
    now = (await knobs.of(s, deployment)).get(name)
    if now is None and engine is not None:
        now = knobs.defaults(engine).get(name)
    return f"{deployment}  {name} {now} → {value}" + (": no change" * (now == value))


def _going_back(service: Service, target: splits.Split) -> str:
    now = splits.pairs(service.split.arms)
    if splits.origin(service.split) == splits.origin(target):
        return f"{service.name} is back at split {target.id} ({splits.words(now)}): no change"
    return splits.change(service.name, dict(now), dict(splits.pairs(target.arms)))
