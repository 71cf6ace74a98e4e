"""Chat templates are tried when a model is added: what works, what fails, and what is a bomb."""

from __future__ import annotations

import pytest

from engine.registry import chat_template, template_trial
from engine.registry.chat_template import ChatSource
from engine.registry.template_trial import Source
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


def own(template: str) -> Source:
    """A file's own template."""
    return Source(kind=Template.OWN, template=template, bos="<s>", eos="</s>")


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
def test_a_template_is_tried_with_and_without_a_system_message(
    template: str, works: bool, system: bool, said: str
) -> None:
    """The first fault is the reason; a message that is left out is one, too."""
    verdict = template_trial.check(own(template))
    assert (verdict.works, verdict.takes_system) == (works, system)
    assert said in (verdict.reason or "")
    assert (verdict.reason is None) == (said == "")


async def test_a_file_without_a_template_chats_in_chatml() -> None:
    """As llama.cpp does it."""
    assert await chat_template.check(ChatSource(None, "", "")) == Chat(
        template=Template.CHATML, works=True, takes_system=True
    )


@pytest.mark.parametrize("template", [PLAIN, NO_SYSTEM])
async def test_a_process_of_its_own_comes_to_the_same_verdict(template: str) -> None:
    """The bounds do not show on a sound template."""
    verdict = await chat_template.check(ChatSource(template, "<s>", "</s>"))
    assert verdict == template_trial.check(own(template))


async def test_a_template_that_wants_all_memory_takes_its_own_process_along() -> None:
    """Two gigabytes in one expression: refused where it runs, and the verdict says so."""
    bomb = "{{ strftime_now('%9999d' * 300000) | length }}{{ messages }}"
    verdict = await chat_template.check(ChatSource(bomb, "", ""))
    assert not verdict.works


async def test_a_template_that_takes_too_long_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process is killed, and the verdict says how much it may take."""
    monkeypatch.setattr(chat_template, "WALL_S", 0.001)
    verdict = await chat_template.check(ChatSource(PLAIN, "", ""))
    assert not verdict.works
    assert verdict.reason == "rendering it takes more than 10 s or 512 MiB"
