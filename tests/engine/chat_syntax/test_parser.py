"""Answers of models into reasoning, content and calls, however they are cut."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.chat_syntax import families
from engine.chat_syntax.parser import Parser
from engine.chat_syntax.syntax import Family
from tests.engine.chat_syntax.answers import TOOLS, parsed

PARIS: Final = '{"city": "Par\\"is <x>", "days": 3}'
BOTH: Final = [
    ("get_weather", {"city": 'Par"is <x>', "days": 3}),
    ("get_time", {"city": "Rome"}),
]

SHOWN: Final = {
    "hermes": "<tools> <tool_call> <think>",
    "qwen-xml": "<tool_call> <function= <parameter= <think>",
    "seed": "<seed:tool_call> <function= <seed:think>",
    "glm": "<tool_call> <arg_key> <think>",
    "mistral": "[TOOL_CALLS] [ARGS] [THINK]",
    "deepseek": "<｜tool▁call▁begin｜> <think>",
    "deepseek-dsml": "｜DSML｜ invoke name= <think>",
    "kimi": "<|tool_calls_section_begin|> <think>",
    "kimi-k3": "<|open|> <|close|> <|sep|>",
    "minimax-m2": "<minimax:tool_call> <think>",
    "minimax-m3": "]<]minimax[>[ <invoke name= <mm:think>",
    "llama": '<|python_tag|> "parameters": dictionary of argument name',
    "functionary-v3.1": "<function= </function> <|python_tag|>",
    "functionary-v3.2": ">>> recipient",
    "gemma": "'<|tool_call>call:' <|channel>thought\\n",
    "lfm": "<|tool_call_start|> <think>",
    "cohere": "<|START_ACTION|> <|START_THINKING|>",
    "apertus": "<|tools_prefix|>",
    "apriel": "<tool_calls>",
    "granite": "<|tool_call|>",
    "solar": "<|tool_call:begin|> <|think|>",
    "minicpm": '<function name=" <param name=" <think>',
    "harmony": "<|channel|> <|message|>",
    "hunyuan": "tool_sep arg_key <think:opensource>",
    "atem": "<atem:function_calls> <think>",
    "nemotron": "<TOOLCALL> <think>",
    "firefunction": "functools[",
    "gigachat": "<|function_call|> <|role_sep|>",
}
"""What a template of each family shows of it."""
FAMILIES: Final = {name: families.of(shown) for name, shown in SHOWN.items()}

TWO_CALLS: Final = {
    "hermes": f"""<tool_call>
{{"name": "get_weather", "arguments": {PARIS}}}
</tool_call>
<tool_call>
{{"arguments": {{"city": "Rome"}}, "name": "get_time"}}
</tool_call>""",
    "qwen-xml": """<tool_call>
<function=get_weather>
<parameter=city>
Par"is <x>
</parameter>
<parameter=days>
3
</parameter>
</function>
</tool_call>
<tool_call>
<function=get_time>
<parameter=city>
Rome
</parameter>
</function>
</tool_call>""",
    "seed": """<seed:tool_call>
<function=get_weather>
<parameter=city>Par"is <x></parameter>
<parameter=days>3</parameter>
</function>
</seed:tool_call>
<seed:tool_call>
<function=get_time>
<parameter=city>Rome</parameter>
</function>
</seed:tool_call>""",
    "glm": """<tool_call>get_weather
<arg_key>city</arg_key>
<arg_value>Par"is <x></arg_value>
<arg_key>days</arg_key>
<arg_value>3</arg_value>
</tool_call><tool_call>get_time<arg_key>city</arg_key><arg_value>Rome</arg_value></tool_call>""",
    "mistral": f'[TOOL_CALLS]get_weather[ARGS]{PARIS}[TOOL_CALLS]get_time[CALL_ID]a1[ARGS]'
               '{"city": "Rome"}',
    "deepseek": f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n"
                f"```json\n{PARIS}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>get_time<｜tool▁sep｜>"
                '{"city": "Rome"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    "deepseek-dsml": """<｜DSML｜function_calls>
