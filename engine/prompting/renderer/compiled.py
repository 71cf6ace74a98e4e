"""The compiled sources of a renderer process, and its work with them.

Never reads from the pool. Imported by `process`.
"""

from __future__ import annotations

import contextlib
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import jinja2

from engine.prompting.renderer import guards, sandbox
from engine.prompting.renderer.faults import Crowded, TemplateFault, TooLong
from engine.prompting.renderer.protocol import (
    Answer,
    ChatSource,
    Missing,
    Names,
    PromptSource,
    ReadNames,
    Render,
    RenderChat,
    RenderPrompt,
    Segments,
    Source,
    Texts,
    Work,
)

_KEPT: Final = 64
"""Sources, the least recently used going first."""
_PROMPTS: Final = sandbox.Sandbox(strict=True)
_CHATS: Final = sandbox.Sandbox(strict=False)

Turn = dict[str, Any]
_ROLE: Final = "role"
_END: Final = "\U0010fffd"
"""Marks the end of a message to be continued: templates remove space at the end of a text."""


class Prompt:
    """The templates of a prompt version."""

    def __init__(self, source: PromptSource) -> None:
        self._source = source
        self._templates: list[jinja2.Template] = []
        for place, text in enumerate(source.templates, 1):
            with _placed(place):
                self._templates.append(_PROMPTS.compile(text))

    def work(self, work: Work, cpu_s: float) -> Answer:
        """Render, or name the variables.

        Raises:
            TemplateFault: a template failed; `place` says which.
        """
        if isinstance(work, ReadNames):
            names = [_PROMPTS.names(text) for text in self._source.templates]
            return Names(tuple(tuple(sorted(each)) for each in names))
        if not isinstance(work, RenderPrompt):
            raise TemplateFault("a prompt renders no conversation")
        began, texts = time.process_time(), []
        for place, template in enumerate(self._templates, 1):
            left = cpu_s - (time.process_time() - began)
            with _placed(place):
                texts.append(_PROMPTS.render(template, work.values, left))
        return Texts(tuple(texts))


class Chat:
    """The chat template of a model."""

    def __init__(self, source: ChatSource) -> None:
        self._source = source
        self._guard = guards.Guard(source.control_tokens)
        self._template = _CHATS.compile(source.template)
        self._given = {
            "add_generation_prompt": True,
            "bos_token": source.bos,
            "eos_token": source.eos,
        }

    def work(self, work: Work, cpu_s: float) -> Answer:
        """Render; no text of the caller is read as control tokens.

        Raises:
            TemplateFault: the template failed, or what it makes cannot fit the context.
        """
        if not isinstance(work, RenderChat):
            raise TemplateFault("a chat template renders conversations only")
        messages = folded(work.messages) if work.fold_system else list(work.messages)
        given = {**work.arguments, **({"tools": list(work.tools)} if work.tools else {})}
        strings = [
            text for each in messages for key, value in each.items() if key != _ROLE
            for text in _strings(value)
        ]  # fmt: skip
        strings += _strings(given)
        hidden, spellings = self._guard.hide(strings)
        if spellings:
            texts = dict(zip(strings, hidden, strict=True))
            messages = [_guarded(each, texts) for each in messages]
            given = _replaced(given, texts)
        values = {**given, **self._given, "messages": messages}
        if work.continued:
            values["messages"] = _marked(messages)
        if work.continued or not work.generation_prompt:
            values["add_generation_prompt"] = False
        rendered = _CHATS.render(self._template, values, cpu_s)
        if work.continued:
            rendered, end, _ = rendered.rpartition(_END)
            if not end:
                raise TemplateFault("it does not show the last message, which is to be continued")
        for character, mark in work.marks.items():
            rendered = rendered.replace(character, mark)
        segments = guards.segments(rendered, spellings)
        self._check(rendered, len(segments))
        return Segments(segments)

    def _check(self, rendered: str, segments: int) -> None:
        """Refuse what cannot fit the context, by a lower bound of its tokens."""
        room, longest = self._source.context_tokens, self._source.longest_token
        if not room:
            return
        least = max(segments, len(rendered) // longest if longest else 0)
        if least > room:
            raise TooLong(
                f"the prompt has at least {least} tokens, and the context of a sequence "
                f"holds {room}"
            )


class Cache:
    """Sources by their key, compiled when they are first used."""

    def __init__(self) -> None:
        self._sources: OrderedDict[bytes, Source] = OrderedDict()
        self._compiled: dict[bytes, Prompt | Chat] = {}

    def load(self, key: bytes, source: Source) -> None:
        """Keep a source."""
        self._sources[key] = source
        while len(self._sources) > _KEPT:
            old, _ = self._sources.popitem(last=False)
            self._compiled.pop(old, None)

    def answer(self, render: Render) -> Answer:
        """Do the work.

        Raises:
            TemplateFault: the template failed.
        """
        source = self._sources.get(render.key)
        if source is None:
            return Missing()
        self._sources.move_to_end(render.key)
        compiled = self._compiled.get(render.key)
        if compiled is None:
            compiled = Prompt(source) if isinstance(source, PromptSource) else Chat(source)
            self._compiled[render.key] = compiled
        return compiled.work(render.work, render.cpu_s)


@contextlib.contextmanager
def _placed(place: int) -> Iterator[None]:
    """Faults in the body name this place."""
    try:
        yield
    except TemplateFault as fault:
        fault.place = place
        raise


def folded(messages: Sequence[Turn]) -> list[Turn]:
    """The messages with each system text before the next user message."""
    turns: list[Turn] = []
    waiting: list[str] = []
    for turn in messages:
        if turn[_ROLE] == "system":
            waiting.append(turn["content"])
        elif turn[_ROLE] == "user" and waiting:
            turns.append({**turn, "content": "\n\n".join([*waiting, turn["content"]])})
            waiting = []
        else:
            turns.append(turn)
    if waiting:
        turns.append({_ROLE: "user", "content": "\n\n".join(waiting)})
    return turns


def _marked(messages: Sequence[Turn]) -> list[Turn]:
    """The messages with a mark after the content of the last one.

    Raises:
        Crowded: a text holds the mark itself.
    """
    if any(_END in text for each in messages for text in _strings(each)):
        raise Crowded("the message to continue cannot be marked: another text holds U+10FFFD")
    return [*messages[:-1], {**messages[-1], "content": f"{messages[-1]['content']}{_END}"}]


def _guarded(turn: Turn, texts: Mapping[str, str]) -> Turn:
    """A message with its texts replaced, but for its role."""
    return {key: value if key == _ROLE else _replaced(value, texts) for key, value in turn.items()}


def _strings(value: object) -> list[str]:
    """All texts inside a JSON value, names included."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [*value, *(text for each in value.values() for text in _strings(each))]
    if isinstance(value, list):
        return [text for each in value for text in _strings(each)]
    return []


def _replaced(value: Any, texts: Mapping[str, str]) -> Any:
    """A JSON value with its texts replaced."""
    if isinstance(value, str):
        return texts[value]
    if isinstance(value, dict):
        return {texts.get(key, key): _replaced(each, texts) for key, each in value.items()}
    if isinstance(value, list):
        return [_replaced(each, texts) for each in value]
    return value
