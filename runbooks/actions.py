"""What a step does: an intent at the node's door, in the name of whoever started the run.

Asking is done once for each step, however often the runner is killed: the intent's reason names
run and step, and is looked for before asking again. Imported by `runbooks.runner`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from runbooks import steps
from storage import door, errors, intents
from storage.runs import Run
from storage.store import Store

_LOOK_BACK: Final = 500
_ATTEMPTS: Final = 5
_AGAIN_S: Final = 1.0


async def ask(store: Store, run: Run, step: str, do: steps.Do) -> int:
    """The id of the intent that was asked for this step, now or before.

    Raises:
        StorageError: the door refused, or could not be reached.
    """
    reason = f"runbook {run.runbook}, run {run.id}, step {step}"
    async with store.read() as session:
        for intent in await intents.tail(session, _LOOK_BACK):
            if intent.id > run.intent_id and intent.reason == reason and intent.verb == do.verb:
                return intent.id
    attempt = 0
    while True:
        try:
            accepted = await door.ask(
                store.home,
                do.verb,
                steps.filled(do.target, run.inputs),
                _filled(do.arguments, run.inputs),
                reason=reason,
                behalf=run.intent_id,
            )
        except (errors.NodeIsDown, errors.Unavailable):
            attempt += 1
            if attempt == _ATTEMPTS:
                raise
            await asyncio.sleep(_AGAIN_S)
        else:
            return accepted.intent_id


def _filled(arguments: Mapping[str, Any], inputs: Mapping[str, str]) -> dict[str, Any]:
    return {name: _value(value, inputs) for name, value in arguments.items()}


def _value(value: Any, inputs: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return steps.filled(value, inputs)
    if isinstance(value, dict):
        return {
            steps.filled(str(name), inputs): _value(each, inputs) for name, each in value.items()
        }
    if isinstance(value, list):
        return [_value(each, inputs) for each in value]
    return value
