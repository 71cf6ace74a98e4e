"""POST /v1/completions with prompts of every kind: texts and tokens, one and several."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.engine.gateway import gateway_processes
from tests.engine.gateway.gateway_processes import ENGINE, Stack
from tests.home_fixtures import WEIGHTS

if not WEIGHTS.exists():
    pytest.skip("the shipped model is not here", allow_module_level=True)

ORDER = "Notes: order 17 is late. The status of order 17 is"
NOTE = "Notes: order 23 shipped on Friday."


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for this module."""
    made = asyncio.run(gateway_processes.furnish(tmp_path_factory.mktemp("gateway") / "home"))
    with gateway_processes.running(made):
        made.start_worker(made.releases["plain"])
        made.start_gateway()
        made.until_ready()
        yield made


def said(stack: Stack, prompt: Any, **body: Any) -> Any:
    """What the gateway answers to a prompt."""
    asked = {"model": "raw", "prompt": prompt, "temperature": 0, "max_tokens": 6, **body}
    with stack.http() as http:
        return http.post("/v1/completions", json=asked).json()


def tokens(stack: Stack, text: str) -> list[int]:
    """The tokens of a text, as a prompt has them."""
    with stack.http() as http:
        found: list[int] = http.post("/tokenize", json={"model": "raw", "prompt": text}).json()[
            "tokens"
        ]
    return found


def texts(answer: Any) -> list[str]:
    """The texts of the choices, which come in the order of their index."""
    assert [choice["index"] for choice in answer["choices"]] == [*range(len(answer["choices"]))]
    return [choice["text"] for choice in answer["choices"]]


def test_tokens_are_continued_as_their_text_is(stack: Stack) -> None:
    """One prompt, several, and each with several choices: the same texts at the same places."""
    ids = [tokens(stack, ORDER), tokens(stack, NOTE)]
    one, other = said(stack, ORDER), said(stack, NOTE)
    assert texts(said(stack, ids[0])) == texts(one)
    both = said(stack, ids)
    assert texts(both) == texts(one) + texts(other) == texts(said(stack, [ORDER, NOTE]))
    assert both["usage"]["prompt_tokens"] == len(ids[0]) + len(ids[1])
    twice = said(stack, ids, n=2)
    assert texts(twice) == texts(one) * 2 + texts(other) * 2
    assert twice["usage"]["completion_tokens"] == 2 * both["usage"]["completion_tokens"]


@pytest.mark.parametrize(
    ("prompt", "param"),
    [([5, 1_000_000], "prompt[1]"), ([[5], [7, 6, 1_000_000]], "prompt[1][2]")],
)
def test_a_token_that_the_model_does_not_have_is_named(
    stack: Stack, prompt: Any, param: str
) -> None:
    """With its place; the worker serves on."""
    error = said(stack, prompt)["error"]
    assert (error["code"], error["param"]) == ("invalid_value", param)
    assert "1000000 is not in the vocabulary" in error["message"]
    assert texts(said(stack, [5]))


def test_a_prompt_fills_the_context_but_for_one_token(stack: Stack) -> None:
    """One token less leaves room for one of the answer; the whole context is refused."""
    room = ENGINE.context_tokens
    answer = said(stack, [5] * (room - 1))
    assert answer["usage"] == {
        "prompt_tokens": room - 1, "completion_tokens": 1, "total_tokens": room,
        "prompt_tokens_details": {"cached_tokens": 0},
    }  # fmt: skip
    assert answer["choices"][0]["finish_reason"] == "length"
    for prompt, param in (([5] * room, "prompt"), ([[5], [5] * room], "prompt[1]")):
        error = said(stack, prompt)["error"]
        assert (error["code"], error["param"]) == ("context_length_exceeded", param)
    assert said(stack, [5] * 200_000)["error"]["code"] == "context_length_exceeded"


def test_a_prompt_of_the_release_goes_before_text_only(stack: Stack) -> None:
    """Tokens cannot be joined to it."""
    assert texts(said(stack, ORDER, model="ops", user="sara"))
    error = said(stack, [5, 6], model="ops", user="sara")["error"]
    assert (error["code"], error["param"]) == ("unsupported_parameter", "prompt")
