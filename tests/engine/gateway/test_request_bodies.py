"""Bad input gets a clear error that names the field."""

from __future__ import annotations

import contextlib
import gc
import json
import sys
import tracemalloc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from engine.chat_syntax import families, forced
from engine.gateway import (
    anthropic_bodies,
    containers,
    embedding_bodies,
    errors,
    request_bodies,
    responses_bodies,
    service_paths,
)
from engine.gateway.context import Context

CHAT = request_bodies.Reader(request_bodies.Chat)
COMPLETION = request_bodies.Reader(request_bodies.Completion)
FEEDBACK = request_bodies.Reader(request_bodies.Feedback)
MESSAGE = request_bodies.Reader(anthropic_bodies.Message)
RESPONSE = request_bodies.Reader(responses_bodies.Response)
BEGUN = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Yes"}]
HI = {"model": "ops", "messages": [{"role": "user", "content": "hi"}]}


def caught(call: Callable[[], object]) -> errors.BadRequest:
    """The error of a call."""
    with pytest.raises(errors.BadRequest) as refusal:
        call()
    return refusal.value


def refused(reader: request_bodies.Reader, raw: bytes) -> errors.BadRequest:
    """The error that a body gets."""
    return caught(lambda: reader.read(raw))


@pytest.mark.parametrize(
    ("changed", "code", "param"),
    [
        ({"messages": []}, "invalid_value", "messages"),
        ({"messages": "hi"}, "invalid_value", "messages"),
        ({"messages": [{"role": "user", "content": 5}]}, "invalid_value", "messages[0].content"),
        ({"messages": [{"role": "king", "content": ""}]}, "invalid_value", "messages[0].role"),
        ({"messages": [{"content": ""}]}, "missing_required_parameter", "messages[0].role"),
        ({"temperature": 2.5}, "invalid_value", "temperature"),
        ({"temperature": "hot"}, "invalid_value", "temperature"),
        ({"temperature": True}, "invalid_value", "temperature"),
        ({"top_p": 1.1}, "invalid_value", "top_p"),
        ({"n": 0}, "invalid_value", "n"),
        ({"n": 129}, "invalid_value", "n"),
        ({"max_tokens": 0}, "invalid_value", "max_tokens"),
        ({"max_completion_tokens": -1}, "invalid_value", "max_completion_tokens"),
        ({"seed": 2**70}, "invalid_value", "seed"),
        ({"stop": ["x"] * 17}, "invalid_value", "stop"),
        ({"top_logprobs": 21}, "invalid_value", "top_logprobs"),
        ({"stream": "yes"}, "invalid_value", "stream"),
        ({"temprature": 1}, "unknown_parameter", "temprature"),
        ({"reasoning_effort": "huge"}, "invalid_value", "reasoning_effort"),
        ({"thinking_budget": -1}, "invalid_value", "thinking_budget"),
        ({"reasoning": {"exclude": True}}, "invalid_value", "reasoning.exclude"),
        ({"response_format": {"type": "yaml"}}, "invalid_value", "response_format.type"),
        ({"response_format": {"type": "text", "x": 1}}, "invalid_value", "response_format.x"),
        ({"structured_outputs": {"choice": []}}, "invalid_value", "structured_outputs.choice"),
        ({"guided_choice": "yes"}, "invalid_value", "guided_choice"),
        ({"frequency_penalty": 2.1}, "invalid_value", "frequency_penalty"),
        ({"presence_penalty": -3}, "invalid_value", "presence_penalty"),
        ({"repetition_penalty": 0}, "invalid_value", "repetition_penalty"),
        ({"repetition_penalty": 1e-40}, "invalid_value", "repetition_penalty"),
        ({"repeat_penalty": 1e-3}, "invalid_value", "repeat_penalty"),
        ({"repeat_last_n": -2}, "invalid_value", "repeat_last_n"),
        ({"min_tokens": -1}, "invalid_value", "min_tokens"),
        ({"logit_bias": {"5": 100.5}}, "invalid_value", "logit_bias"),
        ({"logit_bias": {"-1": 1}}, "invalid_value", "logit_bias"),
        ({"logit_bias": {"five": 1}}, "invalid_value", "logit_bias"),
        ({"logit_bias": [[5, 1]]}, "invalid_value", "logit_bias"),
        ({"logit_bias": dict.fromkeys(range(1025), 1)}, "invalid_value", "logit_bias"),
        ({"stop": ["x"] * 1000}, "invalid_value", "stop"),
        ({"audio": {"voice": "alloy"}}, "unsupported_parameter", "audio"),
    ],
)
def test_a_bad_field_is_named(changed: dict[str, Any], code: str, param: str) -> None:
    """In `param` and in the message."""
    error = refused(CHAT, json.dumps(HI | changed).encode())
    assert (error.code, error.param) == (code, param)
    assert param.partition("[")[0] in error.message


