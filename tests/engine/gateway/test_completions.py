"""POST /v1/completions with prompts of every kind: texts and tokens, one and several."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.engine.gateway import gateway_processes
from tests.engine.gateway.gateway_processes import ENGINE, Stack
from tests.home_fixtures import WEIGHTS

if not WEIGHTS.exists():
    pytest.skip("the shipped model is not here", allow_module_level=True)

ORDER = "Notes: order 17 is late. The status of order 17 is"
NOTE = "Notes: order 23 shipped on Friday."
ROUNDING = 0.05
"""Of the same tokens in steps of other sizes, which libllama computes with other kernels."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for this module."""
    with gateway_processes.serving(tmp_path_factory.mktemp("gateway") / "home") as made:
        yield made


def said(stack: Stack, prompt: Any, **body: Any) -> Any:
    """What the gateway answers to a prompt."""
    asked = {"model": "raw", "prompt": prompt, "temperature": 0, "max_tokens": 6, **body}
    with stack.http() as http:
        return http.post("/v1/completions", json=asked).json()


def chunks(stack: Stack, prompt: Any, **body: Any) -> list[Any]:
    """The choices of a streamed answer's events."""
    asked = {"model": "raw", "prompt": prompt, "temperature": 0, "max_tokens": 6, "stream": True}
    with stack.http() as http:
        lines = http.post("/v1/completions", json={**asked, **body}).text.splitlines()
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: {")]
    return [choice for each in data for choice in json.loads(each)["choices"]]


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
    """Tokens cannot be joined to it, and it is not shown to who asks for the prompt."""
    assert texts(said(stack, ORDER, model="ops", user="sara"))
    refused: list[tuple[dict[str, Any], str]] = [
        ({"prompt": [5, 6]}, "prompt"),
        ({"prompt": "x", "echo": True}, "echo"),
        ({"prompt": "x", "prompt_logprobs": 0}, "prompt_logprobs"),
    ]
    for body, param in refused:
        error = said(stack, **body, model="ops", user="sara")["error"]
        assert (error["code"], error["param"]) == ("unsupported_parameter", param)


def test_a_prompt_comes_back_before_its_answers(stack: Stack) -> None:
    """Whole and streamed, for each choice of each prompt, beside the same answers as without."""
    plain = said(stack, [ORDER, NOTE], n=2)
    echoed = said(stack, [ORDER, NOTE], n=2, echo=True)
    prompts = [ORDER, ORDER, NOTE, NOTE]
    assert texts(echoed) == [p + t for p, t in zip(prompts, texts(plain), strict=True)]
    assert echoed["usage"] | {"prompt_tokens_details": {}} == plain["usage"] | {
        "prompt_tokens_details": {}
    }
    streamed: dict[int, str] = {}
    for choice in chunks(stack, [ORDER, NOTE], n=2, echo=True):
        streamed[choice["index"]] = streamed.get(choice["index"], "") + choice["text"]
    assert [streamed[index] for index in range(4)] == texts(echoed)


def test_the_tokens_of_a_prompt_have_log_probabilities(stack: Stack) -> None:
    """All but the first; the texts and offsets of all spell prompt and answer."""
    prompt = ORDER + " Ünïcode 漢字 🐎"
    answer = said(stack, prompt, echo=True, logprobs=2, max_tokens=8)
    (choice,), usage = answer["choices"], answer["usage"]
    found = choice["logprobs"]
    assert found["token_logprobs"][0] is None
    assert found["top_logprobs"][0] is None
    assert all(value < 0 for value in found["token_logprobs"][1:])
    assert [len(top) for top in found["top_logprobs"][1:]] == [2] * (len(found["tokens"]) - 1)
    assert len(found["tokens"]) == usage["total_tokens"]
    for at, token in zip(found["text_offset"], found["tokens"], strict=True):
        if not token.startswith("bytes:") and at < len(choice["text"]):
            assert choice["text"].startswith(token, at)
    ids = tokens(stack, prompt)
    by_ids = said(stack, [ids], echo=True, logprobs=2, max_tokens=8)["choices"][0]
    assert by_ids["text"] == choice["text"]
    assert by_ids["logprobs"]["text_offset"] == found["text_offset"]
    assert by_ids["logprobs"]["token_logprobs"][1:] == pytest.approx(
        found["token_logprobs"][1:], abs=ROUNDING
    )
    streamed = [
        each["logprobs"] for each in chunks(stack, prompt, echo=True, logprobs=2, max_tokens=8)
    ]
    told = [each for each in streamed if each]
    for part in ("tokens", "text_offset"):
        assert [one for each in told for one in each[part]] == found[part]


def test_a_prompt_is_scored_by_the_ids_of_its_tokens(stack: Stack) -> None:
    """As vLLM answers `prompt_logprobs`: the figures of `echo`, without the prompt in the text."""
    ids = tokens(stack, ORDER)
    (echoed,) = said(stack, ORDER, echo=True, logprobs=3)["choices"]
    (choice,) = said(stack, ORDER, prompt_logprobs=2)["choices"]
    first, *told = choice["prompt_logprobs"]
    assert first is None
    chosen = [each[str(id)] for each, id in zip(told, ids[1:], strict=True)]
    assert [one["logprob"] for one in chosen] == pytest.approx(
        echoed["logprobs"]["token_logprobs"][1 : len(ids)], abs=ROUNDING
    )
    assert all({1, 2} <= {one["rank"] for one in each.values()} for each in told)
    assert (choice["logprobs"], ORDER + choice["text"]) == (None, echoed["text"])
    both = said(stack, ORDER, echo=True, logprobs=0, prompt_logprobs=2, max_tokens=0)["choices"][0]
    assert [set(each) for each in both["prompt_logprobs"][1:]] == [set(each) for each in told]
    assert (both["text"], both["logprobs"]["top_logprobs"]) == (ORDER, None)


def test_a_conversation_is_scored_as_its_template_renders_it(stack: Stack) -> None:
    """Its control tokens, too; the figures are beside the choices."""
    asked = {"model": "raw", "messages": [{"role": "user", "content": ORDER}]}
    scored = {**asked, "prompt_logprobs": 0, "n": 2, "max_tokens": 2}
    with stack.http() as http:
        answer = http.post("/v1/chat/completions", json=scored)
        ids = http.post("/tokenize", json=asked).json()["tokens"]
    told = answer.json()["prompt_logprobs"]
    assert [each and list(each) for each in told] == [None, *([str(id)] for id in ids[1:])]
    assert {"prompt_logprobs"}.isdisjoint(answer.json()["choices"][0])
    assert answer.json()["usage"]["prompt_tokens"] == len(ids)


def test_tokens_are_named_by_their_ids(stack: Stack) -> None:
    """Those of the answer and of the prompt before it, its first, too."""
    answer = said(stack, ORDER, echo=True, logprobs=1, return_tokens_as_token_ids=True)
    named = answer["choices"][0]["logprobs"]["tokens"]
    ids = [int(name.removeprefix("token_id:")) for name in named]
    assert ids[: len(tokens(stack, ORDER))] == tokens(stack, ORDER)
    with stack.http() as http:
        spelled = http.post("/detokenize", json={"model": "raw", "tokens": ids}).json()["prompt"]
    assert spelled.removesuffix("<|im_end|>") == answer["choices"][0]["text"]


def test_a_prompt_is_scored_without_an_answer(stack: Stack) -> None:
    """`max_tokens` 0: the figures that the same tokens had when they were generated."""
    answer = said(stack, ORDER, logprobs=0, max_tokens=12)["choices"][0]
    generated = answer["logprobs"]["token_logprobs"]
    before = len(tokens(stack, ORDER))
    ids = tokens(stack, ORDER + answer["text"])
    scored = said(stack, [ids, ids[:1]], echo=True, logprobs=1, max_tokens=0)
    whole, first = scored["choices"]
    assert whole["text"] == ORDER + answer["text"]
    assert (whole["finish_reason"], whole["index"], first["index"]) == ("length", 0, 1)
    values = whole["logprobs"]["token_logprobs"]
    assert len(values) == len(ids)
    assert values[before:] == pytest.approx(generated[: len(ids) - before], abs=ROUNDING)
    tops = whole["logprobs"]["top_logprobs"][before:]
    assert [max(top.values()) for top in tops] == values[before:], "it was generated greedily"
    assert first["logprobs"]["token_logprobs"] == [None]
    assert scored["usage"]["prompt_tokens"] == len(ids) + 1
    assert scored["usage"]["completion_tokens"] == 0


def test_a_scored_prompt_is_recorded_as_a_request(stack: Stack) -> None:
    """Under the endpoint's own path, with its tokens and what it cost, and no completion."""
    asked = {"model": "raw", "prompt": ORDER, "echo": True, "logprobs": 1, "max_tokens": 0}
    with stack.http() as http:
        answer = http.post("/services/raw/v1/completions", json=asked).json()
    id = f"req_{answer['id'].partition('-')[2]}"
    with stack.http("operator") as http:  # feedback waits for the record
        http.post("/v1/feedback", json={"request_id": id, "score": 1}).raise_for_status()
    with closing(sqlite3.connect(stack.home.database)) as store:
        (row,) = store.execute(
            "SELECT endpoint, outcome, prompt_tokens, completion_tokens, busy_us > 0 "
            "FROM requests WHERE id = ?", (id,)
        )  # fmt: skip
    assert row == ("/v1/completions", "ok", answer["usage"]["prompt_tokens"], 0, 1)


def test_prompts_of_a_request_share_their_beginning(stack: Stack) -> None:
    """The figures of each are its own; only one of them computes what all have in common."""
    context = "Customers and their orders. " * 8
    asked = [context + each for each in (ORDER, NOTE, "", ORDER)]
    alone = [said(stack, each, echo=True, logprobs=1, max_tokens=0) for each in asked]
    fresh = [f"Again: {each}" for each in asked]
    together = said(stack, fresh, echo=True, logprobs=1, max_tokens=0)
    whole = [said(stack, each, echo=True, logprobs=1, max_tokens=0) for each in fresh]
    assert texts(together) == fresh
    for choice, other in zip(together["choices"], whole, strict=True):
        mine, own = choice["logprobs"], other["choices"][0]["logprobs"]
        assert mine["tokens"] == own["tokens"]
        assert mine["token_logprobs"][1:] == pytest.approx(own["token_logprobs"][1:], abs=ROUNDING)
    cached = together["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert cached > together["usage"]["prompt_tokens"] / 2
    assert alone[1]["usage"]["prompt_tokens_details"]["cached_tokens"] > 0


def test_an_end_has_its_log_probability_after_a_scored_prompt(stack: Stack) -> None:
    """Evaluation harnesses cut the last one off, whatever was generated."""
    ended = next(
        choice
        for seed in range(40)
        for choice in said(
            stack, f"{NOTE} Thank you.", echo=True, logprobs=1, max_tokens=40, n=4, seed=seed * 4,
            temperature=1,
        )["choices"]
        if choice["finish_reason"] == "stop"
    )  # fmt: skip
    spelled = "".join(ended["logprobs"]["tokens"][:-1])
    assert spelled == ended["text"]


@pytest.mark.parametrize(
    ("changed", "code", "param"),
    [
        ({"max_tokens": 0}, "invalid_value", "max_tokens"),
        ({"max_tokens": -1, "echo": True}, "invalid_value", "max_tokens"),
        ({"prompt": [[5], [6] * 513], "echo": True}, "context_length_exceeded", "prompt[1]"),
        ({"prompt": [5] * 512, "echo": True}, "context_length_exceeded", "prompt"),
        ({"prompt": [[5], [1_000_000]], "echo": True}, "invalid_value", "prompt[1][0]"),
        ({"prompt": "", "echo": True, "max_tokens": 0}, "empty_prompt", "prompt"),
        ({"logprobs": 21, "echo": True}, "invalid_value", "logprobs"),
        ({"prompt_logprobs": 21}, "invalid_value", "prompt_logprobs"),
        ({"prompt_logprobs": 1, "stream": True}, "invalid_value", "prompt_logprobs"),
        ({"suffix": " late."}, "unsupported_parameter", "suffix"),
    ],
)
def test_what_a_prompt_cannot_have_is_refused(
    stack: Stack, changed: dict[str, Any], code: str, param: str
) -> None:
    """With the field; the gateway serves on."""
    error = said(stack, **{"prompt": ORDER, **changed})["error"]
    assert (error["code"], error["param"]) == (code, param)
    assert texts(said(stack, [5] * 512, echo=True, max_tokens=0))
