"""A model's chat template: from messages to the segments that a worker tokenises.

Compiled and tried once, when a worker connects; `fault` is set if it cannot render a plain
conversation. Never counts tokens. Imported by `engine.backends`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

import jinja2

from engine.execution.job import Chat, Message
from engine.prompting import guards, sandbox
from engine.serving import wire

CHATML: Final = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{{ '<|im_start|>assistant\n' }}"
)
"""Used where a GGUF has no chat template."""

RESERVED: Final = frozenset(
    ("messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token")
)
"""Names that a caller's template arguments cannot have."""

_SYSTEM: Final = "A system text."
_PLAIN: Final = Chat((Message("user", "Hello."),))
_WITH_SYSTEM: Final = Chat((Message("system", _SYSTEM), Message("user", "Hello.")))


class BadConversation(Exception):
    """The model's chat template refuses these messages; the message holds its reason."""


class BrokenTemplate(Exception):
    """The model's chat template is faulty; its file has to be replaced."""


class ChatTemplate:
    """The chat template of one model.

    `fault` says why it cannot be used at all, None when it can. Where the template takes no system
    message, a system text goes before the next user message, as other servers do.
    """

    def __init__(
        self,
        source: str,
        *,
        control_tokens: Sequence[str],
        bos: str,
        eos: str,
        box: sandbox.Sandbox,
    ) -> None:
        """Call `prepare` before use."""
        self._source = source or CHATML
        self._box = box
        self._guard = guards.Guard(control_tokens)
        self._given = {"add_generation_prompt": True, "bos_token": bos, "eos_token": eos}
        self._template: jinja2.Template | None = None
        self._takes_system = True
        self.fault: str | None = None

    @classmethod
    def of(cls, hello: wire.Hello, box: sandbox.Sandbox) -> Self:
        """The template of the model that a worker has loaded."""
        return cls(
            hello.chat_template,
            control_tokens=hello.control_tokens,
            bos=hello.bos,
            eos=hello.eos,
            box=box,
        )

    async def prepare(self) -> None:
        """Compile the template and try it, in a thread: both may take a second."""
        await asyncio.to_thread(self._compile_and_try)

    def segments(self, chat: Chat) -> tuple[wire.Segment, ...]:
        """The segments for the worker; no text of the caller is read as control tokens.

        Raises:
            BadConversation: the template refuses the messages.
            BrokenTemplate: the template is faulty.
        """
        if self.fault is not None:
            raise BrokenTemplate(self.fault)
        messages = chat.messages if self._takes_system else _folded(chat.messages)
        texts = [message.content for message in messages]
        strings = _strings(chat.template_arguments)
        try:
            hidden, spellings = self._guard.hide([*texts, *strings])
        except guards.Crowded as crowded:
            raise BadConversation(
                f"this cannot be told from control tokens: {crowded}"
            ) from crowded
        turns = [
            {"role": message.role, "content": text}
            for message, text in zip(messages, hidden, strict=False)
        ]
        replaced = dict(zip(strings, hidden[len(texts) :], strict=True))
        arguments = (
            _replaced(chat.template_arguments, replaced) if spellings else chat.template_arguments
        )
        try:
            rendered = self._render({**arguments, **self._given, "messages": turns})
        except sandbox.Raised as refused:
            raise BadConversation(f"the model's chat template refuses this: {refused}") from refused
        except sandbox.TemplateFault as fault:
            if isinstance(fault, sandbox.Exceeded) and sandbox.large(texts):
                raise BadConversation(
                    f"this is too long for the model's chat template: {fault}"
                ) from fault
            raise BrokenTemplate(_reason(fault)) from fault
        return guards.segments(rendered, spellings)

    def _render(self, values: Mapping[str, Any]) -> str:
        assert self._template is not None  # noqa: S101 `prepare` has compiled it, or there is a fault
        return self._box.render(self._template, values)

    def _compile_and_try(self) -> None:
        try:
            self._template = self._box.compile(self._source)
            self.segments(_PLAIN)
        except sandbox.TemplateFault as fault:
            self.fault = _reason(fault)
            return
        except (BadConversation, BrokenTemplate) as error:
            self.fault = f"{error} (tried with one user message)"
            return
        try:
            rendered = self.segments(_WITH_SYSTEM)
        except (BadConversation, BrokenTemplate):
            self._takes_system = False
        else:
            self._takes_system = _SYSTEM in "".join(segment.text for segment in rendered)


def _reason(fault: sandbox.TemplateFault) -> str:
    where = f", line {fault.line}" if fault.line else ""
    return f"the model's chat template{where}: {fault}"


def _folded(messages: Sequence[Message]) -> list[Message]:
    """The messages with each system text before the next user message."""
    folded: list[Message] = []
    waiting: list[str] = []
    for message in messages:
        if message.role == "system":
            waiting.append(message.content)
        elif message.role == "user" and waiting:
            folded.append(Message("user", "\n\n".join([*waiting, message.content])))
            waiting = []
        else:
            folded.append(message)
    if waiting:
        folded.append(Message("user", "\n\n".join(waiting)))
    return folded


def _strings(value: object) -> list[str]:
    """All texts inside a JSON value."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for each in value.values() for text in _strings(each)]
    if isinstance(value, list):
        return [text for each in value for text in _strings(each)]
    return []


def _replaced(value: Any, texts: Mapping[str, str]) -> Any:
    """A JSON value with its texts replaced."""
    if isinstance(value, str):
        return texts[value]
    if isinstance(value, dict):
        return {key: _replaced(each, texts) for key, each in value.items()}
    if isinstance(value, list):
        return [_replaced(each, texts) for each in value]
    return value
