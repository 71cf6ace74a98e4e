"""A tool whose schema no worker can hold is named."""

from __future__ import annotations

import pytest

from engine.backends import parsed_text, tool_trials
from engine.backends.constraint_checker import Checker
from engine.chat_syntax import families
from engine.execution import failures
from engine.execution.job import Chat, Message, Tool
from tests.engine.execution import jobs

GOOD = Tool("clock", None, {"type": "object"}, strict=True)
BAD = Tool("weather", None, {"properties": {"a": {"pattern": "("}}}, strict=True)


async def test_the_tool_whose_schema_cannot_be_held_is_named() -> None:
    """In JSON and in tags, whether the model calls by itself or has to."""
    checker = Checker()
    try:
        for marks in ("<tool_call>", "<function=<parameter="):
            family = families.of(marks)
            for choice in ("auto", "required"):
                chat = Chat((Message("user", "?"),), tools=(GOOD, BAD), tool_choice=choice)
                job = jobs.job(input=chat)
                trial = parsed_text.parsing(job, family, ()).trial
                assert trial is not None
                with pytest.raises(failures.Invalid, match=r"tools: .* tool weather .*: ") as said:
                    await tool_trials.check(checker, trial, job, family)
                assert said.value.param == "tools"
    finally:
        await checker.close()
