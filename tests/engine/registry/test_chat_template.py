"""Chat templates are tried when a model is added: what works, what fails, and what is a bomb."""

from __future__ import annotations

import pytest

from engine.prompting.renderer.child import Limits
from engine.registry import chat_template
from engine.registry.chat_template import Source
from storage.model_checks import Chat, Template

PLAIN = "{% for m in messages %}{{ bos_token + m.role + ': ' + m.content }}{% endfor %}"
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}" + PLAIN
)
ALTERNATING = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{{ m.content }}{% endfor %}"
)
DEAF_TO_SYSTEM = (
    "{% for m in messages if m.role != 'system' %}{{ m.role + ': ' + m.content }}{% endfor %}"
)


@pytest.mark.parametrize(
    ("template", "works", "system", "said"),
    [
        (PLAIN, True, True, ""),
        (NO_SYSTEM, True, False, "System role not supported (line 1)"),
        (ALTERNATING, True, False, "roles must alternate"),
        (DEAF_TO_SYSTEM, True, False, "it leaves out the system message"),
        ("{% for %}", False, False, "Expected an expression"),
        ("{{ messages[0].content }}", False, False, "it leaves out the assistant message"),
        ("{{ messages.upper() }}", False, False, "no attribute 'upper'"),
        ("{{ raise_exception('never') }}", False, False, "never"),
    ],
)
async def test_a_template_is_tried_with_and_without_a_system_message(
    template: str, works: bool, system: bool, said: str
) -> None:
    """The first fault is the reason; a message that is left out is one, too."""
    verdict = await chat_template.check(Source(template, "<s>", "</s>"))
    assert (verdict.works, verdict.takes_system) == (works, system)
    assert said in (verdict.reason or "")
    assert (verdict.reason is None) == (said == "")


async def test_a_file_without_a_template_chats_in_chatml() -> None:
    """As llama.cpp does it."""
    assert await chat_template.check(Source(None, "", "")) == Chat(
        template=Template.CHATML, works=True, takes_system=True, shows_tools=False,
        calls="described", reasons=False,
    )  # fmt: skip


async def test_how_a_model_calls_tools_is_known_by_its_template() -> None:
    """Which has to show them: marks of calls alone do not tell a model which tools there are."""
    shows = (
        "{% for t in tools or [] %}{{ t | tojson }}{% endfor %}<think>{% for m in messages %}"
        "{{ m.content }}{% for c in m.tool_calls or [] %}<tool_call>{{ c | tojson }}</tool_call>"
        "{% endfor %}{% endfor %}"
    )
    found = await chat_template.check(Source(shows, "", ""))
    assert (found.shows_tools, found.calls, found.reasons) == (True, "hermes", True)
    silent = shows.replace("{% for t in tools or [] %}{{ t | tojson }}{% endfor %}", "")
    found = await chat_template.check(Source(silent, "", ""))
    assert (found.shows_tools, found.calls, found.reasons) == (False, "described", True)
    unread = shows.replace("<tool_call>", "<call>")
    found = await chat_template.check(Source(unread, "", ""))
    assert (found.shows_tools, found.calls, found.reasons) == (False, "described", True)
    harmony = "<|channel|><|message|>{% for t in tools or [] %}{{ t | tojson }}{% endfor %}" + shows
    found = await chat_template.check(Source(harmony, "", ""))
    assert (found.shows_tools, found.calls) == (True, "harmony")


ENDLESS = (
    "{% set a=namespace(s=(1,)) %}{% for i in range(60) %}{% set a.s = (a.s,a.s) %}{% endfor %}"
    "{{ {a.s:1}|length }}"
)


async def test_a_template_that_takes_too_long_is_broken() -> None:
    """In work that nothing can interrupt: its process is killed, and the verdict says so."""
    limits = Limits(render_s=0.1, compile_s=0.4, slack_s=0.0)
    verdict = await chat_template.check(Source(ENDLESS, "", ""), limits)
    assert not verdict.works
    assert verdict.reason == "it takes more than 0.5 s of processor time"
