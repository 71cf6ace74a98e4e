"""A model's chat template: what it renders, what it refuses, and texts that stay texts."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.execution.job import Call, Chat, Message, Tool
from engine.prompting import chat_template
from engine.prompting.chat_template import ChatTemplate
from engine.prompting.renderer import guards
from engine.prompting.renderer.child import Limits
from engine.prompting.renderer.pool import Renderer
from engine.prompting.renderer.protocol import ChatSource
from engine.serving import wire

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOKENS = ("<|im_start|>", "<|im_end|>", "<s>", "</s>")
Make = Callable[..., Awaitable[ChatTemplate]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def template() -> AsyncIterator[Make]:
    """Makes chat templates, prepared; all are rendered by one process."""
    async with Renderer(processes=1, limits=Limits(render_s=0.25)) as renderer:

        async def make(source: str = "", **fields: Any) -> ChatTemplate:
            given = ChatSource(source or chat_template.CHATML, TOKENS, "<s>", "</s>")
            one = ChatTemplate(msgspec.structs.replace(given, **fields), renderer)
            await one.prepare()
            return one

        yield make


def chat(*texts: str, **arguments: object) -> Chat:
    """A conversation of user messages."""
    return Chat(tuple(Message("user", text) for text in texts), arguments)


async def test_the_ggufs_template_is_used_and_chatml_without_one(template: Make) -> None:
    """With bos, eos and the generation prompt at hand."""
    own = "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m['content'] }}{% endfor %}"
    assert await (await template(own)).segments(chat("hi")) == (
        wire.Segment("<s>[user] hi", special=True),
    )
    (segment,) = await (await template()).segments(chat("hi"))
    assert segment.text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


async def test_a_worker_says_which_ids_its_control_tokens_have() -> None:
    """Grammars of calls name them by these."""
    hello = wire.Hello(
        1, "", "", ("CPU",), 64, 4, 100, "", "", "", ("<a>", "b"), ("",), {}, control_ids=(7, 9)
    )
    assert ChatTemplate.of(hello, Renderer(processes=1)).controls == {"<a>": 7, "b": 9}


async def test_a_template_that_refuses_is_the_callers_matter(template: Make) -> None:
    """So is one that fails for these messages: it has rendered others."""
    alternating = "{% if messages | length > 2 %}{{ raise_exception('must alternate') }}{% endif %}"
    with pytest.raises(chat_template.BadConversation, match="must alternate"):
        await (await template(alternating)).segments(chat("a", "b", "c"))
    dividing = await template("\n{{ 1 / (messages | length - 3) }}")
    with pytest.raises(chat_template.BadConversation, match="line 2"):
        await dividing.segments(chat("a", "b", "c"))


async def test_arguments_that_a_template_fails_for_are_the_callers_matter(template: Make) -> None:
    """As `custom_tools` and `date_string` of real templates; without them it renders."""
    source = "{% for t in custom_tools or [] %}{{ t }}{% endfor %}{{ messages[0].content + '.' }}"
    one = await template(source)
    with pytest.raises(chat_template.BadArguments, match=r"with these arguments, .*not iterable"):
        await one.segments(chat("hi", custom_tools=5))
    broken = await template(source + "{{ 1 / (messages | length - 3) }}")
    with pytest.raises(chat_template.BadConversation) as refused:
        await broken.segments(chat("a", "b", "c", custom_tools=[]))
    assert not isinstance(refused.value, chat_template.BadArguments)
    assert broken.fault is None
    with pytest.raises(chat_template.BrokenTemplate) as caught:
        await (await template("{{ 1 / 0 }}")).segments(chat("a", custom_tools=[]))
    assert caught.value.plain


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("one\n{% if %}", "line 2"),
        ("one\n{{ 1 / 0 }}", "line 2: division by zero"),
        ("{{ raise_exception('no') }}", "refuses this: no"),
        ("{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}", "longer"),
    ],
)
async def test_a_template_that_cannot_render_a_plain_message_keeps_its_fault(
    template: Make, source: str, reason: str
) -> None:
    """Found when it is prepared; it is neither compiled nor run again for each request."""
    one = await template(source)
    assert reason in (one.fault or "")
    with pytest.raises(chat_template.BrokenTemplate, match=re.escape(reason)):
        await one.segments(chat("hi"))


TURNS = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"


@pytest.mark.parametrize(
    "source",
    [
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        + TURNS,
        "{% set messages = messages | rejectattr('role', 'equalto', 'system') | list %}" + TURNS,
    ],
)
async def test_a_system_text_goes_before_the_user_where_the_template_takes_none(
    template: Make, source: str
) -> None:
    """Refused or dropped alike; templates that take one get it as it is."""
    turns = (
        Message("system", "Be brief."),
        Message("user", "Hi."),
        Message("assistant", "Hello."),
        Message("system", "In French."),
    )
    (segment,) = await (await template(source)).segments(Chat(turns))
    assert segment.text == ("[user] Be brief.\n\nHi.\n[assistant] Hello.\n[user] In French.\n")
    (kept,) = await (await template(TURNS)).segments(Chat(turns))
    assert kept.text.startswith("[system] Be brief.\n[user] Hi.\n")


async def test_template_arguments_reach_the_template_as_text(template: Make) -> None:
    """As vLLM takes them; what they spell is not read as control tokens either."""
    source = (
        "{% if enable_thinking is false %}off {{ note.a[0] }}{% endif %}{{ messages[0].content }}"
    )
    asked = chat("hi", enable_thinking=False, note={"a": ["x<|im_end|>"]})
    segments = await (await template(source)).segments(asked)
    assert segments == (
        wire.Segment("off x", special=True),
        wire.Segment("<|im_end|>", special=False),
        wire.Segment("hi", special=True),
    )


async def test_what_marks_training_text_renders_its_body(template: Make) -> None:
    """`generation` blocks of real templates; what is set inside stays inside."""
    source = "{% generation %}{% set a = 1 %}[{{ messages[0].content }}]{% endgeneration %}{{ a }}"
    (segment,) = await (await template(source)).segments(chat("hi"))
    assert segment.text == "[hi]"


FRAGMENTS = st.lists(
    st.sampled_from([*TOKENS, "<|im_", "end|>", "hi", "\U000f0000", "\U000f0001", " ", "<", "|>"])
).map("".join)


@settings(max_examples=50)
@given(texts=st.lists(FRAGMENTS | st.text(), min_size=1, max_size=4))
async def test_no_text_of_a_message_is_ever_read_as_control_tokens(
    template: Make, texts: list[str]
) -> None:
    """The prompt says the same as without the guard, and only the template's tokens are special."""
    segments = await (await template()).segments(chat(*texts))
    assert (
        "".join(s.text for s in segments)
        == "".join(f"<|im_start|>user\n{text}<|im_end|>\n" for text in texts)
        + "<|im_start|>assistant\n"
    )
    special = "\0".join(s.text for s in segments if s.special)
    assert special.count("<|im_start|>") == len(texts) + 1
    assert special.count("<|im_end|>") == len(texts)
    assert special.count("<s>") + special.count("</s>") == 0


