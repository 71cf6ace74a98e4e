"""Tools, calls and their results as messages of text, for chat templates that show none of them.

Never renders. Imported by `engine.prompting.chat_template`.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.chat_syntax import described
from engine.execution.job import Message, Tool
from engine.prompting import chat_turns, prompt_template


def before(messages: Sequence[Message], tools: Sequence[Tool], *, required: bool) -> list[Message]:
    """The messages after what the model is told of the tools, in one system text with theirs."""
    told = described.system(map(chat_turns.tool, tools), required=required)
    return prompt_template.joined((Message("system", told),), messages)


def turns(messages: Sequence[Message]) -> list[Message]:
    """The messages with calls in the assistant's text, and their results in a user's.

    Results that follow each other, and a user's text after them, are one turn: most templates want
    user and assistant in turn.
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
