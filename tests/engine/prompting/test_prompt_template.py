"""Prompt versions: variables by their types, errors with places, and where the prompt goes."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from engine.execution.job import Message, Text
from engine.prompting import prompt_template
from engine.prompting.renderer.child import Limits
from engine.prompting.renderer.pool import Renderer
from storage import prompts
from storage.prompts import PromptVersion, Variable

pytestmark = pytest.mark.asyncio(loop_scope="module")
Make = Callable[..., prompt_template.Prompt]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def prompt() -> AsyncIterator[Make]:
    """Makes prompts; all are rendered by one process."""
    async with Renderer(processes=1, limits=Limits(render_s=0.25)) as renderer:
        yield functools.partial(_prompt, renderer)


def _prompt(
    renderer: Renderer, *templates: tuple[str, str], variables: tuple[Variable, ...] = ()
) -> prompt_template.Prompt:
    """Version 3 of terse."""
    version = PromptVersion(
        id=1, prompt="terse", number=3, sha256="", author="", comment="", created_at_us=0,
        messages=tuple(
            prompts.Message(role=role, template=text)  # type: ignore[arg-type]
            for role, text in templates
        ),
        variables=variables,
    )  # fmt: skip
    return prompt_template.Prompt(version, renderer)


VARIABLES = (
    Variable(name="tone", required=True),
    Variable(name="limit", type="integer", default="3"),
    Variable(name="share", type="number"),
    Variable(name="loud", type="boolean", default="true"),
)


async def test_variables_are_put_in_by_their_types(prompt: Make) -> None:
    """Defaults are read as their type; what is not required and not given is empty."""
    one = prompt(
        ("system", "{{ tone }} {{ limit + 1 }}{{ share }}{% if loud %}!{% endif %}\n"),
        variables=VARIABLES,
    )
    assert await one.render({"tone": "dry"}) == (Message("system", "dry 4!\n"),)
    given = {"tone": "{{ limit }}", "limit": 7, "share": 0.5, "loud": False}
    assert await one.render(given) == (Message("system", "{{ limit }} 80.5\n"),)


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
async def test_wrong_variables_are_named(
    prompt: Make, given_values: dict[str, Any], said: str
) -> None:
    """With the prompt, its version, and what it takes."""
    one = prompt(("system", "{{ tone }}"), variables=VARIABLES)
    with pytest.raises(prompt_template.BadVariables) as caught:
        await one.render(given_values)
    assert said in str(caught.value)


@pytest.mark.parametrize("source", ["one\n{% if %}", "one\n{{ nobody }}", "one\n{{ 1 / 0 }}"])
async def test_a_broken_prompt_names_its_line(prompt: Make, source: str) -> None:
    """Unreadable or going wrong."""
    with pytest.raises(
        prompt_template.BrokenPrompt, match=r"terse@3, message 2 \(user\), line 2: "
    ):
        await prompt(("system", "fine"), ("user", source)).render({})


async def test_a_prompt_with_a_date_is_rendered_anew(prompt: Make) -> None:
    """It says the moment of the request, not that of the gateway's start; others are kept."""
    dated = prompt(("system", "It is {{ strftime_now('%S.%f') }}."))
    plain = prompt(("system", "You help."))
    assert await dated.render({}) != await dated.render({})
    assert await plain.render({}) is await plain.render({})


async def test_the_prompt_comes_before_the_clients_messages() -> None:
    """A client's leading system text is appended to the prompt's own."""
    own = (Message("system", "Be brief."), Message("user", "q"), Message("assistant", "a"))
    theirs = [Message("system", "In French."), Message("user", "Why?"), Message("system", "Now.")]
    assert prompt_template.joined(own, theirs) == [
        Message("system", "Be brief.\n\nIn French."),
        *own[1:],
        *theirs[1:],
    ]
    assert prompt_template.joined(own[1:], theirs) == [theirs[0], *own[1:], *theirs[1:]]
    assert prompt_template.joined((), theirs) == theirs


async def test_a_text_is_continued_after_the_prompt() -> None:
    """With a blank line between; each of several texts gets the prompt."""
    own = (Message("system", "Notes:"),)
    assert prompt_template.prompted(own, Text(("order 17", "x"))) == Text(
        ("Notes:\n\norder 17", "Notes:\n\nx")
    )


async def test_variables_that_are_too_long_are_the_callers_matter(prompt: Make) -> None:
    """A template that takes too long over little is broken; over very much it need not be."""
    one = prompt(
        ("system", "{% for i in range(99999) %}{{ tone }}{% endfor %}"), variables=VARIABLES[:1]
    )
    with pytest.raises(prompt_template.BadVariables, match="too long for prompt terse@3"):
        await one.render({"tone": "x" * 200_000})
    with pytest.raises(prompt_template.BrokenPrompt):
        await one.render({"tone": "x" * 1000})


async def test_variables_that_a_template_fails_for_are_the_callers_matter(prompt: Make) -> None:
    """Where it renders with the defaults; where some are required it is unknown."""
    failing = "{{ 9 // limit }}"
    with pytest.raises(prompt_template.BadVariables, match=r"with these variables, .*by zero"):
        await prompt(("system", failing), variables=VARIABLES[1:]).render({"limit": 0})
    with pytest.raises(prompt_template.BrokenPrompt) as caught:
        await prompt(("system", failing), variables=VARIABLES).render({"tone": "", "limit": 0})
    assert caught.value.given