def test_the_models_end_may_be_ignored_beside_stops() -> None:
    """As vLLM and llama-server take it."""
    asked = CHAT.read(json.dumps(HI | {"ignore_eos": True, "stop": []}).encode())
    assert asked.options().ignore_eos
    both = CHAT.read(json.dumps(HI | {"ignore_eos": True, "stop": ["x"]}).encode()).options()
    assert (both.ignore_eos, both.stop) == (True, ("x",))


def test_a_missing_field_is_named() -> None:
    """As a required parameter."""
    error = refused(CHAT, b'{"model":"ops"}')
    assert (error.code, error.param) == ("missing_required_parameter", "messages")


def named(path: dict[str, str], model: str | None, services: int) -> str:
    """The service of a request with this path and body, where there are so many."""
    snapshot = SimpleNamespace(services=dict.fromkeys(f"s{each}" for each in range(services)))
    context = SimpleNamespace(catalog=SimpleNamespace(snapshot=snapshot))
    request = Request({"type": "http", "path_params": path})
    return service_paths.named(cast("Context", context), request, model)


@pytest.mark.parametrize(
    ("reader", "body"),
    [
        (CHAT, {"messages": HI["messages"]}),
        (COMPLETION, {"prompt": "x"}),
        (embedding_bodies.EMBEDDINGS, {"input": "x"}),
        (embedding_bodies.RERANK, {"query": "x", "texts": ["a", "b"]}),
    ],
)
def test_a_body_needs_no_model_where_its_path_or_the_box_names_it(
    reader: request_bodies.Reader, body: dict[str, Any]
) -> None:
    """Below /services/NAME, or with a single service; else the error names the field."""
    model = reader.read(json.dumps(body).encode()).model
    assert named({"service": "s1"}, model, 2) == "s1"
    assert named({}, model, 1) == "s0"
    for services in (0, 2):
        error = caught(lambda services=services: named({}, model, services))  # type: ignore[misc]
        assert (error.code, error.param) == ("missing_required_parameter", "model")


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b'{"model": NaN}', "invalid_json"),
        (b'{"model":"ops","messages":[{"role":"user","content":"\\ud800"}]}', "invalid_json"),
        (b'{"model":"ops","messages":[{"role":"user","content":"\xff"}]}', "invalid_utf8"),
        (b"[1]", "invalid_value"),
        (b'{"model":' + b"[" * 100_000, "invalid_json"),
        ("{}".encode("utf-16"), "invalid_json"),
    ],
)
def test_what_is_no_json_says_so(raw: bytes, code: str) -> None:
    """Malformed, lone surrogates, not UTF-8, too deep."""
    assert refused(CHAT, raw).code == code


@pytest.mark.parametrize(
    "extra",
    [
        {"tools": []},
        {"tools": None},
        {"response_format": {"type": "text"}},
        {"frequency_penalty": 0.0},
        {"logit_bias": {}},
        {"store": True},
        {"echo": False},
        {"suffix": ""},
        {"user": "sara", "metadata": {"a": "b"}},
        {"temperature": None, "stop": None, "n": None},
        {"top_k": 5, "min_p": 0.1, "prompt_variables": {"tone": "dry"}},
    ],
)
def test_what_does_not_change_the_answer_is_taken(extra: dict[str, Any]) -> None:
    """Clients send defaults and nulls; so they may."""
    assert CHAT.read(json.dumps(HI | extra).encode()).model == "ops"


