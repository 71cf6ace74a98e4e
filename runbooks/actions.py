"""What a step does: an intent at the node's door, in the name of whoever started the run.

However often the runner is killed or an answer is lost, each step has one intent: asked again
with the same reason on behalf of the same run, the door tells the one that it keeps. Imported by
`runbooks.runner`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from runbooks import steps
from storage import errors
from storage.control_socket import client
from storage.home.paths import Home
from storage.runs import Run

_ATTEMPTS: Final = 5
_AGAIN_S: Final = 1.0


async def ask(home: Home, run: Run, step: str, do: steps.Do) -> int:
    """The id of the intent that was asked for this step, now or before.

    Raises:
        StorageError: the door refused, or could not be reached.
    """
    reason = f"runbook {run.runbook}, run {run.id}, step {step}"
    attempt = 0
    while True:
        try:
            accepted = await client.ask(
                home,
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
