"""`python -m engine.registry.template_trial`: tries a chat template within bounds, and ends.

Reads a `Source` as JSON from standard input and writes a `Chat` to standard output. It starts with
few imports, and limits its own processor time and memory before it touches the template, which
is a stranger's. `check` alone is pure. Started by `engine.registry.chat_template`.
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
"""Processor time of the trial."""
MEMORY: Final = 512 * 1024 * 1024
"""Bytes that it may take beyond what its own code takes."""

Turn = Mapping[str, str]

_TURNS: Final[Sequence[Turn]] = (
    {"role": "user", "content": "Which disk is full?"},
    {"role": "assistant", "content": "The second one."},
    {"role": "user", "content": "Since when?"},
)
_SYSTEM: Final[Turn] = {"role": "system", "content": "Answer in one sentence."}


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A template, where it is from, and the texts of the tokens that it is given."""

    kind: Template
    template: str
    bos: str
    eos: str


def check(source: Source) -> Chat:
    """How the template takes turns of user and assistant, and a system message before them."""
    box = sandbox.Sandbox(strict=False)
    try:
        template = box.compile(source.template)
    except sandbox.TemplateFault as fault:
        return Chat(template=source.kind, works=False, takes_system=False, reason=_told(fault))
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


def _bound() -> None:
    """Limit this process's processor time and memory from here on."""
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
