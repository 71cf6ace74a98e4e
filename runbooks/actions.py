"""The actions of steps: intents on behalf of the person who started the run.

A step asks under an idempotency key of its own, so it has one intent however often the runner is
killed or an answer is lost. Imported by `runbooks.runner`.
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
    """The id of the step's intent, stored now or by an earlier attempt.

    Raises:
        StorageError: the node refused it or could not be reached.
    """
    key = f"run {run.id}, step {step}"
    attempt = 0
    while True:
        try:
            accepted = await client.ask(
                home,
                do.verb,
                steps.filled(do.target, run.inputs),
                _filled(do.arguments, run.inputs),
                reason=f"runbook {run.runbook}, {key}",
                on_behalf_of=run.intent_id,
                idempotency_key=key,
                confirm=steps.filled(do.confirm, run.inputs),
            )
        except (errors.NodeIsDown, errors.Unanswered, errors.Unavailable):
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
