"""The chat templates of real models, rendered as transformers renders them.

The templates come with the source of llama-cpp-python, which the bench keeps in the user's cache;
without it there is nothing to compare.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import jinja2
import jinja2.sandbox
import pytest
import pytest_asyncio

from engine.chat_syntax import families
from engine.execution.job import Call, Message
from engine.prompting import chat_turns
from engine.prompting.renderer import faults, sandbox
from engine.prompting.renderer.pool import Renderer
from engine.prompting.renderer.protocol import ChatSource, Keyed
from tests.bench import peers
from tests.engine.chat_syntax import answers
from tests.engine.chat_syntax.test_parser import SHOWN

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
CALLS: Final = [
    ("disks", {"host": 'a "b" <c>', "days": 3}), ("clock", {"host": "d"}),
]  # fmt: skip
SCHEMAS: Final = {
    name: {"type": "object", "properties": {"host": {"type": "string"}}} for name, _ in CALLS
}
UNREAD: Final = frozenset(
    (
        "CohereForAI-c4ai-command-r-plus-tool_use",
        "HuggingFaceTB-SmolLM3-3B",
        "Kimi-K2-Instruct",
        "Kimi-K2-Thinking",
        "LFM2-8B-A1B",
        "LFM2.5-Instruct",
        "fireworks-ai-llama-3-firefunction-v2",
        "google-gemma-2-2b-it",
        "ibm-granite-granite-3.3-2B-Instruct",
        "llama-cpp-deepseek-r1",
        "llama-cpp-rwkv-world",
        "microsoft-Phi-3.5-mini-instruct",
    )
)
"""Templates that write no call of an assistant, or that transformers cannot render with one."""
VALUES: Final[dict[str, dict[str, Any]]] = {
    "one message": {"messages": [USER]},
    "a conversation": {"messages": [USER, ASSISTANT, USER]},
    "a system message": {"messages": [SYSTEM, USER]},
    "tools": {"messages": [SYSTEM, USER], "tools": [TOOL]},
    "a call and its answer": {
        "messages": [
            USER,
            {
                "role": "assistant",
                "content": "",
                "reasoning_content": "Look it up.",
                "tool_calls": [
                    {
                        "id": "call00001",
                        "type": "function",
                        "function": {"name": "disks", "arguments": {"host": "a"}},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call00001", "name": "disks", "content": "sdb"},
        ],
        "tools": [TOOL],
    },
    "thinking on": {
        "messages": [USER],
        "enable_thinking": True,
        "thinking": True,
        "reasoning_effort": "high",
    },
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
        arguments = {k: v for k, v in given.items() if k not in {"messages", "tools"}}
        expected = reference(source, values)
        try:
            segments = await renderer.segments(
                template, given["messages"], arguments, tools=given.get("tools", ())
            )
        except faults.TemplateFault:
            assert expected is None, name
            continue
        text = "".join(segment.text for segment in segments)
        if expected != text:
            expected = reference(source, values)  # the day may have changed between the two
        assert expected == text, name


def written(source: str) -> tuple[str, str, int] | None:
    """The prompt, what a template writes of an assistant's calls, and of how many.

    None where it writes none, or refuses them in every form.
    """
    values: dict[str, Any] = {"bos_token": "<s>", "eos_token": "</s>", "tools": [
        {"type": "function", "function": {"name": name, "description": "", "parameters": schema}}
        for name, schema in SCHEMAS.items()
    ]}  # fmt: skip
    asked = reference(source, {**values, "messages": [USER], "add_generation_prompt": True})
    for form, count in itertools.product(chat_turns.candidates(source), (2, 1)):
        calls = tuple(
            Call(f"call{n}0000", name, json.dumps(given))
            for n, (name, given) in enumerate(CALLS[:count])
        )
        turn = Message("assistant", "", "Look it up.", calls)
        messages = [USER, *chat_turns.turns([turn], form)]
        said = reference(source, {**values, "messages": messages})
        if asked and said and "disks" in said.rpartition(USER["content"])[2]:
            pairs = itertools.takewhile(
                lambda two: two[0] == two[1], zip(asked, said, strict=False)
            )
            same = "".join(one for one, _ in pairs)
            tag = max(same.rfind("<"), same.rfind("["))  # never half a tag
            end = tag if tag > max(same.rfind(">"), same.rfind("]")) else len(same)
            shown = sum(name in said[end:] for name, _ in CALLS)  # some write the first one only
            return said[:end], said[end:], shown
    return None


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_what_a_real_template_writes_of_calls_is_read_back(path: Path) -> None:
    """By the family that its text shows, token by token; reasoning is none of the content."""
    source = path.read_text()
    found = written(source)
    assert (found is None) == (path.stem in UNREAD)
    if found is None:
        return
    prompt, text, count = found
    said = answers.parsed(families.of(source), text, tools=SCHEMAS, prompt=prompt)
    assert said.made == CALLS[:count]
    assert said.reasoning in {"", "Look it up."}


def test_every_family_of_real_templates_is_in_the_table_of_held_calls() -> None:
    """`tests.engine.chat_syntax.test_held_calls` goes through it."""
    found = {families.of(path.read_text()).name for path in SOURCES}
    assert found - {"plain"} == SHOWN.keys()


@pytest.mark.asyncio(loop_scope="module")
async def test_a_long_conversation_is_not_a_broken_template(renderer: Renderer) -> None:
    """Gemma's template looks back from each message: four hundred take it a third of a second."""
    (path,) = [each for each in SOURCES if each.stem == LOOKS_BACK]
    template = Keyed(ChatSource(path.read_text(), (), "<bos>", "<eos>"))
    roles = ["user" if at % 2 == 0 else "assistant" for at in range(401)]
    turns = [{"role": role, "content": "ok"} for role in roles]
    segments = await renderer.segments(template, turns, {})
    assert segments[0].text.count("ok") == 401