<｜DSML｜invoke name="get_weather">
<｜DSML｜parameter name="city" string="true">Par"is <x></｜DSML｜parameter>
<｜DSML｜parameter name="days" string="false">3</｜DSML｜parameter>
</｜DSML｜invoke>
<｜DSML｜invoke name="get_time">
<｜DSML｜parameter name="city" string="true">Rome</｜DSML｜parameter>
</｜DSML｜invoke>
</｜DSML｜function_calls>""",
    "kimi": "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0"
            f"<|tool_call_argument_begin|>{PARIS}<|tool_call_end|><|tool_call_begin|>get_time:1"
            '<|tool_call_argument_begin|>{"city": "Rome"}<|tool_call_end|>'
            "<|tool_calls_section_end|>",
    "kimi-k3": '<|open|>tools<|sep|><|open|>call tool="get_weather" index="1"<|sep|><|open|>'
               'argument key="city" type="string"<|sep|>Par"is <x><|close|>argument<|sep|><|open|>'
               'argument key="days" type="number"<|sep|>3<|close|>argument<|sep|><|close|>call'
               '<|sep|><|open|>call tool="get_time" index="2"<|sep|><|open|>argument key="city" '
               'type="string"<|sep|>Rome<|close|>argument<|sep|><|close|>call<|sep|><|close|>tools'
               "<|sep|>",
    "minimax-m2": """<minimax:tool_call>
<invoke name="get_weather">
<parameter name="city">Par"is <x></parameter>
<parameter name="days">3</parameter>
</invoke>
<invoke name="get_time">
<parameter name="city">Rome</parameter>
</invoke>
</minimax:tool_call>""",
    "minimax-m3": ']<]minimax[>[<tool_call>\n]<]minimax[>[<invoke name="get_weather">'
                  ']<]minimax[>[<city>Par"is <x>]<]minimax[>[</city>]<]minimax[>[<days>3'
                  "]<]minimax[>[</days>]<]minimax[>[</invoke>\n"
                  ']<]minimax[>[<invoke name="get_time">'
                  "]<]minimax[>[<city>Rome]<]minimax[>[</city>]<]minimax[>[</invoke>\n"
                  "]<]minimax[>[</tool_call>",
    "llama": f'{{"name": "get_weather", "parameters": {PARIS}}}; '
             '{"type": "function", "function": {"name": "get_time", "parameters": '
             '{"city": "Rome"}}}',
    "functionary-v3.1": f'<function=get_weather>{PARIS}</function><function=get_time>'
                        '{"city": "Rome"}</function>',
    "functionary-v3.2": f'>>>get_weather\n{PARIS}>>>get_time\n{{"city": "Rome"}}',
    "gemma": '<|tool_call>call:get_weather{city:<|"|>Par"is <x><|"|>,days:3}<tool_call|>'
             '<|tool_call>call:get_time{city:<|"|>Rome<|"|>}<tool_call|>',
    "lfm": "<|tool_call_start|>[get_weather(city='Par\"is <x>', days=3), get_time(city='Rome')]"
           "<|tool_call_end|>",
    "cohere": f"""<|START_ACTION|>[
    {{"tool_call_id": "0", "tool_name": "get_weather", "parameters": {PARIS}}},
    {{"tool_call_id": "1", "tool_name": "get_time", "parameters": {{"city": "Rome"}}}}
]<|END_ACTION|>""",
    "apertus": f'<|tools_prefix|>[{{"get_weather": {PARIS}}}, {{"get_time": {{"city": "Rome"}}}}]'
               "<|tools_suffix|>",
    "apriel": f'<tool_calls>[{{"name": "get_weather", "arguments": {PARIS}, "id": "1"}}, '
              '{"name": "get_time", "arguments": {"city": "Rome"}, "id": "2"}]</tool_calls>',
    "granite": f'<|tool_call|>[{{"name": "get_weather", "arguments": {PARIS}}}, '
               '{"name": "get_time", "arguments": "{\\"city\\": \\"Rome\\"}"}]',
    "solar": f"<|tool_call:begin|>c1<|tool_call:name|>get_weather<|tool_call:args|>{PARIS}"
             "<|tool_call:end|><|tool_call:begin|>c2<|tool_call:name|>get_time<|tool_call:args|>"
             '{"city": "Rome"}<|tool_call:end|><|calls|>',
    "minicpm": '<function name="get_weather"><param name="city"><![CDATA[Par"is <x>]]></param>'
               '<param name="days">3</param></function>\n<function name="get_time">'
               '<param name="city">Rome</param></function>',
    "harmony": "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
               f"{PARIS}<|call|><|start|>assistant to=functions.get_time<|channel|>commentary json"
               '<|message|>{"city": "Rome"}<|call|>',
    "hunyuan": """<tool_calls:opensource>
