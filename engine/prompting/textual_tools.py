"""Tools, calls and their results as messages of text, for chat templates that show none of them.

Never renders. Imported by `engine.prompting.chat_template`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from engine.chat_syntax import described, textual_calls
from engine.chat_syntax.syntax import Family
from engine.execution.job import Chat, Message, Tool
from engine.prompting import chat_turns, prompt_template

_FIRST: Final = 0x100000
_LAST: Final = 0x10FFFD


@dataclass(frozen=True, slots=True)
class Written:
    """Messages with calls as text. `marks` maps placeholders in it to control tokens."""

    messages: Sequence[Message]
    marks: Mapping[str, str] = field(default_factory=dict)


def written(chat: Chat, family: Family) -> Written | None:
    """The messages with the assistant's calls as text in the form of the family.

    Turns of tools stay. None where the family has no such form, or no character is free to be a
    placeholder.
    """
    whole = msgspec.json.encode(chat).decode("utf-8", "replace")
    free = (chr(code) for code in range(_FIRST, _LAST + 1) if chr(code) not in whole)
    characters: dict[str, str] = {}
    made: list[Message] = []
    for message in chat.messages:
        if not message.calls:
            made.append(message)
            continue
        call = textual_calls.of(family, ((call.name, call.arguments) for call in message.calls))
        if call is None:
            return None
        for mark in filter(None, (call.before, call.after)):
            characters.setdefault(mark, next(free, ""))
        before, after = (characters.get(mark, "") for mark in (call.before, call.after))
        content = f"{message.content}{before}{call.text}{after}"
        made.append(Message(message.role, content, message.reasoning))
    if "" in characters.values():
        return None
    return Written(made, {character: mark for mark, character in characters.items()})


def with_tools(
    messages: Sequence[Message], tools: Sequence[Tool], *, required: bool
) -> list[Message]:
    """The messages with a description of the tools at the beginning of their system text."""
    text = described.system(map(chat_turns.tool, tools), required=required)
    return prompt_template.joined((Message("system", text),), messages)


def turns(messages: Sequence[Message]) -> list[Message]:
    """The messages with calls in the assistant's text, and their results in a user's.

    Consecutive results, and a user's text after them, become one turn: most templates require user
    and assistant to alternate.
    """
    made: list[Message] = []
    answers: list[str] = []
    for message in messages:
        if message.role == "tool":
            answers.append(described.result(message.content))
            continue
        if message.role == "user" and answers:
            made.append(Message("user", "\n\n".join([*answers, message.content])))
        else:
            if answers:
                made.append(Message("user", "\n\n".join(answers)))
            made.append(_said(message))
        answers = []
    if answers:
        made.append(Message("user", "\n\n".join(answers)))
    return made


def _said(message: Message) -> Message:
    if not message.calls:
        return message
    calls = [described.call(call.name, call.arguments) for call in message.calls]
    text = "\n".join([*([message.content] if message.content else []), *calls])
    return Message(message.role, text, message.reasoning)
