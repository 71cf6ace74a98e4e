"""The chat templates of real models, rendered as transformers renders them.

The templates come with the source of llama-cpp-python, which the bench keeps in the user's cache;
without it there is nothing to compare.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import jinja2
import jinja2.sandbox
import pytest
import pytest_asyncio

from engine.prompting.renderer import faults, sandbox
from engine.prompting.renderer.pool import Renderer
from engine.prompting.renderer.protocol import ChatSource, Keyed
from tests.bench import peers

SOURCES: Final = sorted(
    peers.cache().glob("source/llama_cpp_python-*/vendor/llama.cpp/models/templates/*.jinja")
)
LOOKS_BACK: Final = "google-gemma-4-31B-it"
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


def _today(form: str) -> str:
    return datetime.now(UTC).strftime(form)


def reference(source: str, values: dict[str, Any]) -> str | None:
    """What transformers makes of it: its environment, without our bounds; None: it refuses."""
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols", sandbox.Generation],
    )  # fmt: skip
    environment.filters["tojson"] = _json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = _today
    try:
        return environment.from_string(source).render(values)
    except (_Refused, jinja2.TemplateError, TypeError):
        return None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def renderer() -> AsyncIterator[Renderer]:
    """One process for all."""
    async with Renderer(processes=1) as made:
        yield made


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
async def test_a_real_template_renders_as_transformers_renders_it(
    path: Path, renderer: Renderer
) -> None:
    """With and without a system message, with tools, with arguments; or both refuse."""
    source = path.read_text()
    template = Keyed(ChatSource(source, (), "<s>", "</s>"))
    for name, given in VALUES.items():
        values = {"add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>", **given}
        turns = [(turn["role"], turn["content"]) for turn in given["messages"]]
        arguments = {key: value for key, value in given.items() if key != "messages"}
        expected = reference(source, values)
        try:
            segments = await renderer.segments(template, turns, arguments)
        except faults.TemplateFault:
            assert expected is None, name
            continue
        text = "".join(segment.text for segment in segments)
        if expected != text:
            expected = reference(source, values)  # the day may have changed between the two
        assert expected == text, name


@pytest.mark.asyncio(loop_scope="module")
async def test_a_long_conversation_is_not_a_broken_template(renderer: Renderer) -> None:
    """Gemma's template looks back from each message: four hundred take it a third of a second."""
    (path,) = [each for each in SOURCES if each.stem == LOOKS_BACK]
    template = Keyed(ChatSource(path.read_text(), (), "<bos>", "<eos>"))
    turns = [("user" if at % 2 == 0 else "assistant", "ok") for at in range(401)]
    segments = await renderer.segments(template, turns, {})
    assert segments[0].text.count("ok") == 401
