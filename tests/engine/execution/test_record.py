"""What is recorded of a job."""

from __future__ import annotations

import pytest

from engine.execution import record, replays
from engine.execution.answers import Answer
from engine.execution.failures import Broken, Failure, Invalid, Overloaded
from engine.execution.job import (
    Asked,
    Call,
    CallDelta,
    Chat,
    Delta,
    Message,
    Options,
    Tool,
)  # fmt: skip
from engine.execution.record import REFUSED_CHARACTERS
from storage import texts
from tests.engine.execution import jobs


@pytest.mark.parametrize("kind", [Invalid, Overloaded])
def test_of_a_refused_prompt_the_beginning_is_kept(kind: type[Failure]) -> None:
    """One client could fill the disk with prompts that cost it nothing: 14 MB a second."""
    job = jobs.job("x" * 2_000_000, record_text=True)
    refused = record.text(job, "", kind("no", code="context_length_exceeded"))
    assert refused is not None
    assert refused.prompt == "x" * REFUSED_CHARACTERS + "… (2000000 characters)"
    for failure in (None, Broken("no", code="engine_error")):
        whole = record.text(job, "", failure)
        assert whole is not None
        assert len(whole.prompt) == 2_000_000
    assert record.text(jobs.job("x"), "", None) is None


def test_calls_are_recorded_as_text_and_reasoning_beside_it() -> None:
    """What an assistant called and what the tool answered can be read in the prompt, too."""
    call = Call("call_1", "weather", '{"city": "Rome"}')
    turns = (
        Message("user", "Rome?"),
        Message("assistant", "I look.", calls=(call,)),
        Message("tool", "21", call_id="call_1"),
    )
    job = jobs.job(input=Chat(turns), record_text=True)
    answer = Answer(job, [])
    parts = (CallDelta(0, "call_2", "weather", '{"city"'), CallDelta(0, "", "", ": 1}"))
    answer.add((Delta(0, "Again.", 1, (), 5, "Hm.", parts),))
    text = record.text(job, answer.text, None, answer.turn)
    assert text is not None
    assert text.completion == 'Again.\nweather({"city": 1})'
    assert texts.reasoning(text) == "Hm."
    assert text.prompt == (
        'user: Rome?\n\nassistant: I look.\n  weather({"city": "Rome"})\n\ntool: 21'
    )
    without = record.text(job, "", None)
    assert without is not None
    assert texts.reasoning(without) is None


def test_a_request_with_tools_can_be_asked_again() -> None:
    """Tools, calls and the choice come back from the record."""
    tool = Tool("weather", "Today's weather", {"type": "object"})
    chat = Chat((Message("user", "Rome?"),), tools=(tool,), tool_choice="required", effort="low")
    asked = Asked(input=chat, options=Options(thinking_budget=5))
    text = record.text(jobs.job(record_text=True, asked=asked), "", None)
    assert text is not None
    assert replays.read(text.asked or "") == asked
