"""A kind of job for tests: three steps that count how often each ran, in files of the home.

What a step does is given by the job's arguments: {"fetch": "refuse"} makes that step refuse.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from engine.jobs import kinds
from engine.jobs.context import Context
from engine.jobs.errors import Refused, Transient
from storage import ledger
from storage.store import Session

NAMES: Final = ("fetch", "verify", "register")


def step(name: str) -> Callable[[Context], Awaitable[Any]]:
    """A step that does what the arguments say of it."""

    async def run(context: Context) -> Any:
        counted = context.home.root / f"{name}.count"
        count = int(counted.read_text()) + 1 if counted.exists() else 1
        counted.write_text(str(count))
        context.log(f"{name} in attempt {context.job.attempt}")
        match context.job.arguments.get(name):
            case "refuse":
                raise Refused(f"There is no {name}.")
            case "transient":
                raise Transient(f"No answer to {name}.")
            case "advance and fail":
                context.progress(count - 1, 10, "B")
                context.progress(count, 10, "B")
                raise Transient(f"Cut off in {name}.")
            case "break":
                raise ZeroDivisionError(name)
            case "wait":
                await asyncio.Event().wait()
        if name != NAMES[-1]:
            return {"attempt": context.job.attempt}

        async def register(s: Session) -> str:
            await ledger.write(
                s, actor="job", verb="registered", noun="thing", key=context.job.target,
                before=None, after=None, at_us=context.now_us(),
            )  # fmt: skip
            return "Registered."

        return register

    return run


KIND: Final = kinds.Kind(tuple(kinds.Step(name, step(name)) for name in NAMES))
