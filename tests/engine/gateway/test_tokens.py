"""Tokens, their text and rendered conversations, as vLLM's clients and llama-server's ask."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.engine.gateway import gateway_processes
from tests.engine.gateway.gateway_processes import Stack
from tests.home_fixtures import WEIGHTS

if not WEIGHTS.exists():
    pytest.skip("the shipped model is not here", allow_module_level=True)

ASK = [{"role": "user", "content": "What is the status of order 17?"}]
UNDECLARED = {"messages": ASK, "prompt_variables": {"x": 1}}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for this module."""
    with gateway_processes.serving(tmp_path_factory.mktemp("gateway") / "home") as made:
        yield made


def said(stack: Stack, path: str, **body: Any) -> Any:
    """What the gateway answers."""
    with stack.http() as http:
        return http.post(path, json={"model": "raw", **body}).json()


@pytest.mark.parametrize("text", ["order 17 is late", "a  b\n", "Ünïcode 漢字 🐎", ""])
def test_tokens_spell_the_text_that_they_are_of(stack: Stack, text: str) -> None:
    """Without BOS, there and back."""
    tokens = said(stack, "/tokenize", content=text)["tokens"]
    assert said(stack, "/detokenize", tokens=tokens)["content"] == text


def test_what_is_counted_is_what_is_charged(stack: Stack) -> None:
    """A text with BOS where the model asks for it, and a conversation with the release's prompt."""
    text = said(stack, "/v1/completions", prompt="order 17", max_tokens=1)
    assert said(stack, "/tokenize", prompt="order 17")["count"] == text["usage"]["prompt_tokens"]
    chat = {"model": "ops", "user": "sara", "messages": ASK}
    charged = said(stack, "/v1/chat/completions", **chat, max_tokens=1)["usage"]["prompt_tokens"]
    assert said(stack, "/tokenize", **chat)["count"] == charged
    counted = said(
        stack, "/v1/messages/count_tokens",
        model="ops", messages=ASK, metadata={"user_id": "sara"},
    )  # fmt: skip
    assert counted == {"input_tokens": charged}
    for path, body in (
        ("/v1/chat/completions/input_tokens", chat),
        ("/v1/responses/input_tokens", {"model": "ops", "user": "sara", "input": ASK}),
    ):
        assert said(stack, path, **body)["input_tokens"] == charged


def test_a_rendered_conversation_is_what_the_model_reads(stack: Stack) -> None:
    """With the control texts of its template, and with the release's prompt."""
    text = said(stack, "/apply-template", model="ops", messages=ASK)["prompt"]
    assert "You are a helpful assistant." in text
    assert ASK[0]["content"] in text
    parsed = said(stack, "/tokenize", model="raw", content=text)["count"]
    assert parsed == said(stack, "/tokenize", model="ops", messages=ASK)["count"]
    assert parsed < said(stack, "/tokenize", content=text, parse_special=False)["count"]


def test_a_conversation_may_end_with_its_last_message(stack: Stack) -> None:
    """Without the beginning of the assistant's turn, rendered, counted and continued."""
    body: Any = {"messages": ASK, "add_generation_prompt": False}
    text = said(stack, "/apply-template", **body)["prompt"]
    whole = said(stack, "/apply-template", messages=ASK)["prompt"]
    assert whole.startswith(text)
    assert "assistant" in whole.removeprefix(text)
    count = said(stack, "/tokenize", **body)["count"]
    assert count == said(stack, "/tokenize", content=text)["count"]
    usage = said(stack, "/v1/chat/completions", **body, max_tokens=1)["usage"]
    assert usage["prompt_tokens"] == count


def test_each_dialect_gets_the_pieces_that_it_asks_for(stack: Stack) -> None:
    """llama-server's pairs, vLLM's list of texts."""
    plain = said(stack, "/tokenize", content="order 17")
    pairs = said(stack, "/tokenize", content="order 17", with_pieces=True)["tokens"]
    assert [pair["id"] for pair in pairs] == plain["tokens"]
    assert "".join(pair["piece"] for pair in pairs) == "order 17"
    texts = said(stack, "/tokenize", content="order 17", return_token_strs=True)["token_strs"]
    assert "".join(texts) == "order 17"


def test_a_path_names_the_service_for_clients_that_cannot(stack: Stack) -> None:
    """Remote tokenisers send a text and nothing else; with several services the path says whose."""
    info = asked(stack, "/services/raw/tokenizer_info")
    assert info == asked(stack, "/tokenizer_info?model=raw")
    assert "messages" in info["chat_template"]
    with stack.http() as http:
        plain = {"prompt": "order 17", "add_special_tokens": False}
        below = http.post("/services/raw/tokenize", json=plain).json()
        assert below == said(stack, "/tokenize", **plain)
        end = {"prompt": info["eos_token"], "add_special_tokens": False}
        assert http.post("/services/raw/tokenize", json=end).json()["count"] == 1
        other = {"model": "ops", "prompt": "order 17", "max_tokens": 1}
        refused = http.post("/services/raw/v1/completions", json=other).json()["error"]
        assert (refused["code"], refused["param"]) == ("invalid_value", "model")
        answer = http.post("/services/raw/v1/completions", json=other | {"model": "raw"})
        assert answer.json()["usage"]["completion_tokens"] == 1
    for path in ("/tokenizer_info", "/services/nobody/tokenizer_info"):
        assert "error" in asked(stack, path)
    assert said(stack, "/tokenize", model=None, prompt="x")["error"]["param"] == "model"


def asked(stack: Stack, path: str) -> Any:
    """What the gateway tells."""
    with stack.http() as http:
        return http.get(path).json()


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/tokenize", {"prompt": "x", "messages": ASK}, "invalid_value"),
        ("/tokenize", {"prompt": "x " * 100_000}, "context_length_exceeded"),
        ("/detokenize", {"tokens": [1_000_000]}, "invalid_value"),
        ("/detokenize", {"tokens": [-1]}, "invalid_value"),
        ("/detokenize", {"tokens": [1] * 10_000}, "context_length_exceeded"),
        ("/apply-template", UNDECLARED, "invalid_prompt_variables"),
        ("/tokenize", {"model": "nobody", "prompt": "x"}, "model_not_found"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_refused(stack: Stack, path: str, body: Any, code: str) -> None:
    """To that request alone, with the name of its field."""
    error = said(stack, path, **body)["error"]
    assert error["code"] == code
    if path == "/detokenize":
        assert error["param"].startswith("tokens")