<tool_call:opensource>get_weather<tool_sep:opensource>
<arg_key:opensource>city</arg_key:opensource>
<arg_value:opensource>Par"is <x></arg_value:opensource>
<arg_key:opensource>days</arg_key:opensource>
<arg_value:opensource>3</arg_value:opensource>
</tool_call:opensource>
<tool_call:opensource>get_time<tool_sep:opensource>
<arg_key:opensource>city</arg_key:opensource>
<arg_value:opensource>Rome</arg_value:opensource>
</tool_call:opensource>
</tool_calls:opensource>""",
    "atem": """<atem:function_calls>
<atem:invoke name="get_weather">
<atem:parameter name="city">Par"is <x></atem:parameter>
<atem:parameter name="days">3</atem:parameter>
</atem:invoke>
<atem:invoke name="get_time">
<atem:parameter name="city">Rome</atem:parameter>
</atem:invoke>
</atem:function_calls>""",
    "nemotron": f'<TOOLCALL>[{{"name": "get_weather", "arguments": {PARIS}}}, '
                '{"name": "get_time", "arguments": {"city": "Rome"}}]</TOOLCALL>',
    "firefunction": f'functools[{{"name": "get_weather", "arguments": {PARIS}}}, '
                    '{"name": "get_time", "arguments": {"city": "Rome"}}]',
    "gigachat": f'<|function_call|>{{"name": "get_weather", "arguments": {PARIS}}}'
                '<|function_call|>{"name": "get_time", "arguments": {"city": "Rome"}}',
}  # fmt: skip
"""The same two calls as a model of each family writes them."""


def opening(family: Family) -> tuple[str, str]:
    """The marks of its reasoning, empty without."""
    marks = family.reasoning
    if family.channels:
        return "<|channel|>analysis<|message|>", "<|end|><|start|>assistant"
    return ("", "") if marks is None else (marks.opening, marks.closing)


@pytest.mark.parametrize("name", SHOWN)
def test_a_family_is_known_by_what_its_templates_show(name: str) -> None:
    """And its calls are read, the arguments as they are written."""
    assert FAMILIES[name].name == name
    said = parsed(FAMILIES[name], [TWO_CALLS[name]])
    assert said.made == BOTH
    assert said.content == ""


@pytest.mark.parametrize("name", SHOWN)
def test_reasoning_and_content_come_apart_from_the_calls(name: str) -> None:
    """White space between them is neither's."""
    before, after = opening(FAMILIES[name])
    text = f"{before}Look it up.{after}" if before else ""
    if name == "harmony":
        text += "<|channel|>final<|message|>I will.<|end|><|start|>assistant"
    elif name == "functionary-v3.2":
        text += ">>>all\nI will."
    elif name != "llama":
        text += "\n\nI will.\n\n" if before else "I will.\n\n"
    said = parsed(FAMILIES[name], [text + TWO_CALLS[name]])
    assert said.made == BOTH
    assert said.reasoning == ("Look it up." if before else "")
    assert said.content == ("" if name == "llama" else "I will.")


@pytest.mark.parametrize("name", SHOWN)
def test_every_cut_after_a_calls_name_leaves_the_beginning_of_its_arguments(name: str) -> None:
    """An answer that max_tokens cut: never a mark in the content, never arguments beyond its own.

    Before the name there is no call yet, and half a mark is no content.
    """
    whole = parsed(FAMILIES[name], [TWO_CALLS[name]])
    for end in range(len(TWO_CALLS[name])):
        said = parsed(FAMILIES[name], [TWO_CALLS[name][:end]], cut=True)
        for (name_, arguments), (full, complete) in zip(said.calls, whole.calls, strict=False):
            assert name_ == full
            assert complete.startswith(arguments) or name == "lfm"


