"""What the model reads: prompts with variables, chat templates, and texts that stay texts."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.execution.job import Message, Text
from engine.prompting import guards, rendering, sandbox
from engine.serving import wire
from storage import prompts
from storage.prompts import PromptVersion, Variable

STRICT = sandbox.Sandbox(strict=True)
LOOSE = sandbox.Sandbox(strict=False)
TOKENS = ("<|im_start|>", "<|im_end|>", "<s>", "</s>")


def prompt(*templates: tuple[str, str], variables: tuple[Variable, ...] = ()) -> rendering.Prompt:
    """Version 3 of terse."""
    version = PromptVersion(
        id=1, prompt="terse", number=3, sha256="", author="", comment="", created_at_us=0,
        messages=tuple(
            prompts.Message(role=role, template=text)  # type: ignore[arg-type]
            for role, text in templates
        ),
        variables=variables,
    )  # fmt: skip
    return rendering.Prompt(version, STRICT)


def template(source: str = "", tokens: tuple[str, ...] = TOKENS) -> rendering.ChatTemplate:
    """The chat template of a worker that says so."""
    hello = wire.Hello(1, "", "", ("CPU",), 64, 4, 100, source, "<s>", "</s>", tokens, (), {})
    return rendering.ChatTemplate(hello, LOOSE)


VARIABLES = (
    Variable(name="tone", required=True),
    Variable(name="limit", type="integer", default="3"),
    Variable(name="share", type="number"),
    Variable(name="loud", type="boolean", default="true"),
)


def test_variables_are_put_in_by_their_types() -> None:
    """Defaults are read as their type; what is not required and not given is empty."""
    one = prompt(
        ("system", "{{ tone }} {{ limit + 1 }}{{ share }}{% if loud %}!{% endif %}\n"),
        variables=VARIABLES,
    )
    assert one.render({"tone": "dry"}) == (Message("system", "dry 4!\n"),)
    given = {"tone": "{{ limit }}", "limit": 7, "share": 0.5, "loud": False}
    assert one.render(given) == (Message("system", "{{ limit }} 80.5\n"),)


@pytest.mark.parametrize(
    ("given_values", "said"),
    [
        ({}, "prompt terse@3 needs the variable 'tone' (string); send it in prompt_variables"),
        ({"tone": "x", "mood": 1}, "has no variable 'mood'; it takes: tone, limit, share, loud"),
        ({"tone": 5}, "variable 'tone' of prompt terse@3 is of type string, not int"),
        ({"tone": "x", "limit": True}, "'limit' of prompt terse@3 is of type integer, not bool"),
        ({"tone": "x", "limit": "3"}, "is of type integer, not str"),
    ],
)
def test_wrong_variables_are_named(given_values: dict[str, Any], said: str) -> None:
    """With the prompt, its version, and what it takes."""
    one = prompt(("system", "{{ tone }}"), variables=VARIABLES)
    with pytest.raises(rendering.BadVariables) as caught:
        one.render(given_values)
    assert said in str(caught.value)


@pytest.mark.parametrize("source", ["one\n{% if %}", "one\n{{ nobody }}", "one\n{{ 1 / 0 }}"])
def test_a_broken_prompt_names_its_line(source: str) -> None:
    """Unreadable or going wrong."""
    with pytest.raises(rendering.BrokenTemplate, match=r"terse@3, message 2 \(user\), line 2: "):
        prompt(("system", "fine"), ("user", source)).render({})


def test_a_prompt_with_a_date_is_rendered_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says the day of the request, not the day of the gateway's start; others are kept."""

    class Days(datetime):
        today_is = 1

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls(2026, 1, cls.today_is, tzinfo=tz)

    monkeypatch.setattr(sandbox, "datetime", Days)
    dated = prompt(("system", "It is {{ strftime_now('%d %B') }}."))
    plain = prompt(("system", "You help."))
    assert dated.render({}) == (Message("system", "It is 01 January."),)
    Days.today_is = 2
    assert dated.render({}) == (Message("system", "It is 02 January."),)
    assert plain.render({}) is plain.render({})


