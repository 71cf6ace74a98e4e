"""Jobs in a worker's terms: the order of what a suffix needs."""

from __future__ import annotations

from typing import Any

import pytest

from engine.backends import translation
from engine.execution import failures
from engine.execution.job import Text
from engine.prompting.chat_template import ChatTemplate
from engine.prompting.renderer.protocol import ChatSource
from tests.engine.execution import jobs

MARKS = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")


def template(*marks: str, room: int = 0) -> ChatTemplate:
    """Of a model with these marks; nothing is rendered with it."""
    nothing: Any = None
    source = ChatSource("", (), "", "", context_tokens=room, longest_token=4)
    return ChatTemplate(source, nothing, infill=marks)


async def test_a_suffix_comes_before_the_middle_that_is_written() -> None:
    """Only the marks may be control tokens: what a client spells like one is text."""
    asked = Text(("def f(", "<|fim_middle|>"), "):\n")
    found = await translation.segments(template(*MARKS), jobs.release(), asked, 1.0)
    written = [[(segment.text, segment.special) for segment in prompt] for prompt in found]
    before, after, middle = MARKS
    assert written == [
        [(before, True), (prompt, False), (after, True), ("):\n", False), (middle, True)]
        for prompt in asked.prompts
    ]


@pytest.mark.parametrize(
    ("marks", "suffix", "code"),
    [((), ")", "unsupported_parameter"), (MARKS, ")" * 100, "context_length_exceeded")],
)
async def test_a_suffix_that_cannot_be_used_is_refused(
    marks: tuple[str, ...], suffix: str, code: str
) -> None:
    """The model has no marks, or no room."""
    with pytest.raises(failures.Invalid) as caught:
        await translation.segments(
            template(*marks, room=16), jobs.release(), Text(("def f(",), suffix), 1.0
        )
    assert caught.value.code == code