FRAGMENTS: Final = [
    '{"name": "get_time", "arguments": {"city": "Rome"}}', '{"name": "other", "arguments": {}}',
    '{"city": "Rome"}', "get_time", "\n", " ", "<", "[", "{", "}", '"', "\\", "}}", "é€", "text",
    "</think>", "<think>", "```json", ">>>", "all", "functions.", ":0", "]", ",", "()",
]  # fmt: skip


@st.composite
def texts(draw: st.DrawFn) -> tuple[str, str]:
    """A family and an answer made of its own marks, of calls, and of anything."""
    name = draw(st.sampled_from(sorted(SHOWN)))
    family = FAMILIES[name]
    marks = [*family.marks(calling=True), *opening(family)]
    parts = st.one_of(
        st.sampled_from([mark for mark in marks if mark] or ["<"]),
        st.sampled_from(FRAGMENTS),
        st.text(max_size=5),
        st.just(TWO_CALLS[name]),
    )
    return name, "".join(draw(st.lists(parts, max_size=12)))


@given(texts(), st.data(), st.booleans())
def test_how_an_answer_is_cut_changes_nothing(
    answer: tuple[str, str], data: st.DataObject, cut: bool
) -> None:
    """Into tokens of any length, whatever it says."""
    name, text = answer
    places = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in pairwise([0, *places, len(text)])]
    whole = parsed(FAMILIES[name], [text], cut=cut)
    assert parsed(FAMILIES[name], pieces, cut=cut) == whole
    assert parsed(FAMILIES[name], text, cut=cut) == whole


@pytest.mark.parametrize(
    "text",
    [
        "Write <tool_call> before a call.",
        "<tool_call>\nnot JSON\n</tool_call>",
        '<tool_call>{"name": "unknown", "arguments": {}}</tool_call>',
        '<tool_call>{"name": "get_time", "arguments": 5}</tool_call>',
        '<tool_call>{"title": "get_time", "arguments": {}}</tool_call>',
        '<tool_call>{"name": "get_time"',
        "a < b and [c] and {d}",
        "<tool_",
        "  two spaces  ",
    ],
)
def test_what_only_resembles_a_call_is_content(text: str) -> None:
    """Unchanged, with its white space."""
    assert parsed(FAMILIES["hermes"], text) == (text, "", [])


def test_a_call_without_arguments_has_an_empty_object() -> None:
    """In JSON and in tags."""
    for name, text in (
        ("hermes", '<tool_call>{"name": "get_time"}</tool_call>'),
        ("hermes", '<tool_call>{"name": "get_time", "arguments": null}</tool_call>'),
        ("glm", "<tool_call>get_time</tool_call>"),
        ("qwen-xml", "<function=get_time>\n</function>"),
        ("lfm", "<|tool_call_start|>[get_time()]<|tool_call_end|>"),
    ):
        assert parsed(FAMILIES[name], text).calls == [("get_time", "{}")], text


def test_values_of_a_python_call_become_json_or_there_is_no_call() -> None:
    """Objects may hold JSON's words; a set, an endless number or a nameless argument is no JSON."""
    for value, text in (
        ("{'a': true, \"b\": [null, False]}", '{"a": true, "b": [null, false]}'),
        ("(1, -2.5)", "[1, -2.5]"),
        ("'é'", '"é"'),
        ("'\\ud83d'", '"\\ud83d"'),
    ):
        answer = f"<|tool_call_start|>[get_time(city={value})]<|tool_call_end|>"
        assert parsed(FAMILIES["lfm"], answer).calls == [("get_time", f'{{"city": {text}}}')]
    for bad in ("city={1}", "city=1e999", "city=b'a'", "city=now", "'Rome'", "**{'city': 'Rome'}"):
        answer = f"<|tool_call_start|>[get_time({bad})]<|tool_call_end|>"
        assert parsed(FAMILIES["lfm"], answer) == (answer, "", [])


