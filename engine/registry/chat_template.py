"""Tries a model's chat template on short conversations and says how it took them.

A broken template, or one that takes no system message, is found when the model is added, not at
the first request. Rendering is bounded in time and size by `engine.prompting`. Pure: template
texts in, a verdict out. Imported by `engine.jobs`, and by whoever loads a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import jinja2

from engine.prompting import sandbox
from engine.prompting.chat_template import CHATML
from engine.registry.gguf_header import ChatSource
from storage.model_checks import Chat, Template

Turn = Mapping[str, str]

_TURNS: Final[Sequence[Turn]] = (
    {"role": "user", "content": "Which disk is full?"},
    {"role": "assistant", "content": "The second one."},
    {"role": "user", "content": "Since when?"},
)
_SYSTEM: Final[Turn] = {"role": "system", "content": "Answer in one sentence."}


def check(source: ChatSource) -> Chat:
    """How the template takes turns of user and assistant, and a system message before them."""
    kind = Template.CHATML if source.template is None else Template.OWN
    box = sandbox.Sandbox(strict=False)
    try:
        template = box.compile(source.template or CHATML)
    except sandbox.TemplateFault as fault:
        return Chat(template=kind, works=False, takes_system=False, reason=_told(fault))
    for turns in (_TURNS[:1], _TURNS):
        if (reason := _fault(box, template, source, turns)) is not None:
            return Chat(template=kind, works=False, takes_system=False, reason=reason)
    for turns in ((_SYSTEM, *_TURNS[:1]), (_SYSTEM, *_TURNS)):
        if (reason := _fault(box, template, source, turns)) is not None:
            return Chat(template=kind, works=True, takes_system=False, reason=reason)
    return Chat(template=kind, works=True, takes_system=True)


def _fault(
    box: sandbox.Sandbox, template: jinja2.Template, source: ChatSource, turns: Sequence[Turn]
) -> str | None:
    """Why these turns cannot be rendered, or lose what was said; None when all is well."""
    values = {
        "messages": [dict(turn) for turn in turns],
        "add_generation_prompt": True,
        "bos_token": source.bos,
        "eos_token": source.eos,
    }
    try:
        text = box.render(template, values)
    except sandbox.TemplateFault as fault:
        return _told(fault)
    lost = [turn["role"] for turn in turns if turn["content"] not in text]
    return f"it leaves out the {lost[0]} message" if lost else None


def _told(fault: sandbox.TemplateFault) -> str:
    where = f" (line {fault.line})" if fault.line else ""
    said = " ".join(str(fault).split())[:400] or "it cannot be rendered"
    return f"{said}{where}"
