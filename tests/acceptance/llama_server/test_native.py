"""llama-server's completion in the words of /v1/completions, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.acceptance.llama_server import native

HEAD = {"model": "ops"}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2}
TIMINGS = {"prompt_n": 3, "predicted_n": 2}


def ask(path: str, body: Mapping[str, Any]) -> Any:
    """A gateway whose tokens are characters, after the BOS 1."""
    if path == "/tokenize":
        bos = [1] if body["add_special"] else []
        return {"tokens": bos + [ord(each) for each in body["content"]]}
    return {"content": "".join(map(chr, body["tokens"]))}


VOCABULARY = native.Vocabulary(ask)


@pytest.mark.parametrize(
    ("prompt", "several", "translated"),
    [
        ("a", False, "a"),
        ({"prompt_string": "a"}, False, "a"),
        ([5, 6], False, [5, 6]),
        (["a", "b"], True, ["a", "b"]),
        ([[5], "a", {"prompt_string": "b"}], True, [[5], [1, 97], [1, 98]]),
        (["a", 5, "b"], False, [1, 97, 5, 98]),
        ({"prompt_string": "a", "multimodal_data": "x"}, False,
         {"prompt_string": "a", "multimodal_data": "x"}),
    ],
)  # fmt: skip
def test_prompts_of_every_form(prompt: Any, several: bool, translated: Any) -> None:
    """What mixes texts and tokens becomes tokens; what has no counterpart is left to be refused."""
    asked = native.asked({"prompt": prompt}, VOCABULARY)
    assert (asked.several, asked.body["prompt"]) == (several, translated)


def test_fields_have_their_other_names() -> None:
    """-1 is what the service has; a bias on a text is one on its tokens."""
    asked = native.asked(
        {
            "prompt": "a", "n_predict": 4, "seed": -1, "ignore_eos": True, "top_k": 7,
            "logit_bias": [["ab", -100], [9, 1]], "post_sampling_probs": True,
        },
        VOCABULARY,
    )  # fmt: skip
    assert asked.body == {
        "prompt": "a", "max_tokens": 4, "ignore_eos": True, "top_k": 7, "timings_per_token": True,
        "logit_bias": {"97": -100, "98": -100, "9": 1}, "post_sampling_probs": True,
    }  # fmt: skip
    assert "max_tokens" not in native.asked({"prompt": "a", "n_predict": -1}, VOCABULARY).body


def test_an_answer_has_what_the_gateway_says() -> None:
    """No settings; of a stop string or the model's end only where it can be told which."""
    choice = {"index": 0, "text": "b\n", "logprobs": None, "finish_reason": "stop"}
    document = {**HEAD, "choices": [choice], "usage": USAGE, "timings": TIMINGS}
    asked = native.asked({"prompt": "a"}, VOCABULARY)
    whole = {
        "index": 0, "content": "b\n", "tokens": [], "stop": True, "model": "ops",
        "has_new_line": True, "truncated": False, "tokens_predicted": 2, "tokens_evaluated": 3,
        "timings": TIMINGS,
    }  # fmt: skip
    assert native.answer(asked, document, VOCABULARY) == {**whole, "stop_type": "eos"}
    stopped = native.asked({"prompt": "a", "stop": ["x"]}, VOCABULARY)
    assert native.answer(stopped, document, VOCABULARY) == whole


def test_a_stream_has_an_event_for_each_token_with_probabilities() -> None:
    """And one at the end, which has the counts."""
    told = {
        "tokens": ["token_id:98", "token_id:99"], "token_logprobs": [-0.1, -0.2],
        "top_logprobs": [{"token_id:98": -0.1}, {"token_id:99": -0.2}],
    }  # fmt: skip
    gained = {"index": 0, "text": "bc", "logprobs": told, "finish_reason": None}
    end = {"index": 0, "text": "", "logprobs": None, "finish_reason": "length"}
    chunks: list[dict[str, Any]] = [
        {**HEAD, "choices": [gained]},
        {**HEAD, "choices": [end]},
        {**HEAD, "choices": [], "usage": USAGE, "timings": TIMINGS},
    ]
    asked = native.asked({"prompt": "a", "stream": True, "n_probs": 1, "n_predict": 2}, VOCABULARY)
    *events, last = native.events(asked, chunks, VOCABULARY)
    assert [(event["content"], event["tokens"]) for event in events] == [("", [98]), ("bc", [99])]
    c = {"id": 99, "token": "c", "bytes": [99], "logprob": -0.2}
    assert events[1]["completion_probabilities"] == [{**c, "top_logprobs": [c]}]
    assert (last["stop"], last["stop_type"], last["truncated"]) == (True, "limit", False)
    assert (last["tokens_predicted"], last["timings"]) == (2, TIMINGS)
