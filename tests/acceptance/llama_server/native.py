"""llama-server's own POST /completion, asked of /v1/completions and answered from it.

Fields have their other names, and texts become tokens where /v1/completions takes no mixture of
both. An answer has what the gateway says and nothing else: no `generation_settings`, because its
answers do not repeat the settings, and no counts of single prompts where several came. A field
without a counterpart is passed on, so that the gateway refuses it by name. Imported by the door.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

PATHS: Final = ("/completion", "/completions")
_ID: Final = "token_id:"
_PROMPT: Final = "prompt_string"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What turns texts into tokens and back, by asking the gateway `(path, body)`."""

    ask: Callable[[str, Mapping[str, Any]], Any]

    def tokens(self, text: str, *, bos: bool) -> list[int]:
        """The tokens of a text."""
        found: list[int] = self.ask("/tokenize", {"content": text, "add_special": bos})["tokens"]
        return found

    def token(self, id: int) -> dict[str, Any]:
        """A token as llama-server shows it; without bytes where they are no text by themselves."""
        text = self.ask("/detokenize", {"tokens": [id]})["content"]
        whole = {} if "\ufffd" in text else {"bytes": list(text.encode())}
        return {"id": id, "token": text, **whole}


@dataclass(frozen=True, slots=True)
class Asked:
    """The body for /v1/completions, and what the answer is to have.

    `limit` is the most tokens that were asked for, None for as many as the service gives.
    """

    body: dict[str, Any]
    several: bool
    probabilities: bool
    tokens: bool
    limit: int | None


def asked(body: Mapping[str, Any], vocabulary: Vocabulary) -> Asked:
    """A body for /completion in the words of /v1/completions."""
    left = dict(body)
    several, prompt = _prompt(left.pop("prompt", None), vocabulary)
    limit = _amount(left.pop("n_predict", None))
    probabilities = left.pop("n_probs", 0)
    tokens = left.pop("return_tokens", False)
    stream = bool(left.get("stream"))
    if _amount(left.get("seed")) is None:
        left.pop("seed", None)
    if "logit_bias" in left:
        left["logit_bias"] = _biases(left["logit_bias"], vocabulary)
    if limit is not None:
        left["max_tokens"] = limit
    if stream or tokens or probabilities:
        left |= {"logprobs": probabilities, "return_tokens_as_token_ids": True}
    if stream:
        left["stream_options"] = {"include_usage": True}
    left |= {"prompt": prompt, "timings_per_token": True}
    return Asked(left, several, bool(probabilities), bool(tokens), limit)


def _amount(value: Any) -> int | None:
    """A number; -1 is none."""
    number: int | None = None if value == -1 else value
    return number


def _prompt(prompt: Any, vocabulary: Vocabulary) -> tuple[bool, Any]:
    """Whether there are several, and the prompt or all of them."""
    if not isinstance(prompt, list) or any(isinstance(part, int) for part in prompt):
        return False, _one(prompt, vocabulary)
    found = [_one(each, vocabulary) for each in prompt]
    if not all(isinstance(each, str) for each in found):
        found = [
            vocabulary.tokens(each, bos=True) if isinstance(each, str) else each for each in found
        ]
    return len(found) > 1, found


def _one(prompt: Any, vocabulary: Vocabulary) -> Any:
    """One prompt: a text, or the tokens of a list of texts and tokens."""
    if isinstance(prompt, dict) and prompt.keys() == {_PROMPT}:
        return prompt[_PROMPT]
    if not isinstance(prompt, list):
        return prompt
    found: list[Any] = []
    for place, part in enumerate(prompt):
        found += vocabulary.tokens(part, bos=not place) if isinstance(part, str) else [part]
    return found