def test_a_large_schema_is_refused_without_being_decoded() -> None:
    """Objects of a megabyte of JSON would take tens of megabytes, and the loop for 20 ms."""
    large = {f"p{number}": {"enum": ["a", "b"]} for number in range(40_000)}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": large}}
    body = CHAT.read(json.dumps(HI | {"response_format": form}).encode())
    tracemalloc.start()
    try:
        error = caught(body.options)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (error.code, error.param) == ("invalid_value", "response_format.json_schema.schema")
    assert most < 100_000


ANY = {"type": "object"}


@pytest.mark.parametrize(
    ("changed", "kind", "source", "field"),
    [
        ({"response_format": {"type": "json_object"}}, "json_schema", ANY, "response_format"),
        ({"response_format": {"type": "json_object", "schema": {"const": 1}}}, "json_schema",
         {"const": 1}, "response_format.schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {
            "name": "a", "strict": True, "schema": {"type": "integer"}}}}, "json_schema",
         {"type": "integer"}, "response_format.json_schema.schema"),
        ({"structured_outputs": {"regex": "a+"}}, "regex", "a+", "structured_outputs.regex"),
        ({"structured_outputs": {"choice": ["a", "b"]}}, "choice", ["a", "b"],
         "structured_outputs.choice"),
        ({"structured_outputs": {"json_object": True}}, "json_schema", ANY,
         "structured_outputs.json_object"),
        ({"guided_json": '{"type": "null"}'}, "json_schema", {"type": "null"}, "guided_json"),
        ({"guided_regex": "a|b"}, "regex", "a|b", "guided_regex"),
        ({"guided_choice": ["x"]}, "choice", ["x"], "guided_choice"),
        ({"guided_grammar": 'start: "a"'}, "grammar", 'start: "a"', "guided_grammar"),
        ({"json_schema": {"type": "null"}}, "json_schema", {"type": "null"}, "json_schema"),
        ({"grammar": 'root ::= "a"'}, "grammar", 'root ::= "a"', "grammar"),
    ],
)  # fmt: skip
def test_every_servers_name_for_a_constraint_is_read(
    changed: dict[str, Any], kind: str, source: object, field: str
) -> None:
    """OpenAI's, vLLM's, its older ones, and llama-server's."""
    for reader, body in ((CHAT, HI), (COMPLETION, {"model": "ops", "prompt": "x"})):
        found = reader.read(json.dumps(body | changed).encode()).options().constraint
        assert (found.kind, found.field) == (kind, field)
        read = found.source if isinstance(source, str) else json.loads(found.source)
        assert read == source


@pytest.mark.parametrize(
    "changed",
    [
        {"guided_json": {}, "guided_whitespace_pattern": "[ ]?"},
        {"structured_outputs": {"json": {}, "whitespace_pattern": "[ ]?"}},
    ],
)
def test_a_request_may_say_what_comes_between_the_tokens_of_json(changed: dict[str, Any]) -> None:
    """Under vLLM's names."""
    found = CHAT.read(json.dumps(HI | changed).encode()).options().constraint
    assert (found.kind, found.spacing) == ("json_schema", "[ ]?")


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"response_format": {"type": "json_object"}, "grammar": "root ::= [a]"}, "grammar"),
        ({"guided_regex": "a", "guided_choice": ["a"]}, "guided_choice"),
        ({"structured_outputs": {"regex": "a", "grammar": "b"}}, "structured_outputs.grammar"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
         "response_format.json_schema.schema"),
        ({"json_schema": [1]}, "json_schema"),
        ({"grammar": "x" * 200_000}, "grammar"),
        ({"guided_choice": ["x" * 1000] * 200}, "guided_choice"),
        ({"guided_choice": ["x"], "guided_whitespace_pattern": " "}, "guided_whitespace_pattern"),
        ({"structured_outputs": {"whitespace_pattern": " "}},
         "structured_outputs.whitespace_pattern"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_two_constraints_or_none_that_could_be_held_are_refused(
    changed: dict[str, Any], param: str
) -> None:
    """With the name of the field."""
    body = CHAT.read(json.dumps(HI | changed).encode())
    error = caught(body.options)
    assert error.param == param
    assert param.rpartition(".")[2] in error.message


def test_half_a_surrogate_pair_is_named() -> None:
    """The decoder's own words would be about truncation."""
    said = refused(CHAT, b'{"model":"ops\\ud800","messages":[]}').message
    assert "half of a surrogate pair" in said


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"repeat_penalty": 1.1, "repetition_penalty": 1.2}, "repeat_penalty"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(changed: dict[str, Any], param: str) -> None:
    """Instead of one of them being ignored."""
    body = CHAT.read(json.dumps(HI | changed).encode())
    assert caught(body.options).param == param