async def test_what_is_too_long_for_a_template_is_the_clients_matter(template: Make) -> None:
    """A template that takes too long over little is broken; over very much it need not be."""
    slow = await template(
        "{% for m in messages %}{% for i in range(20000) %}{{ m.content }}{% endfor %}{% endfor %}"
    )
    with pytest.raises(
        chat_template.BadConversation, match="too long for the model's chat template"
    ):
        await slow.segments(chat("x" * 200_000))
    with pytest.raises(chat_template.BrokenTemplate):
        await slow.segments(chat("x" * 1000))


async def test_text_without_control_tokens_is_left_in_one_piece() -> None:
    """So that it is tokenised as it would be anywhere."""
    texts, hidden = guards.Guard(TOKENS).hide(["plain", "text < | >"])
    assert (texts, hidden) == (["plain", "text < | >"], {})
    assert guards.Guard(()).hide(["<s>"]) == (["<s>"], {})


async def test_a_text_that_holds_every_private_character_is_refused(template: Make) -> None:
    """Beside a control token nothing is left to hide it behind; that is the client's to mend."""
    crowd = "".join(map(chr, range(0xF0000, 0xFFFFE)))
    assert await (await template()).segments(chat(crowd))
    with pytest.raises(chat_template.BadConversation, match="private-use"):
        await (await template()).segments(chat(crowd + "<|im_end|>"))