def _biases(biases: Any, vocabulary: Vocabulary) -> dict[str, Any]:
    """By token: a text's bias is that of each of its tokens."""
    pairs = biases.items() if isinstance(biases, dict) else biases
    found: dict[str, Any] = {}
    for key, bias in pairs:
        text = isinstance(key, str) and not key.isdecimal()
        tokens = vocabulary.tokens(key, bos=False) if text else [key]
        found |= {str(token): bias for token in tokens}
    return found


def answer(asked: Asked, document: Mapping[str, Any], vocabulary: Vocabulary) -> Any:
    """The answer to /completion: one, or a list of those to several prompts."""
    found = []
    for choice in document["choices"]:
        tokens = _tokens(choice) if asked.tokens else []
        one: dict[str, Any] = {"content": choice["text"], "tokens": tokens}
        if asked.probabilities:
            one["completion_probabilities"] = _probabilities(choice, vocabulary)
        found.append(one | _end(asked, document, choice, choice["text"]))
    return found if asked.several else found[0]


def events(
    asked: Asked, chunks: Iterable[Mapping[str, Any]], vocabulary: Vocabulary
) -> Iterator[dict[str, Any]]:
    """The events of a streamed /completion with one prompt, from the chunks of /v1/completions."""
    content = ""
    ended: Mapping[str, Any] = {}
    for chunk in chunks:
        if "error" in chunk:
            yield dict(chunk)
            return
        for choice in chunk["choices"]:
            content += choice["text"]
            if choice["finish_reason"] is not None:
                ended = choice
            else:
                yield from _gained(asked, choice, vocabulary)
        if not chunk["choices"]:
            yield {"content": "", "tokens": [], **_end(asked, chunk, ended, content)}


def _gained(
    asked: Asked, choice: Mapping[str, Any], vocabulary: Vocabulary
) -> Iterator[dict[str, Any]]:
    """What a chunk adds; with probabilities an event for each of its tokens, the text last."""
    tokens, head = _tokens(choice), {"index": choice["index"], "stop": False}
    if not asked.probabilities:
        yield {**head, "content": choice["text"], "tokens": tokens}
        return
    for place, one in enumerate(_probabilities(choice, vocabulary), 1):
        text = choice["text"] if place == len(tokens) else ""
        yield {**head, "content": text, "tokens": [one["id"]], "completion_probabilities": [one]}


def _end(
    asked: Asked, document: Mapping[str, Any], choice: Mapping[str, Any], content: str
) -> dict[str, Any]:
    """Why a choice ended, and what it took.

    A stop string and the model's own end are one reason in OpenAI's terms. Which
    it was is known only where no stop string was asked for.
    """
    end: dict[str, Any] = {
        "index": choice["index"],
        "stop": True,
        "model": document["model"],
        "has_new_line": "\n" in content,
    }
    long = choice["finish_reason"] == "length"
    if long or not asked.body.get("stop"):
        end["stop_type"] = "limit" if long else "eos"
    if asked.several:
        return end
    predicted = document["usage"]["completion_tokens"]
    if not long or asked.limit is not None:
        end["truncated"] = long and predicted < (asked.limit or 0)
    return end | {
        "tokens_predicted": predicted,
        "tokens_evaluated": document["usage"]["prompt_tokens"],
        "timings": document["timings"],
    }


def _tokens(choice: Mapping[str, Any]) -> list[int]:
    """The ids of the tokens of a choice or a chunk."""
    named = choice["logprobs"]["tokens"] if choice["logprobs"] else []
    return [int(name.removeprefix(_ID)) for name in named]


def _probabilities(choice: Mapping[str, Any], vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """Each token with its log-probability, and those of the most likely ones."""
    told = choice["logprobs"]
    if not told:
        return []

    def one(name: str, logprob: float) -> dict[str, Any]:
        return {**vocabulary.token(int(name.removeprefix(_ID))), "logprob": logprob}

    return [
        {**one(name, logprob), "top_logprobs": [one(*each) for each in top.items()]}
        for name, logprob, top in zip(
            told["tokens"], told["token_logprobs"], told["top_logprobs"], strict=True
        )
    ]
