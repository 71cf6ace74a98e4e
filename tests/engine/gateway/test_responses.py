"""OpenAI's Responses API with its unmodified client, against a real gateway and worker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types.responses import Response

from tests.engine.gateway import gateway_processes
from tests.engine.gateway.gateway_processes import Stack
from tests.home_fixtures import WEIGHTS

if not WEIGHTS.exists():
    pytest.skip("the shipped model is not here", allow_module_level=True)

TEXT = "Notes: order 17 is late. What is the status of order 17?"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for this module."""
    with gateway_processes.serving(tmp_path_factory.mktemp("gateway") / "home") as made:
        yield made


@pytest.fixture
def client(stack: Stack) -> Iterator[OpenAI]:
    """A client's client; it does not try again by itself."""
    with connect(stack, "client") as one:
        yield one


def connect(stack: Stack, key: str) -> OpenAI:
    """The client with one of the stack's keys."""
    url = f"{stack.url}/v1"
    return OpenAI(base_url=url, api_key=stack.secrets[key], max_retries=0, timeout=120)


def ask(one: OpenAI, **fields: Any) -> Response:
    """A whole response; the same user is always answered by the same release."""
    answer = one.responses.create(**{"model": "ops", "input": TEXT, "user": "sara", **fields})
    assert isinstance(answer, Response)
    return answer


def said(stack: Stack, messages: list[dict[str, str]], **fields: Any) -> Any:
    """The same conversation at the older API."""
    body = {"model": "ops", "user": "sara", "messages": messages, **fields}
    with stack.http() as http:
        return http.post("/v1/chat/completions", json=body).raise_for_status().json()


def test_it_answers_as_the_older_api_does(stack: Stack, client: OpenAI) -> None:
    """The same text and counts, with instructions as a system message."""
    answer = ask(client, instructions="Be brief.")
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": TEXT}]
    other = said(stack, turns)
    assert answer.output_text == other["choices"][0]["message"]["content"]
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (
        other["usage"]["prompt_tokens"],
        other["usage"]["completion_tokens"],
    )
    assert (answer.status, answer.model, answer.instructions) == ("completed", "ops", "Be brief.")


def test_a_stream_adds_up_to_the_whole(client: OpenAI) -> None:
    """Numbered without a gap; the client's own accumulator ends with the text of the whole."""
    whole = ask(client)
    events = list(client.responses.create(model="ops", input=TEXT, user="sara", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created"
    with client.responses.stream(model="ops", input=TEXT, user="sara") as stream:
        final = stream.get_final_response()
    assert final.output_text == whole.output_text
    assert final.usage is not None
    assert whole.usage is not None
    assert final.usage.total_tokens == whole.usage.total_tokens


def test_a_response_is_continued_without_its_instructions(stack: Stack, client: OpenAI) -> None:
    """What was said so far is the same conversation at the older API."""
    first = ask(client, instructions="Be brief.")
    second = ask(client, input="And order 18?", previous_response_id=first.id)
    turns = [
        {"role": "user", "content": TEXT},
        {"role": "assistant", "content": first.output_text},
        {"role": "user", "content": "And order 18?"},
    ]
    other = said(stack, turns)
    assert second.output_text == other["choices"][0]["message"]["content"]
    assert second.usage is not None
    assert second.usage.input_tokens == other["usage"]["prompt_tokens"]
    third = ask(client, input="And 19?", previous_response_id=second.id)
    assert third.usage is not None
    assert third.usage.input_tokens > second.usage.input_tokens


def test_a_response_is_continued_by_its_tenant_alone(stack: Stack, client: OpenAI) -> None:
    """And only while its texts are kept; the refusal says what to send instead."""
    first = ask(client)
    with connect(stack, "other") as stranger, pytest.raises(openai.BadRequestError) as refused:
        ask(stranger, previous_response_id=first.id)
    assert refused.value.code == "previous_response_not_found"
    silent = ask(client, model="raw")
    with pytest.raises(openai.BadRequestError, match="send the whole conversation"):
        ask(client, model="raw", previous_response_id=silent.id)
    with pytest.raises(openai.BadRequestError):
        ask(client, previous_response_id="resp_none")


def test_a_response_that_is_cut_says_so(client: OpenAI) -> None:
    """Incomplete, with the reason."""
    cut = ask(client, max_output_tokens=1)
    assert cut.status == "incomplete"
    assert cut.incomplete_details is not None
    assert cut.incomplete_details.reason == "max_output_tokens"


def test_the_format_of_the_text_is_held_and_told(client: OpenAI) -> None:
    """As OpenAI's structured outputs; one that cannot be held is refused by its field."""
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"],
              "additionalProperties": False}  # fmt: skip
    form: Any = {"type": "json_schema", "name": "verdict", "schema": schema, "strict": True}
    answer = ask(client, text={"format": form}, max_output_tokens=200)
    assert json.loads(answer.output_text).keys() == {"ok"}
    assert answer.text is not None
    assert answer.text.format is not None
    assert answer.text.format.type == "json_schema"
    with pytest.raises(openai.BadRequestError) as refusal:
        ask(client, text={"format": {**form, "schema": {"not": {}}}})
    assert refusal.value.param == "text.format.schema"
