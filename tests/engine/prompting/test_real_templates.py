"""The chat templates of real models, rendered as transformers renders them.

The templates come with the source of llama-cpp-python, which the bench keeps in the user's cache;
without it there is nothing to compare.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import jinja2
import jinja2.sandbox
import pytest

from engine.prompting.renderer import faults, sandbox
from tests.bench import peers

SOURCES: Final = sorted(
    peers.cache().glob("source/llama_cpp_python-*/vendor/llama.cpp/models/templates/*.jinja")
)
BOX: Final = sandbox.Sandbox(strict=False)
NOW: Final = datetime(2026, 1, 2, tzinfo=UTC)
USER: Final = {"role": "user", "content": "Which disk is full?"}
ASSISTANT: Final = {"role": "assistant", "content": "The second one."}
SYSTEM: Final = {"role": "system", "content": "Answer briefly."}
TOOL: Final = {
    "type": "function",
    "function": {
        "name": "disks",
        "description": "List <disks> & their use",
        "parameters": {"type": "object", "properties": {"host": {"type": "string"}}},
    },
}
VALUES: Final[dict[str, dict[str, Any]]] = {
    "one message": {"messages": [USER]},
    "a conversation": {"messages": [USER, ASSISTANT, USER]},
    "a system message": {"messages": [SYSTEM, USER]},
    "tools": {"messages": [SYSTEM, USER], "tools": [TOOL]},
    "thinking off": {"messages": [USER], "enable_thinking": False, "thinking": False},
}

if not SOURCES:
    pytest.skip("the source of llama-cpp-python is not here", allow_module_level=True)


class _Refused(Exception):
    """The template refuses what it was given."""


def _refuse(message: str) -> None:
    raise _Refused(message)


def _json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def reference(source: str, values: dict[str, Any]) -> str:
    """What transformers makes of it: its environment, without our bounds."""
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols", sandbox.Generation],
    )  # fmt: skip
    environment.filters["tojson"] = _json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = NOW.strftime
    return environment.from_string(source).render(values)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_a_real_template_renders_as_transformers_renders_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without a system message, with tools, with arguments; or both refuse."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return NOW.astimezone(tz)

    monkeypatch.setattr(sandbox, "datetime", Clock)
    source = path.read_text()
    template = BOX.compile(source)
    for name, given in VALUES.items():
        values = {"add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>", **given}
        try:
            expected = reference(source, values)
        except (_Refused, jinja2.TemplateError, TypeError):
            with pytest.raises(faults.TemplateFault):
                BOX.render(template, values)
            continue
        assert expected == BOX.render(template, values), name
