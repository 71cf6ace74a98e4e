"""A stranger's chat template that does not end when a client says the word."""

from __future__ import annotations

from typing import Final

from tests.acceptance.attacks import attack
from tests.acceptance.attacks.attack import Target, post

WORD: Final = "now"
CHAT: Final = "/v1/chat/completions"
SERVICES: Final = {
    "doubling": "{% set a = namespace(s=(1,)) %}{% for i in range(60) %}{% set a.s = (a.s, a.s) %}"
    "{% endfor %}{{ {a.s: 1} | length }}",
    "sorting": "{{ ([range(9999) | list] * 999) | sort | length }}",
    "endless": "{% for i in range(99999) %}{% for j in range(99999) %}{{ i }}{% endfor %}"
    "{% endfor %}",
    "growing": "{% set a = namespace(s='xxxxxxxxxxxxxxxx') %}{% for i in range(60) %}"
    "{% set a.s = a.s ~ a.s %}{% endfor %}{{ a.s }}",
}
"""Templates that run in C beyond any signal, in Python without end, or out of memory."""


def chat_template(name: str) -> str:
    """A template that is sound until the first message is the word."""
    return (
        "{% if messages[0].content == '" + WORD + "' %}" + SERVICES[name] + "{% endif %}"
        "{% for message in messages %}{{ message.content }}{% endfor %}"
    )


async def _ask(target: Target, service: str) -> str:
    messages = [{"role": "user", "content": WORD}]
    request = post(target, {"model": service, "messages": messages, "max_tokens": 1}, CHAT)

    async def one(_: int) -> str:
        return str(await attack.answered(target, request))

    return await attack.again(one, clients=4, pause_s=0.2)


@attack.attack
async def a_template_that_doubles(target: Target) -> str:
    """A structure of 2**60 leaves is hashed."""
    return await _ask(target, "doubling")


@attack.attack
async def a_template_that_sorts(target: Target) -> str:
    """A sort of long lists."""
    return await _ask(target, "sorting")


@attack.attack
async def a_template_that_does_not_end(target: Target) -> str:
    """Nested loops."""
    return await _ask(target, "endless")


@attack.attack
async def a_template_that_grows(target: Target) -> str:
    """A text that is doubled sixty times."""
    return await _ask(target, "growing")