def test_the_prompt_comes_before_the_clients_messages() -> None:
    """A client's leading system text is appended to the prompt's own."""
    own = (Message("system", "Be brief."), Message("user", "q"), Message("assistant", "a"))
    theirs = [Message("system", "In French."), Message("user", "Why?"), Message("system", "Now.")]
    assert rendering.joined(own, theirs) == [
        Message("system", "Be brief.\n\nIn French."),
        *own[1:],
        *theirs[1:],
    ]
    assert rendering.joined(own[1:], theirs) == [theirs[0], *own[1:], *theirs[1:]]
    assert rendering.joined((), theirs) == theirs


def test_a_text_is_continued_after_the_prompt() -> None:
    """With a blank line between; each of several texts gets the prompt."""
    own = (Message("system", "Notes:"),)
    assert rendering.prompted(own, Text(("order 17", "x"))) == Text(
        ("Notes:\n\norder 17", "Notes:\n\nx")
    )


def test_the_ggufs_template_is_used_and_chatml_without_one() -> None:
    """With bos, eos and the generation prompt at hand."""
    turns = [Message("user", "hi")]
    own = "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m['content'] }}{% endfor %}"
    assert template(own).segments(turns) == (wire.Segment("<s>[user] hi", special=True),)
    (segment,) = template().segments(turns)
    assert segment.text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


def test_a_template_that_refuses_is_the_clients_matter() -> None:
    """And one that is broken is not."""
    with pytest.raises(rendering.BadConversation, match="roles must alternate"):
        template("{{ raise_exception('roles must alternate') }}").segments([])
    with pytest.raises(rendering.BrokenTemplate, match="line 2"):
        template("\n{{ 1 / 0 }}").segments([])


FRAGMENTS = st.lists(
    st.sampled_from([*TOKENS, "<|im_", "end|>", "hi", "\U000f0000", "\U000f0001", " ", "<", "|>"])
).map("".join)


@given(st.lists(FRAGMENTS | st.text(), min_size=1, max_size=4))
def test_no_text_of_a_message_is_ever_read_as_control_tokens(texts: list[str]) -> None:
    """The prompt says the same as without the guard, and only the template's tokens are special."""
    turns = [Message("user", text) for text in texts]
    segments = template().segments(turns)
    assert (
        "".join(s.text for s in segments)
        == "".join(f"<|im_start|>user\n{text}<|im_end|>\n" for text in texts)
        + "<|im_start|>assistant\n"
    )
    special = "\0".join(s.text for s in segments if s.special)
    assert special.count("<|im_start|>") == len(texts) + 1
    assert special.count("<|im_end|>") == len(texts)
    assert special.count("<s>") + special.count("</s>") == 0


def test_what_is_too_long_for_a_template_is_the_clients_matter() -> None:
    """A template that takes too long over little is broken; over very much it need not be."""
    slow = template(
        "{% for m in messages %}{% for i in range(99999) %}{{ m.content }}{% endfor %}{% endfor %}"
    )
    with pytest.raises(rendering.BadConversation, match="too long for the model's chat template"):
        slow.segments([Message("user", "x" * 200_000)])
    with pytest.raises(rendering.BrokenTemplate):
        slow.segments([Message("user", "x" * 1000)])
    one = prompt(
        ("system", "{% for i in range(99999) %}{{ tone }}{% endfor %}"), variables=VARIABLES[:1]
    )
    with pytest.raises(rendering.BadVariables, match="too long for prompt terse@3"):
        one.render({"tone": "x" * 200_000})
    with pytest.raises(rendering.BrokenTemplate):
        one.render({"tone": "x" * 1000})


def test_text_without_control_tokens_is_left_in_one_piece() -> None:
    """So that it is tokenised as it would be anywhere."""
    texts, hidden = guards.Guard(TOKENS).hide(["plain", "text < | >"])
    assert (texts, hidden) == (["plain", "text < | >"], {})
    assert guards.Guard(()).hide(["<s>"]) == (["<s>"], {})


def test_a_text_that_holds_every_private_character_is_refused() -> None:
    """Beside a control token nothing is left to hide it behind; that is the client's to mend."""
    crowd = "".join(map(chr, range(0xF0000, 0xFFFFE)))
    assert template().segments([Message("user", crowd)])
    with pytest.raises(rendering.BadConversation, match="private-use"):
        template().segments([Message("user", crowd + "<|im_end|>")])