@pytest.mark.parametrize(
    ("changed", "penalty", "window"),
    [
        ({}, None, None),
        ({"repetition_penalty": 1.2}, 1.2, None),
        ({"repetition_penalty": 1.2, "repeat_last_n": 9}, 1.2, 9),
        ({"repeat_penalty": 1.2}, 1.2, 64),
        ({"repeat_penalty": 1.2, "repeat_last_n": -1}, 1.2, -1),
    ],
)
def test_each_name_of_the_repetition_penalty_brings_its_servers_window(
    changed: dict[str, Any], penalty: float | None, window: int | None
) -> None:
    """The whole sequence for vLLM's, the last 64 tokens for llama.cpp's."""
    options = CHAT.read(json.dumps(HI | changed).encode()).options()
    assert (options.repetition_penalty, options.repeat_last_n) == (penalty, window)


def test_a_bias_is_kept_by_token() -> None:
    """JSON has texts for keys."""
    body = COMPLETION.read(b'{"model":"ops","prompt":"x","logit_bias":{"5":-100,"7":2.5}}')
    assert body.options().logit_bias == ((5, -100.0), (7, 2.5))


def test_control_characters_are_text() -> None:
    """Escape sequences in a prompt are the prompt's business."""
    body = HI | {"messages": [{"role": "user", "content": "\x1b[2J\x00\x07"}]}
    assert CHAT.read(json.dumps(body).encode()).messages[0].content == "\x1b[2J\x00\x07"


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("a", ("a",)),
        (["a", "b"], ("a", "b")),
        ([1, 2], ((1, 2),)),
        ([[1, 2], [3]], ((1, 2), (3,))),
    ],
)
def test_a_prompt_is_texts_or_tokens(prompt: Any, texts: tuple[Any, ...]) -> None:
    """One or several, each as text or as the ids of its tokens."""
    body = COMPLETION.read(json.dumps({"model": "ops", "prompt": prompt}).encode())
    assert body.input().prompts == texts


@pytest.mark.parametrize(
    ("prompt", "param"),
    [
        ([], "prompt"),
        ([[]], "prompt[0]"),
        ([[1], []], "prompt[1]"),
        ([1, "a"], "prompt[1]"),
        (["a", [1]], "prompt[1]"),
        ([1, -1], "prompt[1]"),
        ([1, 2**31], "prompt[1]"),
        ([1, 1.5], "prompt[1]"),
        ([[1, 2], [3, True]], "prompt[1][1]"),
        ([""] * 129, "prompt"),
        ([[1]] * 129, "prompt"),
    ],
)
def test_a_prompt_that_is_neither_is_refused_with_its_place(prompt: Any, param: str) -> None:
    """Nothing of it reaches a worker."""
    body = json.dumps({"model": "ops", "prompt": prompt}).encode()
    with pytest.raises(errors.BadRequest) as caught:
        COMPLETION.read(body).input()
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("reader", "field", "value"),
    [
        (COMPLETION, "prompt", ["a", *[[1]] * 100_000]),
        (COMPLETION, "prompt", [1, *[[1]] * 100_000]),
        (COMPLETION, "prompt", ['"[', *[[1]] * 100_000]),
        (embedding_bodies.EMBEDDINGS, "input", [[1]] * 100_000),
        (embedding_bodies.EMBEDDINGS, "input", [{"prompt_string": "a"}] * 100_000),
        (embedding_bodies.RERANK, "documents", [{"text": "a"}] * 100_000),
    ],
    ids=lambda value: str(value)[:20],
)
def test_too_many_lists_are_refused_before_they_are_decoded(
    reader: request_bodies.Reader, field: str, value: object
) -> None:
    """Whatever comes first; two megabytes of them held up the gateway for half a second."""
    more = {"query": "x"} if reader is embedding_bodies.RERANK else {}
    raw = json.dumps(more | {field: value}).encode()
    tracemalloc.start()
    try:
        assert refused(reader, raw).param == field
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 5 * len(raw), "as lists they take more than ten times that"


