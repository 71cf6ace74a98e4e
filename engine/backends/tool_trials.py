"""Tries what the calls of a job have to match, and names the tool whose schema is at fault.

Imported by `engine.backends.local_run`.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.backends import constraint_checker
from engine.backends.constraint_checker import Checker
from engine.chat_syntax import lazy
from engine.chat_syntax.lark import pieces
from engine.chat_syntax.syntax import Family
from engine.execution import failures
from engine.execution.job import Chat, Job
from engine.serving import wire


async def check(checker: Checker, trial: wire.Constraint, job: Job, family: Family) -> None:
    """Return if workers can hold the calls.

    Where they cannot, the tools are tried one by one; all may be too many together.

    Raises:
        failures.Invalid: they cannot.
        failures.Overloaded, failures.Unavailable: it cannot be tried now, or not in time.
    """
    within_s = job.queue_us / 1e6
    try:
        await checker.check(trial, job.tenant, within_s)
    except failures.Invalid as failure:
        if constraint_checker.EXHAUSTED in failure.message:
            raise  # each might take as long
        for name, alone in _alone(job, family):
            try:
                await checker.check(alone, job.tenant, within_s)
            except failures.Invalid as error:
                reason = error.message.removeprefix(f"{alone.field}: ")
                raise failures.Invalid(
                    f"tools: the arguments of tool {name} cannot be held to its schema: {reason}",
                    code=error.code,
                    param="tools",
                ) from failure
        raise


def _alone(job: Job, family: Family) -> Iterator[tuple[str, wire.Constraint]]:
    """What holds the arguments of each tool that is held to its schema."""
    chat = job.input
    if not isinstance(chat, Chat):
        return
    every = chat.tool_choice == "required" or job.constraint is not None
    for tool in chat.tools:
        if not (every or tool.strict) or chat.only_tool not in {"", tool.name}:
            continue
        held = None if every else lazy.of(family, {tool.name: tool.parameters}, (tool.name,), {})
        schema = pieces.arguments(tool.parameters)
        grammar = f"start: {schema}\n" if held is None else held.trial
        yield tool.name, wire.Constraint("grammar", grammar, "tools")
