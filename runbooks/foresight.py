"""What a runbook would change if it were started now, for the question before it.

Reads what its steps would look at and never acts; the run looks again, and control decides.
Imported by `app`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from runbooks import steps
from runbooks.probes import PROBES
from runbooks.steps import Runbook, Step
from storage import errors, services, splits
from storage.services import Service
from storage.store import Session


async def effects(s: Session, book: Runbook, inputs: Mapping[str, str]) -> list[str]:
    """What each step would do to a split, a sentence each; other actions as they are written."""
    known = {name: each.default for name, each in book.inputs.items() if each.default is not None}
    found = []
    for step in book.steps:
        if step.do is None:
            continue
        with contextlib.suppress(errors.StorageError, KeyError):  # the run says it in full
            found.append(await _effect(s, step, step.do, {**known, **inputs}))
    return found


async def _effect(s: Session, step: Step, do: steps.Do, inputs: Mapping[str, str]) -> str:
    target = steps.filled(do.target, inputs)
    looked = None
    if (look := step.look) is not None:
        looked = await PROBES[look.probe](s, steps.filled(look.of, inputs), look.window_s, 0)
    given = steps.arguments(do, inputs, {steps.LOOKED: looked})
    noun = do.verb.partition(".")[0]
    if noun == "services" and isinstance(to := given.get("to"), int):
        service = await services.find(s, target)
        return _going_back(service, await services.find_split(s, service.name, to))
    said = " ".join(f"{name}={value}" for name, value in given.items())
    return f"{do.verb} {target} {said}".rstrip()


def _going_back(service: Service, target: splits.Split) -> str:
    now = splits.pairs(service.split.arms)
    if splits.origin(service.split) == splits.origin(target):
        return f"{service.name} is back at split {target.id} ({splits.words(now)}): no change"
    return splits.change(service.name, dict(now), dict(splits.pairs(target.arms)))