def test_a_field_that_comes_twice_is_decoded_once() -> None:
    """As JSON's readers have it, the last one; the first was never counted."""
    many = b"[" + b"[1]," * 100_000 + b"[1]]"
    raw = b'{"prompt":' + many + b',"model":"ops","prompt":"x","metadata":{"a":1,"a":2}}'
    tracemalloc.start()
    try:
        body = COMPLETION.read(raw)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (body.prompt, body.metadata) == ("x", {"a": 2})
    assert most < 5 * len(raw)


def test_brackets_in_texts_are_text() -> None:
    """As many as fit; escapes end no text."""
    brackets = '[{"\\' * 5_000
    prompts = [brackets] * 2
    body = COMPLETION.read(json.dumps({"prompt": prompts}).encode())
    assert body.input().prompts == tuple(prompts)
    held = embedding_bodies.EMBEDDINGS.read(json.dumps({"input": prompts}).encode())
    assert held.input().inputs == ((brackets,), (brackets,))


def test_the_chats_own_field_is_unknown_to_completions() -> None:
    """Each endpoint knows its own."""
    error = refused(COMPLETION, json.dumps(HI | {"prompt": "x"}).encode())
    assert error.message == "Unrecognized request argument supplied: messages"


@pytest.mark.parametrize("score", [0, 2, "1", None])
def test_a_score_is_one_up_or_one_down(score: object) -> None:
    """Nothing between."""
    raw = json.dumps({"request_id": "req_1", "score": score}).encode()
    assert refused(FEEDBACK, raw).param == "score"


json_values = st.recursive(
    st.none() | st.integers() | st.text(alphabet='ab"\\[]{}é'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet='"\\[{'), inner),
    max_leaves=20,
)


def opened(value: object) -> int:
    """How many lists and objects a value is made of."""
    if isinstance(value, dict):
        return 1 + sum(map(opened, value.values()))
    return 1 + sum(map(opened, value)) if isinstance(value, list) else 0


@given(json_values)
def test_lists_and_objects_are_counted_without_those_in_texts(value: object) -> None:
    """However texts are escaped."""
    assert containers.count(msgspec.Raw(json.dumps(value).encode())) == opened(value)


def depth(value: object) -> int:
    """How many lists and objects are within each other."""
    inner = list(value.values()) if isinstance(value, dict) else value
    return 1 + max(map(depth, inner), default=0) if isinstance(inner, list) else 0


@given(json_values, st.integers(1, 4))
def test_depth_is_that_of_lists_and_objects_without_those_in_texts(
    value: object, most: int
) -> None:
    """However texts are escaped."""
    written = json.dumps(value).encode()
    assert containers.within(written, 1000, most) == (depth(value) <= most)


@given(st.lists(json_values, max_size=9), st.integers(0, 400))
def test_a_value_that_is_cut_is_as_deep_as_what_is_there(values: list[object], end: int) -> None:
    """What the end leaves open does not count twice."""
    written = json.dumps(values).encode()[:end]
    deepest = opened = 0
    texts = False
    for at, byte in enumerate(written):
        escaped = (len(written[:at]) - len(written[:at].rstrip(b"\\"))) % 2
        texts ^= byte == ord('"') and not escaped
        opened += 0 if texts else (byte in b"[{") - (byte in b"]}")
        deepest = max(deepest, opened)
    assert containers.within(written, 1000, deepest)
    assert not deepest or not containers.within(written, 1000, deepest - 1)


