"""`python -m engine.registry.template_trial`: tries a chat template within limits.

Reads a `Source` as JSON from standard input and writes a `Chat` to standard output. Imports little,
and limits its own CPU time and memory before it compiles the template, which is untrusted. Started
by `engine.registry.chat_template`.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import jinja2
import msgspec

from engine.prompting import sandbox
from storage.model_checks import Chat, Template

CPU_S: Final = 10
"""Seconds of CPU time."""
MEMORY: Final = 512 * 1024 * 1024
"""Bytes of memory beyond those in use at the start."""

Turn = Mapping[str, str]

_TURNS: Final[Sequence[Turn]] = (
    {"role": "user", "content": "Which disk is full?"},
    {"role": "assistant", "content": "The second one."},
    {"role": "user", "content": "Since when?"},
)
_SYSTEM: Final[Turn] = {"role": "system", "content": "Answer in one sentence."}


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A template, where it comes from, and the texts of the BOS and EOS tokens."""

    kind: Template
    template: str
    bos: str
    eos: str


def check(source: Source) -> Chat:
    """Whether the template renders user and assistant turns, and a system message before them."""
    box = sandbox.Sandbox(strict=False)
    try:
        template = box.compile(source.template)
    except sandbox.TemplateFault as fault:
        return Chat(template=source.kind, works=False, takes_system=False, reason=_sentence(fault))
    for turns in (_TURNS[:1], _TURNS):
        if (reason := _fault(box, template, source, turns)) is not None:
            return Chat(template=source.kind, works=False, takes_system=False, reason=reason)
    for turns in ((_SYSTEM, *_TURNS[:1]), (_SYSTEM, *_TURNS)):
        if (reason := _fault(box, template, source, turns)) is not None:
            return Chat(template=source.kind, works=True, takes_system=False, reason=reason)
    return Chat(template=source.kind, works=True, takes_system=True)


def _fault(
    box: sandbox.Sandbox, template: jinja2.Template, source: Source, turns: Sequence[Turn]
) -> str | None:
    """Why these turns are not rendered, or not completely; None if they are."""
    values = {
        "messages": [dict(turn) for turn in turns],
        "add_generation_prompt": True,
        "bos_token": source.bos,
        "eos_token": source.eos,
    }
    try:
        text = box.render(template, values)
    except sandbox.TemplateFault as fault:
        return _sentence(fault)
    lost = [turn["role"] for turn in turns if turn["content"] not in text]
    return f"it leaves out the {lost[0]} message" if lost else None


def _sentence(fault: sandbox.TemplateFault) -> str:
    where = f" (line {fault.line})" if fault.line else ""
    said = " ".join(str(fault).split())[:400] or "it cannot be rendered"
    return f"{said}{where}"


def _bound() -> None:
    """Limit the CPU time and memory of this process from now on."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _main() -> None:
    source = msgspec.json.decode(sys.stdin.buffer.read(), type=Source)
    _bound()
    sys.stdout.buffer.write(msgspec.json.encode(check(source)))


if __name__ == "__main__":
    _main()