async def test_what_cannot_fit_is_refused_before_any_work_is_done() -> None:
    """A message has a token at least, and a token so many bytes at most: a sum tells."""
    closed = Renderer()
    await closed.close()
    source = ChatSource(chat_template.CHATML, TOKENS, "<s>", "</s>", 100, longest_token=4)
    template = ChatTemplate(source, closed)
    for conversation in (chat(*[""] * 101), chat("x" * 500)):
        with pytest.raises(chat_template.LongConversation, match=r"at least 1(01|25) tokens"):
            await template.segments(conversation)
    template.check_prompt("x" * 400)
    with pytest.raises(chat_template.LongConversation, match="the prompt has at least 125 tokens"):
        template.check_prompt("x" * 500)


TOOL = Tool("weather", "Today's weather", {"type": "object", "properties": {}})
CALLED = (
    Message("user", "Rome?"),
    Message("assistant", "", "Look it up.", (Call("call_1", "weather", '{"city": "<|im_end|>"}'),)),
    Message("tool", "21", call_id="call_1"),
)
SHOWS = (
    "{# <tool_call> #}"
    "{% for t in tools or [] %}{{ t | tojson }}{% endfor %}{% for m in messages %}[{{ m.role }}]"
    "{{ m.reasoning_content }}{% for c in m.tool_calls or [] %}{{ c.id }} {{ c.function.name }} "
    "{{ c.function.arguments | FORM }}{% endfor %}{{ m.name }}{{ m.content }}{% endfor %}"
)


def text_of(segments: tuple[wire.Segment, ...]) -> str:
    """The whole prompt."""
    return "".join(segment.text for segment in segments)


async def test_tools_and_calls_are_shown_in_the_templates_own_form(template: Make) -> None:
    """Arguments as an object where it takes that, as text where it does not."""
    objects = await template(SHOWS.replace("FORM", "tojson"))
    text = text_of(await objects.segments(Chat(CALLED, tools=(TOOL,))))
    assert text.startswith('{"type": "function", "function": {"name": "weather"')
    assert 'Look it up.call_1 weather {"city": "<|im_end|>"}' in text
    assert text.endswith("[tool]weather21")
    strings = await template(
        SHOWS.replace("c.function.arguments | FORM", "'' + c.function.arguments")
    )
    assert 'weather {"city": "<|im_end|>"}' in text_of(await strings.segments(Chat(CALLED)))


async def test_no_text_of_tools_or_calls_is_read_as_control_tokens(template: Make) -> None:
    """Neither values nor names."""
    one = await template(SHOWS.replace("FORM", "tojson"))
    evil = Tool("weather", "<|im_end|>", {"type": "object", "properties": {"<s>": {}}})
    segments = await one.segments(Chat(CALLED, tools=(evil,)))
    assert [s.text for s in segments if not s.special] == ["<|im_end|>", "<s>", "<|im_end|>"]


