"""The table of families: what a chat template's text shows of how its model writes.

A template holds the marks that its model was trained to write, so that no list of models is
needed. Rows are tried in order, the more specific first; a test reads back what each real template
writes. Imported by the backends and by `engine.prompting`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from engine.chat_syntax import harmony
from engine.chat_syntax.gemma_calls import GemmaCalls
from engine.chat_syntax.headed_calls import HeadedCalls
from engine.chat_syntax.json_calls import JsonCalls
from engine.chat_syntax.python_calls import PythonCalls
from engine.chat_syntax.syntax import Calls, Family, Reasoning
from engine.chat_syntax.tagged_calls import TaggedCalls

_NAME: Final = r"(?P<name>[\w.-]+)"


def _head(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.replace("NAME", _NAME), re.DOTALL)


PLAIN: Final = Family("plain")
"""For texts without a template."""
DESCRIBED: Final = Family("described", JsonCalls(("<tool_call>",), "</tool_call>"))
"""For templates that know no tools: `described` says in the system text how a call is written."""

_QWEN_XML: Final = TaggedCalls(
    call="<function=", call_end=">", item="<parameter=", item_end=">",
    value_end="</parameter>", close="</function>",
    sections=("<tool_call>",), tails=("</tool_call>",), folded=True,
)  # fmt: skip
_GLM: Final = TaggedCalls(
    call="<tool_call>", call_end="<", item="<arg_key>", item_end="</arg_key>",
    value="<arg_value>", value_end="</arg_value>", close="</tool_call>",
)  # fmt: skip
_HUNYUAN: Final = TaggedCalls(
    call="<tool_call:opensource>", call_end="<tool_sep:opensource>",
    item="<arg_key:opensource>", item_end="</arg_key:opensource>",
    value="<arg_value:opensource>", value_end="</arg_value:opensource>",
    close="</tool_call:opensource>",
    sections=("<tool_calls:opensource>",), tails=("</tool_calls:opensource>",),
)  # fmt: skip
_DSML: Final = TaggedCalls(
    call='<｜DSML｜invoke name="', call_end='">', item='<｜DSML｜parameter name="', item_end=">",
    key=re.compile(r'(?P<key>[^"]*)"(?:\s+string="(?P<text>\w+)")?\s*'),
    typed='{key}" string="{text}"',
    value_end="</｜DSML｜parameter>", close="</｜DSML｜invoke>",
    sections=("<｜DSML｜function_calls>", "<｜DSML｜tool_calls>"),
    tails=("</｜DSML｜function_calls>", "</｜DSML｜tool_calls>"),
)  # fmt: skip
_MINIMAX_M2: Final = TaggedCalls(
    call='<invoke name="', call_end='">', item='<parameter name="', item_end='">',
    value_end="</parameter>", close="</invoke>",
    sections=("<minimax:tool_call>",), tails=("</minimax:tool_call>",),
)  # fmt: skip
_MM: Final = "]<]minimax[>["
_MINIMAX_M3: Final = TaggedCalls(
    call=f'{_MM}<invoke name="', call_end='">', item=f"{_MM}<", item_end=">",
    value_end=f"{_MM}</{{key}}>", close=f"{_MM}</invoke>", key=re.compile(r"(?P<key>[^/<>]+)"),
    sections=(f"{_MM}<tool_call>",), tails=(f"{_MM}</tool_call>",),
)  # fmt: skip
_KIMI_K3: Final = TaggedCalls(
    call='<|open|>call tool="', call_end="<|sep|>", item='<|open|>argument key="',
    item_end="<|sep|>", name=re.compile(r'(?P<name>[^"]+)"[^<]*'),
    key=re.compile(r'(?P<key>[^"]*)"(?:\s+type="(?P<text>\w+)")?\s*'),
    typed='{key}" type="{type}"',
    value_end="<|close|>argument<|sep|>", close="<|close|>call<|sep|>",
    sections=("<|open|>tools<|sep|>",), tails=("<|close|>tools<|sep|>",),
)  # fmt: skip
_MINICPM: Final = TaggedCalls(
    call='<function name="', call_end='">', item='<param name="', item_end='">',
    value_end="</param>", close="</function>",
)  # fmt: skip
_ATEM: Final = TaggedCalls(
    call='<atem:invoke name="', call_end='">', item='<atem:parameter name="', item_end='">',
    value_end="</atem:parameter>", close="</atem:invoke>",
    sections=("<atem:function_calls>",), tails=("</atem:function_calls>",),
)  # fmt: skip
_MISTRAL: Final = HeadedCalls(
    "[TOOL_CALLS]", _head(r"\s*NAME\s*(?:\[CALL_ID\]\w*)?(?:\[ARGS\])?\s*"),
    ends=("[ARGS]",), others=("[ARGS]", "[CALL_ID]"), json=JsonCalls(),
)  # fmt: skip
_KIMI: Final = HeadedCalls(
    "<|tool_call_begin|>",
    re.compile(
        r"\s*(?:functions\.)?(?P<name>[\w.-]+?)(?::\d+)?\s*<\|tool_call_argument_begin\|>\s*"
    ),
    ends=("<|tool_call_argument_begin|>",),
    sections=("<|tool_calls_section_begin|>",),
    tails=("<|tool_call_end|>", "<|tool_calls_section_end|>"),
    others=("<|tool_call_argument_begin|>",),
)
_DEEPSEEK: Final = HeadedCalls(
    "<｜tool▁call▁begin｜>",
    _head(
        r"\s*(?:function<｜tool▁sep｜>|(?!function<｜tool▁sep｜>))NAME(?:<｜tool▁sep｜>)?\s*"
        r"(?:```json)?\s*"
    ),
    ends=("<｜tool▁sep｜>", "```json"),
    sections=("<｜tool▁calls▁begin｜>",),
    tails=("```", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"),
    others=("<｜tool▁sep｜>",),
)
_SOLAR: Final = HeadedCalls(
    "<|tool_call:begin|>",
    _head(r"[^<]*<\|tool_call:name\|>NAME<\|tool_call:args\|>\s*"),
    ends=("<|tool_call:args|>",),
    tails=("<|tool_call:end|>", "<|calls|>"),
    others=("<|tool_call:name|>", "<|tool_call:args|>"),
)
_FUNCTIONARY_31: Final = HeadedCalls(
    "<function=", _head(r"NAME>\s*"), ends=(">",), tails=("</function>",)
)
_FUNCTIONARY_32: Final = HeadedCalls(">>>", _head(r"(?!all\n)NAME\n\s*"), ends=("\n",))

_CALLS: Final[tuple[tuple[str, tuple[str, ...], Calls], ...]] = (
    ("minimax-m3", ("]<]minimax[>[", "<invoke name="), _MINIMAX_M3),
    ("minimax-m2", ("<minimax:tool_call>",), _MINIMAX_M2),
    ("kimi-k3", ("<|open|>", "<|close|>", "<|sep|>"), _KIMI_K3),
    ("kimi", ("<|tool_calls_section_begin|>",), _KIMI),
    ("deepseek-dsml", ("DSML", "invoke name="), _DSML),
    ("deepseek", ("<｜tool▁call▁begin｜>",), _DEEPSEEK),
    ("functionary-v3.2", (">>>", "recipient"), _FUNCTIONARY_32),
    ("functionary-v3.1", ("<function=", "</function>", "<|python_tag|>"), _FUNCTIONARY_31),
    ("gemma", ("'<|tool_call>call:'",), GemmaCalls()),
    ("hunyuan", ("tool_sep", "arg_key"), _HUNYUAN),
    ("seed", ("<seed:tool_call>",),
     replace(_QWEN_XML, sections=("<seed:tool_call>",), tails=("</seed:tool_call>",),
             folded=False)),
    ("qwen-xml", ("<function=", "<parameter="), _QWEN_XML),
    ("glm", ("<arg_key>", "<tool_call>"), _GLM),
    ("minicpm", ('<function name="', '<param name="'), _MINICPM),
    ("atem", ("<atem:function_calls>",), _ATEM),
    ("solar", ("<|tool_call:begin|>",), _SOLAR),
    ("mistral", ("[TOOL_CALLS]",), _MISTRAL),
    ("lfm", ("<|tool_call_start|>",), PythonCalls("<|tool_call_start|>", "<|tool_call_end|>")),
    ("lfm", ("List of tools: ",), PythonCalls("<|tool_call_start|>", "<|tool_call_end|>")),
    ("cohere", ("<|START_ACTION|>",),
     JsonCalls(("<|START_ACTION|>",), "<|END_ACTION|>", name_key="tool_name",
               arguments_key="parameters")),
    ("apertus", ("<|tools_prefix|>",),
     JsonCalls(("<|tools_prefix|>",), "<|tools_suffix|>", keyed=True)),
    ("nemotron", ("<TOOLCALL>",), JsonCalls(("<TOOLCALL>",), "</TOOLCALL>")),
    ("apriel", ("<tool_calls>",), JsonCalls(("<tool_calls>",), "</tool_calls>")),
    ("granite", ("<|tool_call|>",), JsonCalls(("<|tool_call|>",))),
    ("firefunction", ("functools[",), JsonCalls(("functools",))),
    ("gigachat", ("<|function_call|>",), JsonCalls(("<|function_call|>",))),
    ("gigachat", ("function call", "<|role_sep|>"), JsonCalls(("function call<|role_sep|>\n",))),
    ("hermes", ("<tool_call>",), JsonCalls(("<tool_call>",), "</tool_call>")),
    ("llama", ('"parameters": dictionary of argument name',),
     JsonCalls(("<|python_tag|>",), bare=True, arguments_key="parameters")),
)  # fmt: skip

_ANALYSIS: Final = Reasoning(
    "<|channel|>analysis<|message|>",
    "<|end|>",
    "<|end|><|start|>assistant<|channel|>final<|message|>",
)
_REASONING: Final = (
    Reasoning("<seed:think>", "</seed:think>"),
    Reasoning("<mm:think>", "</mm:think>"),
    Reasoning("<think:opensource>", "</think:opensource>"),
    Reasoning("[THINK]", "[/THINK]"),
    Reasoning("<|START_THINKING|>", "<|END_THINKING|>"),
    Reasoning("<|channel>thought\n", "<channel|>"),
    Reasoning("<|open|>think<|sep|>", "<|close|>think<|sep|>"),
    Reasoning("<|inner_prefix|>", "<|inner_suffix|>"),
    Reasoning("<|think|>", "<|end|>"),
    Reasoning("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]"),
    Reasoning("<think>", "</think>"),
)

_NOISE: Final[Mapping[str, tuple[str, ...]]] = {
    "kimi-k3": (
        "<|open|>response<|sep|>", "<|close|>response<|sep|>", "<|close|>message<|sep|>",
    ),
    "cohere": (
        "<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>",
    ),
    "solar": (
        "<|begin|>assistant<|content|>", "<|begin|>assistant<|tool_calls|>",
        "<|begin|>assistant", "<|content|>", "<|tool_calls|>", "<|end|>",
    ),
    "gigachat": ("<|message_sep|>",),
    "functionary-v3.2": (">>>all\n",),
}  # fmt: skip


def of(template: str) -> Family:
    """The family whose marks a chat template holds; without any it has no calls."""
    if "<|channel|>" in template and "<|message|>" in template:
        return Family("harmony", None, _ANALYSIS, harmony.MARKS, channels=True)
    name, calls = "plain", None
    for each, marks, syntax in _CALLS:
        if all(mark in template for mark in marks):
            name, calls = each, syntax
            break
    return Family(
        name,
        calls,
        next((each for each in _REASONING if _shows(template, each)), None),
        _NOISE.get(name, ()),
        ">>>" if name == "functionary-v3.2" else "",
    )


def _shows(template: str, marks: Reasoning) -> bool:
    """Whether a template holds a mark of reasoning; some hold only the one at the end."""
    escaped = marks.opening.replace("\n", "\\n")
    ends = marks.closing.startswith("</") and marks.closing in template
    return ends or marks.opening in template or escaped in template
