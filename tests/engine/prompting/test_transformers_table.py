"""All templates of llama.cpp's collection, rendered as transformers itself renders them.

With and without tools, a system message, earlier calls, and thinking on and off. The table was
made by transformers; the templates come with the source of llama-cpp-python.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from engine.execution.job import Call, Chat, Message, Tool
from engine.prompting import chat_template
from engine.prompting.chat_template import ChatTemplate
from engine.prompting.renderer.pool import Renderer
from engine.prompting.renderer.protocol import ChatSource
from tests.bench import peers
from tests.engine.prompting import transformers_table

SOURCES: Final = sorted(
    peers.cache().glob("source/llama_cpp_python-*/vendor/llama.cpp/models/templates/*.jinja")
)
EXPECTED: Final[dict[str, dict[str, str | None]]] = json.loads(transformers_table.TABLE.read_text())

TOLD: Final = frozenset(
    (
        "CohereForAI-c4ai-command-r-plus-tool_use",
        "HuggingFaceTB-SmolLM3-3B",
        "deepseek-ai-DeepSeek-R1-Distill-Llama-8B",
        "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B",
        "deepseek-ai-DeepSeek-V3.1",
        "fireworks-ai-llama-3-firefunction-v2",
        "google-gemma-2-2b-it",
        "llama-cpp-deepseek-r1",
        "llama-cpp-rwkv-world",
        "microsoft-Phi-3.5-mini-instruct",
    )
)
"""Templates that show no tools, or in a form whose calls could not be read: a system text does."""
WRITTEN: Final = {
    "LFM2-8B-A1B": '<|tool_call_start|>[disks(host="db-1")]<|tool_call_end|><|im_end|>\n'
    "<|im_start|>tool\n<|tool_response_start|>sdb<|tool_response_end|><|im_end|>\n",
    "LFM2.5-Instruct": '<|tool_call_start|>[disks(host="db-1")]<|tool_call_end|><|im_end|>\n'
    "<|im_start|>tool\nsdb<|im_end|>\n",
    "ibm-granite-granite-3.3-2B-Instruct": '<|tool_call|>[{"name": "disks", "arguments": '
    '{"host": "db-1"}}]<|end_of_text|>\n<|start_of_role|>tool<|end_of_role|>sdb<|end_of_text|>\n',
}
"""Templates that drop an assistant's calls: they are written into its content."""

if not SOURCES:
    pytest.skip("the source of llama-cpp-python is not here", allow_module_level=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def renderer() -> AsyncIterator[Renderer]:
    """One process for all."""
    async with Renderer(processes=1) as made:
        yield made


def message(turn: dict[str, Any]) -> Message:
    """A turn in a job's terms."""
    calls = tuple(
        Call(call["id"], call["function"]["name"], json.dumps(call["function"]["arguments"]))
        for call in turn.get("tool_calls", ())
    )
    return Message(
        turn["role"], turn["content"], calls=calls,
        call_id=turn.get("tool_call_id", ""), name=turn.get("name", ""),
    )  # fmt: skip


def tool() -> Tool:
    """The tool in a job's terms."""
    function = transformers_table.TOOL["function"]
    return Tool(function["name"], function["description"], function["parameters"])


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
async def test_a_prompt_is_what_transformers_makes_of_it(path: Path, renderer: Renderer) -> None:
    """But for calls that a template would drop, and tools that it does not show."""
    source = ChatSource(path.read_text(), (), transformers_table.BOS, transformers_table.EOS)
    template = ChatTemplate(source, renderer)
    await template.prepare()
    assert template.shows_tools == (path.stem not in TOLD)
    wrong = {}
    for name, turns, tools, arguments in transformers_table.cases():
        expected = EXPECTED[path.stem][name]
        if path.stem in WRITTEN and "call" in name:
            expected = ""
        if expected is None or (tools and path.stem in TOLD):
            continue
        chat = Chat(
            tuple(map(message, turns)),
            tools=(tool(),) if tools else (),
            template_arguments=arguments,
        )
        try:
            segments = await template.segments(chat)
        except (chat_template.BadConversation, chat_template.BrokenTemplate) as error:
            wrong[name] = str(error)
            continue
        text = "".join(segment.text for segment in segments)
        shown = transformers_table.digest(text) == expected
        if not (shown or (expected == "" and WRITTEN[path.stem] in text)):
            wrong[name] = text
    assert wrong == {}