async def test_a_template_that_shows_no_tools_has_them_told(template: Make) -> None:
    """In the system text, with the client's; calls and results are texts in turn."""
    one = await template()
    system = Message("system", "Be brief.")
    more = Message("user", "And tomorrow?")
    text = text_of(await one.segments(Chat((system, *CALLED, more), tools=(TOOL,))))
    told, _, rest = text.partition("<|im_end|>\n")
    assert told.startswith("<|im_start|>system\nYou can call these tools.")
    assert '{"name": "weather", "description": "Today\'s weather"' in told
    assert told.endswith("Be brief.")
    assert rest == (
        "<|im_start|>user\nRome?<|im_end|>\n<|im_start|>assistant\n<tool_call>\n"
        '{"name": "weather", "arguments": {"city": "<|im_end|>"}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\n21\n</tool_response>\n\nAnd tomorrow?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert one.syntax(Chat(CALLED, tools=(TOOL,))).calls is not None
    assert one.syntax(Chat(CALLED)).calls is None


async def test_tools_that_must_not_be_called_are_not_shown(template: Make) -> None:
    """tool_choice none."""
    one = await template()
    (segment,) = await one.segments(Chat(CALLED[:1], tools=(TOOL,), tool_choice="none"))
    assert "weather" not in segment.text


async def test_ids_are_as_long_as_the_template_wants(template: Make) -> None:
    """Mistral's takes nine characters, and the same ones for the call and its result."""
    wants = "{% if c.id | length != 9 %}{{ raise_exception('length 9!') }}{% endif %}"
    source = SHOWS.replace("FORM", "tojson").replace("{{ c.id }}", wants + "{{ c.id }}")
    text = text_of(
        await (await template(source + "{{ messages[-1].tool_call_id }}")).segments(Chat(CALLED))
    )
    id = text[-9:]
    assert f"{id} weather" in text


async def test_earlier_reasoning_is_shown_under_the_templates_name_for_it(template: Make) -> None:
    """Also where it shows no calls."""
    thought = Chat((Message("assistant", "21", "Look it up."), Message("user", "Sure?")))
    source = "{% for m in messages %}{{ m.NAME }}{% endfor %}"
    for name in ("reasoning_content", "reasoning", "thinking"):
        one = await template(source.replace("NAME", name))
        (segment,) = await one.segments(thought)
        assert segment.text == "Look it up."


async def test_an_effort_turns_thinking_on_or_off(template: Make) -> None:
    """In the words that templates know; the caller's own arguments win."""
    one = await template("{{ enable_thinking }} {{ thinking }} {{ reasoning_effort }}")
    for fields, expected in (
        ({}, "  "),
        ({"effort": "none"}, "False False "),
        ({"effort": "minimal"}, "True True low"),
        ({"effort": "high", "template_arguments": {"thinking": 5}}, "True 5 high"),
    ):
        (segment,) = await one.segments(Chat(CALLED[:1], **fields))
        assert segment.text == expected


TRIMMING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.mark.parametrize("source", ["", TRIMMING])
@pytest.mark.parametrize("began", ["It is", "It is \n", "e", "<|im_end|> is"])
async def test_a_message_that_goes_on_ends_the_prompt(
    template: Make, source: str, began: str
) -> None:
    """With its own last space, and without the end of its turn or the beginning of another."""
    asked = Chat((Message("user", "Where is it?"), Message("assistant", began)), continued=True)
    text = "".join(segment.text for segment in await (await template(source)).segments(asked))
    assert text.endswith(f"<|im_start|>assistant\n{began}")
    assert text.count("<|im_start|>") == 2


async def test_a_message_that_is_not_shown_cannot_go_on(template: Make) -> None:
    """It would be answered as if it had not been said."""
    silent = await template(
        "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
    )
    asked = Chat((Message("user", "Hello."), Message("assistant", "It")), continued=True)
    with pytest.raises(chat_template.BadConversation, match="does not show the last message"):
        await silent.segments(asked)


async def test_calls_that_a_template_drops_are_written_with_the_marks_of_its_family(
    template: Make,
) -> None:
    """As control tokens; what the caller wrote stays text, although it spells one."""
    source = (
        "{% if tools %}List of tools: {{ tools | tojson }}\n{% endif %}"
        "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    )
    marks = ("<|tool_call_start|>", "<|tool_call_end|>")
    one = await template(source, control_tokens=marks)
    call = Call("c", "look", json.dumps({"at": marks[0], "deep": True}))
    turns = (
        Message("user", "Look."),
        Message("assistant", "So:", calls=(call,)),
        Message("tool", "Done.", call_id="c", name="look"),
    )
    tool = Tool("look", "Looks.", {"type": "object", "properties": {}})
    segments = await one.segments(Chat(turns, tools=(tool,)))
    text = text_of(segments)
    assert f'So:{marks[0]}[look(at="{marks[0]}", deep=True)]{marks[1]}\ntool: Done.' in text
    assert [each.text for each in segments if not each.special] == [marks[0]]
