"""The unmodified `anthropic` client against a real gateway, a real worker, a real store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.engine.gateway import gateway_processes
from tests.engine.gateway.gateway_processes import Stack
from tests.home_fixtures import WEIGHTS

if TYPE_CHECKING:
    from anthropic import Anthropic
    from anthropic.types import Message

if not WEIGHTS.exists():
    pytest.skip("the shipped model is not here", allow_module_level=True)

TEXT = "Notes: order 17 is late. What is the status of order 17?"
ASK = [{"role": "user", "content": TEXT}]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for this module."""
    with gateway_processes.serving(tmp_path_factory.mktemp("gateway") / "home") as made:
        yield made


@pytest.fixture
def client(stack: Stack) -> Iterator[Anthropic]:
    """A client's client; it does not try again by itself."""
    with connect(stack, "client") as one:
        yield one


def connect(stack: Stack, key: str) -> Anthropic:
    """The client with one of the stack's keys."""
    from anthropic import Anthropic  # noqa: PLC0415 a second and a half, which every worker that collects would take

    return Anthropic(base_url=stack.url, api_key=stack.secrets[key], max_retries=0, timeout=120)


def ask(one: Anthropic, **fields: Any) -> Message:
    """A whole answer."""
    asked = {"model": "ops", "messages": ASK, "max_tokens": 32, **fields}
    answer: Message = one.messages.create(**asked)
    return answer


def text_of(answer: Message) -> str:
    """The text of its only block."""
    (block,) = answer.content
    assert block.type == "text"
    return block.text


def read_tokens(answer: Message) -> int:
    """The tokens of its prompt, those that were cached included."""
    return answer.usage.input_tokens + (answer.usage.cache_read_input_tokens or 0)


def over_openai(stack: Stack, messages: list[dict[str, str]], **fields: Any) -> Any:
    """The same conversation at OpenAI's door."""
    body = {"model": "ops", "user": "sara", "messages": messages, "max_tokens": 32, **fields}
    with stack.http() as http:
        return http.post("/v1/chat/completions", json=body).raise_for_status().json()


def test_both_doors_lead_to_the_same_answer(stack: Stack, client: Anthropic) -> None:
    """The same text and the same token counts, for the system text and blocks of text, too."""
    turns: list[dict[str, Any]] = [
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": [{"type": "text", "text": "Yes?"}]},
        {"role": "user", "content": "Notes: order 17 is late."},
        {"role": "user", "content": [{"type": "text", "text": "What is the status of order 17?"}]},
    ]
    asked = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "Notes: order 17 is late.\nWhat is the status of order 17?"},
    ]
    answer = ask(client, messages=turns, system="Be brief.", metadata={"user_id": "sara"})
    other = over_openai(stack, asked)
    assert text_of(answer) == other["choices"][0]["message"]["content"]
    assert (read_tokens(answer), answer.usage.output_tokens) == (
        other["usage"]["prompt_tokens"],
        other["usage"]["completion_tokens"],
    )
    assert (answer.role, answer.model, answer.type) == ("assistant", "ops", "message")
    assert answer.id.startswith("msg_")


def test_a_stream_accumulates_to_the_whole(client: Anthropic) -> None:
    """The client's own accumulator ends with the text, the reason and the counts of the whole."""
    whole = ask(client, metadata={"user_id": "sara"})
    with client.messages.stream(
        model="ops", messages=[{"role": "user", "content": TEXT}], max_tokens=32,
        metadata={"user_id": "sara"},
    ) as stream:  # fmt: skip
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert "".join(pieces) == text_of(final) == text_of(whole)
    assert final.stop_reason == whole.stop_reason
    assert read_tokens(final) == read_tokens(whole)
    assert final.usage.output_tokens == whole.usage.output_tokens


def test_a_stream_begins_with_the_tokens_of_its_prompt(client: Anthropic) -> None:
    """Clients show how full a context is from `message_start`; its end says the same."""
    events = [
        *client.messages.create(
            model="ops", messages=[{"role": "user", "content": TEXT}], max_tokens=2, stream=True,
            metadata={"user_id": "sara"},
        )
    ]  # fmt: skip
    (started,) = [event for event in events if event.type == "message_start"]
    (ended,) = [event for event in events if event.type == "message_delta"]
    began, over = started.message.usage, ended.usage
    assert (began.input_tokens, began.cache_read_input_tokens, began.output_tokens) == (
        over.input_tokens, over.cache_read_input_tokens, 0
    )  # fmt: skip
    assert read_tokens(started.message) > 0


def test_it_says_why_an_answer_ended(client: Anthropic) -> None:
    """Its own end, the limit, or which of the stop sequences."""
    whole = ask(client, metadata={"user_id": "sara"})
    assert (whole.stop_reason, whole.stop_sequence) == ("end_turn", None)
    cut = ask(client, metadata={"user_id": "sara"}, max_tokens=1)
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 1)
    word = text_of(whole).split()[1]
    stopped = ask(client, metadata={"user_id": "sara"}, stop_sequences=["never", word])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", word)
    assert text_of(whole).startswith(text_of(stopped))


def test_the_beginning_of_an_answer_is_continued(stack: Stack, client: Anthropic) -> None:
    """From the assistant's last words on, at both doors; they are not repeated."""
    whole = text_of(ask(client, metadata={"user_id": "sara"}))
    at = whole.index(" ", len(whole) // 2)  # where a token ends
    began, rest = whole[:at], whole[at:]
    turns = [*ASK, {"role": "assistant", "content": began}]
    assert text_of(ask(client, messages=turns, metadata={"user_id": "sara"})) == rest
    other = over_openai(stack, turns, continue_final_message=True, add_generation_prompt=False)
    assert other["choices"][0]["message"]["content"] == rest


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "content[0]"),
        ({"extra_body": {"temperature": 3}}, "temperature"),
    ],
)
def test_what_it_does_not_support_is_refused_by_name(
    client: Anthropic, fields: dict[str, Any], where: str
) -> None:
    """Never ignored in silence."""
    import anthropic  # noqa: PLC0415 a second and a half, which every worker that collects would take

    with pytest.raises(anthropic.BadRequestError) as refused:
        ask(client, **fields)
    assert where in refused.value.message
    assert refused.value.body["error"]["type"] == "invalid_request_error"  # type: ignore[index]


def test_errors_are_anthropics(stack: Stack, client: Anthropic) -> None:
    """Each of the client's classes, with the id of the request."""
    import anthropic  # noqa: PLC0415 a second and a half, which every worker that collects would take

    with pytest.raises(anthropic.NotFoundError) as unknown:
        ask(client, model="nobody")
    assert unknown.value.request_id == unknown.value.body["request_id"]  # type: ignore[index]
    with connect(stack, "wrong") as stranger, pytest.raises(anthropic.AuthenticationError):
        ask(stranger)


def test_an_answer_takes_feedback_by_its_id(stack: Stack, client: Anthropic) -> None:
    """As one of OpenAI's does."""
    answer = ask(client)
    with stack.http() as http:
        said = http.post("/v1/feedback", json={"id": answer.id, "score": 1})
    assert said.json()["request_id"] == f"req_{answer.id.removeprefix('msg_')}"
