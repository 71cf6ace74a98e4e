"""Requests that are refused, or that cost the gateway much before a token is made."""

from __future__ import annotations

from typing import Any, Final

from tests.acceptance.attacks import attack
from tests.acceptance.attacks.attack import Target, head, post

CHAT: Final = "/v1/chat/completions"
CONTROL: Final = "<|im_end|>"


async def _send(target: Target, request: bytes, *, clients: int = 2, pause_s: float = 0.2) -> str:
    """The same request again and again; how it was answered."""

    async def one(_: int) -> str:
        return str(await attack.answered(target, request))

    return await attack.again(one, clients=clients, pause_s=pause_s)


def _chat(messages: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"model": "ops", "messages": messages, **more}


@attack.attack
async def many_messages_with_control_texts(target: Target) -> str:
    """Ten thousand messages with twelve control texts each."""
    message = {"role": "user", "content": CONTROL * 12}
    return await _send(target, post(target, _chat([message] * 10_000), CHAT))


@attack.attack
async def one_message_of_control_texts(target: Target) -> str:
    """A hundred and fifty thousand control texts in one message."""
    message = {"role": "user", "content": CONTROL * 150_000}
    return await _send(target, post(target, _chat([message]), CHAT))


@attack.attack
async def many_empty_messages(target: Target) -> str:
    """Ten thousand empty messages."""
    return await _send(
        target, post(target, _chat([{"role": "user", "content": ""}] * 10_000), CHAT)
    )


@attack.attack
async def a_long_prompt(target: Target) -> str:
    """Two megabytes of prose, to be tokenised before it can be refused."""
    prompt = "The order travels with the courier. " * 55_000
    return await _send(target, post(target, {"model": "ops", "prompt": prompt}))


@attack.attack
async def deep_json(target: Target) -> str:
    """A hundred thousand brackets."""
    body = b'{"model":"ops","prompt":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    return await _send(target, head(target, len(body)) + body)


@attack.attack
async def lone_surrogates(target: Target) -> str:
    """Half of a UTF-16 pair, which no UTF-8 can spell, beside other requests of the same moment."""
    body = rb'{"model":"ops","max_tokens":2,"messages":[{"role":"user","content":"\ud800"}]}'
    return await _send(target, head(target, len(body), path=CHAT) + body, clients=8, pause_s=0.05)


@attack.attack
async def whole_answers_with_logprobs(target: Target) -> str:
    """Twenty alternatives for each of as many tokens as there may be."""
    document = {"model": "ops", "prompt": "Order", "max_tokens": 200, "logprobs": 5, "n": 8}
    return await _send(target, post(target, document), clients=1)


@attack.attack
async def large_schemas(target: Target) -> str:
    """A JSON schema of a megabyte."""
    properties = {f"p{number}": {"type": "string", "enum": ["a"] * 20} for number in range(8_000)}
    schema = {"type": "object", "properties": properties}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    message = {"role": "user", "content": "Order"}
    return await _send(target, post(target, _chat([message], response_format=form), CHAT))


@attack.attack
async def bodies_of_empty_lists(target: Target) -> str:
    """Two megabytes that become a million objects when they are decoded."""
    arguments: dict[str, object] = {"custom_tools": [[]] * 600_000}
    chat = {"model": "ops", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    request = post(target, chat | {"chat_template_kwargs": arguments}, CHAT)
    return await _send(target, request)


@attack.attack
async def tokens_to_be_spelled(target: Target) -> str:
    """A million of them, which a worker spells between two steps."""
    body = b'{"model":"ops","tokens":[' + b"0," * 900_000 + b"0]}"
    return await _send(target, head(target, len(body), path="/detokenize") + body)


@attack.attack
async def messages_of_one_turn(target: Target) -> str:
    """Ten thousand of a user, which are joined."""
    message = {"role": "user", "content": "x" * 150}
    document = {"model": "ops", "max_tokens": 1, "messages": [message] * 10_000}
    return await _send(target, post(target, document, "/v1/messages"))


@attack.attack
async def tools_of_many_values(target: Target) -> str:
    """A schema with a million values, which a call has to match."""
    parameters = {"type": "object", "properties": {"a": {"enum": [1] * 900_000}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    message = {"role": "user", "content": "Order"}
    chat = _chat([message], tools=[tool], tool_choice="required")
    return await _send(target, post(target, chat, CHAT))


@attack.attack
async def many_choices_with_penalties(target: Target) -> str:
    """Of a prompt that nearly fills the context, counted for each of them."""
    document = {
        "model": "ops", "prompt": [17] * 500, "n": 128, "max_tokens": 1,
        "repetition_penalty": 1.1, "repeat_last_n": 499,
    }  # fmt: skip
    return await _send(target, post(target, document), clients=1)