def test_a_json_answer_of_a_model_that_needs_no_mark_is_content() -> None:
    """Llama 3 writes calls as bare objects; another object is passed on as it comes."""
    text = '{"result": {"name": "get_time"}}'
    assert parsed(FAMILIES["llama"], text) == (text, "", [])
    assert parsed(FAMILIES["llama"], ['{"res', 'ult": 1']).content == '{"result": 1'


def test_arguments_arrive_before_the_call_is_complete() -> None:
    """Long ones are streamed: a file that a model writes takes minutes."""
    for name, start in (
        ("hermes", '<tool_call>{"name": "get_time", "arguments": {"city": "Ro'),
        ("qwen-xml", "<function=get_time>\n<parameter=city>\nRo"),
        ("gemma", '<|tool_call>call:get_time{city:<|"|>Ro'),
    ):
        gained = Parser(FAMILIES[name], TOOLS).feed(start)
        assert [part.name for part in gained.calls] == ["get_time"]
        assert gained.calls[0].arguments == '{"city": "Ro'


def test_a_value_is_text_where_the_schema_says_so() -> None:
    """A house number is no integer if the tool wants text; without a schema JSON is JSON."""
    tools: dict[str, Any] = {"f": {"properties": {"a": {"type": "string"}, "b": {"enum": ["1"]}}}}
    text = "".join(f"<parameter={key}>\n1\n</parameter>" for key in "abc")
    said = parsed(FAMILIES["qwen-xml"], f"<function=f>{text}</function>", tools=tools)
    assert said.made == [("f", {"a": "1", "b": "1", "c": 1})]
    code = 'if a < b:\n    print("</div>")\n'
    said = parsed(
        FAMILIES["qwen-xml"], f"<function=f><parameter=a>\n{code}\n</parameter></function>",
        tools=tools,
    )  # fmt: skip
    assert said.made == [("f", {"a": code})]


def test_an_end_within_a_string_of_json_is_part_of_the_value() -> None:
    """If another one follows; else the value was no JSON, and ends there."""
    for value in ('["x</parameter>", 1]', '{"a\\\\": "\\"</parameter>"}', '"</parameter>"'):
        text = f"<function=get_time><parameter=at>{value}</parameter></function>"
        assert parsed(FAMILIES["qwen-xml"], text).calls == [("get_time", f'{{"at": {value}}}')]
    text = '<function=get_time><parameter=at>["x</parameter><parameter=b>1</parameter></function>'
    assert parsed(FAMILIES["qwen-xml"], text).made == [("get_time", {"at": '["x', "b": 1})]


def test_reasoning_goes_on_where_the_prompt_opened_it() -> None:
    """Some templates end the prompt with the mark, and some models repeat it."""
    for text in ("Look.\n</think>\n\nDone.", "<think>\nLook.\n</think>Done."):
        said = parsed(FAMILIES["hermes"], text, prompt="<|im_start|>assistant\n<think>\n")
        assert said == ("Done.", "Look.", [])
    closed = parsed(FAMILIES["hermes"], "Done.", prompt="<think>\n\n</think>\n\n")
    assert closed == ("Done.", "", [])
    assert parsed(FAMILIES["hermes"], "</think>\n\nDone.") == ("Done.", "", [])
    assert parsed(FAMILIES["hermes"], "Is <think> a tag?").content == "Is <think> a tag?"


def test_one_call_is_made_where_the_client_wants_no_more() -> None:
    """What the model writes after it is dropped."""
    for name in ("hermes", "glm", "mistral", "harmony", "lfm"):
        said = parsed(FAMILIES[name], [TWO_CALLS[name]], one=True)
        assert said.made == BOTH[:1], name
        assert said.content == "", name


def test_without_tools_marks_of_calls_are_content() -> None:
    """Only reasoning is taken apart."""
    text = '<think>Hm.</think><tool_call>{"name": "get_time", "arguments": {}}</tool_call>'
    said = parsed(FAMILIES["hermes"], text, tools={})
    assert (said.reasoning, said.content) == ("Hm.", text.partition("</think>")[2])