def test_a_field_is_searched_once_and_the_text_of_messages_not_at_all() -> None:
    """A conversation with two megabytes of code took longer to check than to decode."""
    code = "if (a[0]) { b(); } " * 1000
    chat = msgspec.json.encode(HI | {"messages": [{"role": "user", "content": code}]})
    assert calls(lambda: CHAT.read(chat), "_outside") == 0
    free = msgspec.json.encode(HI | {"metadata": {"a": [code] * 100}})
    assert calls(lambda: CHAT.read(free), "_outside") == 1


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_but_decode_or_be_refused(raw: bytes) -> None:
    """Whatever comes in."""
    with contextlib.suppress(errors.BadRequest):
        CHAT.read(raw)


def test_arguments_of_the_chat_template_are_taken_as_vllm_takes_them() -> None:
    """What the gateway itself gives to the template cannot be set."""
    reader = request_bodies.Reader(request_bodies.Chat)
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    asked = {**body, "chat_template_kwargs": {"enable_thinking": False}}
    assert reader.read(msgspec.json.encode(asked)).input().template_arguments == {
        "enable_thinking": False
    }
    wrong = {**body, "chat_template_kwargs": {"messages": []}}
    with pytest.raises(errors.BadRequest) as caught:
        reader.read(msgspec.json.encode(wrong)).input()
    assert caught.value.param == "chat_template_kwargs.messages"


@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("chat_template_kwargs", {"custom_tools": [[]] * 10_000}, "chat_template_kwargs"),
        ("prompt_variables", {"a": [{}] * 10_000}, "prompt_variables"),
        ("metadata", {"a": [[]] * 10_000}, "metadata"),
        ("tools", [[]] * 10_000, "tools"),
        ("messages", [{"role": "user", "tool_calls": [[]] * 10_000}], "messages[0].tool_calls[0]"),
    ],
)
def test_what_would_take_long_to_decode_is_refused_before_it_is(
    field: str, value: object, param: str
) -> None:
    """Two megabytes of empty lists made the gateway silent for seconds; each became an object."""
    raw = msgspec.json.encode(HI | {field: value})
    gc.collect()
    before = sys.getallocatedblocks()
    try:
        body = CHAT.read(raw)
        refusal = caught(body.input)
    except errors.BadRequest as error:
        refusal = error
    assert refusal.param == param
    assert sys.getallocatedblocks() - before < 1000


def calls(work: Callable[[], object], name: str | None = None) -> int:
    """How many functions are called, or how many of this name."""
    found = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal found
        if event in {"call", "c_call"}:
            called = frame.f_code.co_name if event == "call" else argument.__name__
            found += name in {None, called}

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return found


def test_a_message_costs_few_calls() -> None:
    """Ten thousand of them may come in one body, and nothing else happens meanwhile."""
    many = [{"role": "user", "content": ""}] * 1000
    body = CHAT.read(msgspec.json.encode(HI | {"messages": many}))
    assert calls(body.input) < 4 * len(many)


def test_messages_of_one_turn_are_joined_once() -> None:
    """Ten thousand, each joined to all before it, held up the gateway for a quarter of a second."""
    said = [{"role": "assistant", "content": "x"}] * 100
    message = msgspec.json.encode({"model": "m", "max_tokens": 1, "messages": said})
    whole = MESSAGE.read(message)
    assert calls(whole.input, "join") < 10
    assert [each.content for each in whole.input().messages] == ["\n".join("x" * 100)]
    response = RESPONSE.read(msgspec.json.encode({"model": "m", "input": said}))
    assert calls(lambda: response.conversation(()), "join") < 10
    assert [each.content for each in response.conversation(()).messages] == ["\n".join("x" * 100)]


