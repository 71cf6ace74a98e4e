"""Checks a model's chat template: whether it works, what it takes, how its model writes calls.

Tried when the model is added, not at the first request, in a renderer process, as the gateway will
render it. Imported by `engine.jobs` and `gguf_header`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from engine.prompting.chat_template import CHATML, ChatTemplate
from engine.prompting.renderer import faults
from engine.prompting.renderer.child import LIMITS, Limits
from engine.prompting.renderer.pool import Renderer
from engine.prompting.renderer.protocol import ChatSource, Keyed
from storage.model_checks import Chat, Template

_TURNS: Final[Sequence[tuple[str, str]]] = (
    ("user", "Which disk is full?"),
    ("assistant", "The second one."),
    ("user", "Since when?"),
)
_SYSTEM: Final = ("system", "Answer in one sentence.")


@dataclass(frozen=True, slots=True)
class Source:
    """A file's chat template, None where it has none, and the texts of its BOS and EOS tokens."""

    template: str | None
    bos: str
    eos: str

    @property
    def sha256(self) -> str:
        """Of the template in hex; empty without one."""
        if self.template is None:
            return ""
        return hashlib.sha256(self.template.encode("utf-8", "surrogateescape")).hexdigest()


async def check(source: Source, limits: Limits = LIMITS) -> Chat:
    """The result of rendering short conversations, with and without a system message.

    Raises:
        failures.Failure: no process can be started to render it.
    """
    kind = Template.CHATML if source.template is None else Template.OWN
    chat = ChatSource(source.template or CHATML, (), source.bos, source.eos)
    async with Renderer(processes=1, limits=limits) as renderer:
        reason = await _first_fault(renderer, chat, _TURNS[:1], _TURNS)
        if reason is not None:
            return Chat(template=kind, works=False, takes_system=False, reason=reason)
        reason = await _first_fault(renderer, chat, (_SYSTEM, *_TURNS[:1]), (_SYSTEM, *_TURNS))
        tried = ChatTemplate(chat, renderer)
        await tried.prepare()
        return Chat(
            template=kind,
            works=True,
            takes_system=reason is None,
            reason=reason,
            shows_tools=tried.shows_tools,
            calls=tried.calling.name,
            reasons=tried.calling.reasoning is not None,
        )


async def _first_fault(
    renderer: Renderer, source: ChatSource, *conversations: Sequence[tuple[str, str]]
) -> str | None:
    """Why one of them is not rendered, or not completely; None if all are."""
    for turns in conversations:
        try:
            messages = [{"role": role, "content": content} for role, content in turns]
            segments = await renderer.segments(Keyed(source), messages, {})
        except faults.TemplateFault as fault:
            return _sentence(fault)
        text = "".join(segment.text for segment in segments)
        lost = [role for role, content in turns if content not in text]
        if lost:
            return f"it leaves out the {lost[0]} message"
    return None


def _sentence(fault: faults.TemplateFault) -> str:
    where = f" (line {fault.line})" if fault.line else ""
    said = " ".join(str(fault).split())[:400] or "it cannot be rendered"
    return f"{said}{where}"
