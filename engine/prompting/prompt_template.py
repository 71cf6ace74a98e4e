"""Prompt versions: rendered with their variables and put before the client's input.

Never chooses a release, never renders a model's chat template. Imported by `engine.execution`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from engine.execution.job import Chat, Embed, Input, Message, Rerank, Text
from engine.prompting.renderer import faults, pool
from engine.prompting.renderer.pool import Renderer
from engine.prompting.renderer.protocol import Keyed, PromptSource
from storage import prompt_content
from storage.prompts import PromptVersion, Variable

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}

_VOLATILE: Final = ("strftime_now", "random")
"""What makes a template render differently each time."""


class BadVariables(Exception):
    """The variables are not those that the prompt declares; send what the message names."""


class BadInput(Exception):
    """The caller's input cannot follow a prompt."""


class BrokenPrompt(Exception):
    """A prompt version's template is faulty; its author has to fix it.

    `given`: it failed for variables that the caller sent.
    """

    def __init__(self, message: str, *, given: bool) -> None:
        super().__init__(message)
        self.given = given


class Prompt:
    """A prompt version, rendered by a renderer process; texts without variables are kept."""

    def __init__(self, version: PromptVersion, renderer: Renderer) -> None:
        self.version = version
        self._renderer = renderer
        self._declared = {variable.name: variable for variable in version.variables}
        self._source = Keyed(
            PromptSource(tuple(each.template for each in version.messages)), version.name
        )
        self._rendered: tuple[Message, ...] | None = None
        self._constant = not any(
            name in message.template for message in version.messages for name in _VOLATILE
        )

    @property
    def fault(self) -> str | None:
        """Why it was quarantined; None if it was not."""
        killed = self._renderer.quarantined(self._source)
        return None if killed is None else f"prompt {self.version.name}: {killed}"

    async def render(self, given: Mapping[str, object]) -> tuple[Message, ...]:
        """The prompt's messages with the variables filled in.

        Raises:
            BadVariables: one is missing, unknown, of another type, or the template fails for it.
            BrokenPrompt: a template is faulty.
            failures.Failure: nothing can be rendered now.
        """
        if not given and self._rendered is not None:
            return self._rendered
        values = self._values(given)
        try:
            texts = await self._texts(values, given=bool(given))
        except BrokenPrompt as error:
            if given and await self._renders():
                raise BadVariables(f"with these variables, {error}") from error
            raise
        messages = tuple(
            Message(each.role, text)
            for each, text in zip(self.version.messages, texts, strict=True)
        )
        if not given and self._constant:
            self._rendered = messages
        return messages

    async def _renders(self) -> bool:
        """Whether it can be rendered with the defaults of its variables."""
        try:
            await self.render({})
        except (BadVariables, BrokenPrompt):
            return False
        return True

    async def _texts(self, values: Mapping[str, object], *, given: bool) -> tuple[str, ...]:
        name = self.version.name
        try:
            return await self._renderer.texts(self._source, values)
        except faults.Unencodable as fault:
            raise BadVariables(f"the variables of prompt {name} cannot be used: {fault}") from fault
        except faults.TemplateFault as fault:
            texts = [value for value in values.values() if isinstance(value, str)]
            if isinstance(fault, faults.Exceeded) and pool.large(texts):
                raise BadVariables(
                    f"the variables are too long for prompt {name}: {fault}"
                ) from fault
            place = ""
            if fault.place:
                place = f", message {fault.place} ({self.version.messages[fault.place - 1].role})"
            line = f", line {fault.line}" if fault.line else ""
            raise BrokenPrompt(f"prompt {name}{place}{line}: {fault}", given=given) from fault

    def _values(self, given: Mapping[str, object]) -> dict[str, object]:
        unknown = sorted(given.keys() - self._declared.keys())
        if unknown:
            takes = ", ".join(self._declared) or "none"
            raise BadVariables(
                f"prompt {self.version.name} has no variable {', '.join(map(repr, unknown))}; "
                f"it takes: {takes}"
            )
        return {name: self._value(known, given) for name, known in self._declared.items()}

    def _value(self, variable: Variable, given: Mapping[str, object]) -> object:
        value = given.get(variable.name)
        if value is None:
            if variable.default is not None:
                return default(variable)
            if variable.required:
                raise BadVariables(
                    f"prompt {self.version.name} needs the variable {variable.name!r} "
                    f"({variable.type}); send it in prompt_variables"
                )
            return ""
        wanted = _TYPES[variable.type]
        if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
            raise BadVariables(
                f"variable {variable.name!r} of prompt {self.version.name} is "
                f"of type {variable.type}, not {type(value).__name__}"
            )
        return value


def default(variable: Variable) -> object:
    """The default of a variable as its type; text of another type, from old versions, as it is."""
    try:
        return prompt_content.value(variable.default or "", variable.type)
    except ValueError:
        return variable.default or ""


def joined(prompt: Sequence[Message], client: Sequence[Message]) -> list[Message]:
    """The prompt's messages, then the client's.

    The client's leading system messages are appended to the prompt's first system text, after a
    blank line, because most chat templates allow one system message only.
    """
    system = next((place for place, m in enumerate(prompt) if m.role == "system"), None)
    if system is None:
        leading = _leading(client)
        return [*client[:leading], *prompt, *client[leading:]]
    leading = _leading(client)
    texts = [prompt[system].content, *(m.content for m in client[:leading])]
    merged = Message("system", "\n\n".join(text for text in texts if text))
    return [*prompt[:system], merged, *prompt[system + 1 :], *client[leading:]]


def _leading(messages: Sequence[Message]) -> int:
    count = 0
    while count < len(messages) and messages[count].role == "system":
        count += 1
    return count


def prompted(prompt: Sequence[Message], input: Input) -> Input:
    """The input after the prompt; texts are separated by blank lines. Only text has a prompt.

    Raises:
        BadInput: a text is given as tokens, which nothing can be put before.
    """
    if isinstance(input, Embed | Rerank):
        return input
    if isinstance(input, Chat):
        messages = tuple(joined(prompt, input.messages))
        return msgspec.structs.replace(input, messages=messages)
    texts = [message.content for message in prompt]
    joined_texts = tuple("\n\n".join([*texts, _spelled(text)]) for text in input.prompts)
    return Text(joined_texts, input.suffix)


def _spelled(prompt: str | tuple[int, ...]) -> str:
    if isinstance(prompt, str):
        return prompt
    raise BadInput("the release has a prompt that goes before the text; send text, not token ids")