@pytest.mark.parametrize(
    ("reader", "field", "value"),
    [
        (COMPLETION, "prompt", [1] * 1000),
        (embedding_bodies.EMBEDDINGS, "input", [1] * 1000),
        (embedding_bodies.EMBEDDINGS, "input", [*[1] * 1000, "a"]),
    ],
    ids=["prompt", "input", "mixed input"],
)
def test_tokens_cost_no_calls(reader: request_bodies.Reader, field: str, value: object) -> None:
    """A million may come in one body, and nothing else happens meanwhile."""
    body = reader.read(json.dumps({field: value}).encode())
    assert calls(body.input) < 50


def test_too_many_inputs_are_refused_before_each_is_looked_at() -> None:
    """Two megabytes of empty texts are six hundred thousand."""
    body = embedding_bodies.EMBEDDINGS.read(json.dumps({"input": [""] * 5000}).encode())

    def read() -> None:
        assert caught(body.input).param == "input"

    assert calls(read) < 100


ANYTHING: tuple[type[msgspec.Struct], ...] = (
    request_bodies.Chat,
    request_bodies.Completion,
    anthropic_bodies.Message,
    responses_bodies.Response,
)


def test_every_field_that_may_hold_anything_is_bounded() -> None:
    """In the number of lists and objects, in their depth, and in values; a new one, too."""
    deep = b"[" * 600 + b"]" * 600
    many = {"lists": b"[" + b"[]," * 50_000 + b"[]]", "values": b"[" + b"1," * 50_001 + b"1]"}
    for body in ANYTHING:
        reader = request_bodies.Reader(body)
        for field in msgspec.structs.fields(body):
            if "Any" in str(field.type) or "Tool" in str(field.type):
                for value in (deep, *many.values()):
                    raw = b'{"%b":{"a":%b}}' % (field.encode_name.encode(), value)
                    message = refused(reader, raw).message
                    choice = field.encode_name == "tool_choice"
                    assert choice or message.startswith(f"{field.encode_name} holds more")
    for reader, name in ((CHAT, "messages"), (MESSAGE, "messages"), (RESPONSE, "input")):
        raw = b'{"%b":%b}' % (name.encode(), many["lists"])
        assert refused(reader, raw).message.startswith(f"{name} holds more")
    use = b'{"type":"tool_use","id":"a","name":"f","input":{"a":%b}}' % deep
    raw = b'{"messages":[{"role":"assistant","content":[%b]}]}' % use
    assert refused(MESSAGE, raw).message.startswith("messages holds more")


def test_what_is_not_too_deep_is_held_to_its_schema() -> None:
    """Python's bound on recursion is not reached by what walks through a schema."""
    innermost: object = 1
    for _ in range(containers.DEPTH - 5):
        innermost = {"default": innermost}
    parameters = {"type": "object", "default": innermost}
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    chat = CHAT.read(msgspec.json.encode(HI | {"tools": [tool]})).input()
    schemas = {each.name: each.parameters for each in chat.tools}
    made = forced.of(families.PLAIN, schemas, thinking=False)
    assert made.grammar.count('"default"') == containers.DEPTH - 4


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"continue_final_message": True}, "continue_final_message"),
        ({"messages": BEGUN, "continue_final_message": True, "add_generation_prompt": True},
         "add_generation_prompt"),
    ],
)  # fmt: skip
def test_an_answer_begins_anew_or_goes_on(changed: dict[str, Any], param: str) -> None:
    """A body that asks for neither, or for both, is refused."""
    body = CHAT.read(json.dumps(HI | changed).encode())
    assert caught(body.input).param == param


@pytest.mark.parametrize(
    ("changed", "param"),
    [({"echo": True}, "echo"), ({"prompt": [1, 2]}, "suffix"), ({"suffix": 1}, "suffix")],
)
def test_a_suffix_goes_with_text_alone(changed: dict[str, Any], param: str) -> None:
    """An empty one is none."""
    body = {"model": "ops", "prompt": "def f(", "suffix": ")", **changed}
    with pytest.raises(errors.BadRequest) as caught:
        COMPLETION.read(json.dumps(body).encode()).input()
    assert caught.value.param == param
    empty = COMPLETION.read(b'{"model":"ops","prompt":"x","suffix":""}')
    assert empty.input().suffix == ""
