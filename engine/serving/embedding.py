"""What becomes of the inputs of embeddings and rerankings: tokens, then vectors, then a result.

Says of a request why it cannot be one, with the index of the input at fault. Never decides whose
turn it is. Imported by the embedding worker.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.serving import errors, probe, wire
from engine.serving.input_queue import Asked
from engine.serving.llama.model import Model
from engine.serving.llama.pooled_context import PooledContext
from engine.serving.llama.vocabulary import Vocabulary
from engine.serving.sequences import Class

_INT16: Final = 32_760.0
"""What llama.cpp scales the greatest value to with norm 0."""
_MARKS: Final = ("{query}", "{document}")

Floats = npt.NDArray[np.float32]


def class_of(request: wire.Embed) -> Class:
    """The class of a request."""
    return Class(min(max(request.class_, Class.INTERACTIVE), Class.BACKGROUND))


class Unembeddable(Exception):
    """A request cannot be computed; `code` and `place` as in wire.Refused."""

    def __init__(self, code: str, message: str, place: int = -1) -> None:
        super().__init__(message)
        self.code = code
        self.place = place


class Work:
    """One request under way: its vectors, as far as they were computed."""

    def __init__(self, asked: Asked, request: wire.Embed, width: int) -> None:
        self.asked = asked
        self.left = len(asked.inputs)
        self.computed_tokens = 0
        self._ranks = request.query is not None
        self._norm, self._dimensions = request.norm, request.dimensions
        self._vectors = np.empty((self.left, width), np.float32)

    def take(self, index: int, vector: Floats) -> None:
        """Keep the vector of an input."""
        self._vectors[index] = vector
        self.computed_tokens += len(self.asked.inputs[index])
        self.left -= 1

    @property
    def queue_us(self) -> int:
        """The wait before its first computation."""
        return max(0, self.asked.started_us - self.asked.arrived_us)

    def result(self) -> wire.Embedded:
        """The vectors as they were asked for."""
        vectors = self._vectors
        if not self._ranks:
            vectors = normalised(vectors[:, : self._dimensions or None], self._norm)
        return wire.Embedded(
            id=self.asked.id,
            values=vectors.astype("<f4").tobytes(),
            width=vectors.shape[1],
            tokens=tuple(map(len, self.asked.inputs)),
            queue_us=self.queue_us,
            busy_us=self.asked.busy_us,
        )

    def cancelled(self) -> wire.Finished:
        """What it has cost so far."""
        return wire.Finished(
            id=self.asked.id,
            reason="cancelled",
            prompt_tokens=self.computed_tokens,
            completion_tokens=0,
            queue_us=self.queue_us,
            ttft_us=0,
            busy_us=self.asked.busy_us,
        )


class Embedder:
    """One model and its context. An input may have `longest` tokens."""

    def __init__(self, model: Model, context: PooledContext, longest: int) -> None:
        self._vocabulary = model.vocabulary
        self._template = model.rerank_template
        self.context = context
        self.longest = longest

    def prove(self) -> None:
        """Compute one input, so that no request is the first to find out.

        Raises:
            ModelBroken: what it computes is no vector.
        """
        text = self._vocabulary.tokenise_whole(probe.TEXT)
        vectors = self.context.compute([text[: min(len(text), self.longest)] or [0]])
        if not np.isfinite(vectors).all():
            raise errors.ModelBroken("the vector of the probe is NaN or infinite")

    def work(self, request: wire.Embed, now_us: int) -> Work:
        """The work of a request.

        Raises:
            Unembeddable: it asks for something else, or an input cannot be computed.
        """
        self._check(request)
        inputs = [
            self._tokens(parts, request.query, index) for index, parts in enumerate(request.inputs)
        ]
        asked = Asked(
            id=request.id,
            class_=class_of(request),
            tenant=request.tenant,
            inputs=inputs,
            arrived_us=now_us,
            deadline_us=now_us + request.queue_us,
            further=bool(request.request),
        )
        return Work(asked, request, self.context.width)

    def _check(self, request: wire.Embed) -> None:
        ranks = request.query is not None
        if ranks is not self.context.ranks:
            does = "ranks documents" if self.context.ranks else "makes embeddings"
            raise Unembeddable("task", f"the worker {does}")
        if request.dimensions > self.context.width:
            raise Unembeddable(
                "dimensions",
                f"the vectors of the model have {self.context.width} dimensions, "
                f"{request.dimensions} were asked for",
            )

    def _tokens(self, parts: Sequence[str | int], query: str | None, index: int) -> list[int]:
        vocabulary = self._vocabulary
        texts = [part for part in parts if isinstance(part, str)]
        least = vocabulary.least([(text, False) for text in (*texts, query or "")], self.longest)
        if least > self.longest:
            raise self._too_long(f"at least {least}", index)
        unknown = [p for p in parts if not isinstance(p, str) and not 0 <= p < vocabulary.size]
        if unknown:
            what = f"the vocabulary has {vocabulary.size} tokens, and {unknown[0]} is none of them"
            raise Unembeddable("bad_token", what, index)
        if query is not None:
            tokens = pair(vocabulary, self._template, query, "".join(texts))
        else:
            tokens = single(vocabulary, parts)
        if not tokens:
            raise Unembeddable("empty", "the input holds no tokens", index)
        if len(tokens) > self.longest:
            raise self._too_long(str(len(tokens)), index)
        return tokens

    def _too_long(self, count: str, index: int) -> Unembeddable:
        what = "query and document have" if self.context.ranks else "the input has"
        message = f"{what} {count} tokens, too large for the context of {self.longest}"
        return Unembeddable("too_long", message, index)


def single(vocabulary: Vocabulary, parts: Sequence[str | int]) -> list[int]:
    """The tokens of an input; what a model puts around a text is around one that comes first.

    Token ids are taken as they are, as llama-server does it.
    """
    tokens: list[int] = []
    for place, part in enumerate(parts):
        if isinstance(part, int):
            tokens.append(part)
        elif place:
            tokens += vocabulary.tokenise_bare([(part, False)])
        else:
            tokens += vocabulary.tokenise_whole(part)
    return tokens


def pair(vocabulary: Vocabulary, template: str, query: str, document: str) -> list[int]:
    """The tokens of a query and a document, joined as llama-server joins them.

    By the model's own template, in which no control token that a client spells is parsed; else as
    [BOS] query [EOS] [SEP] document [EOS], of which each model has some.
    """
    if template:
        given = dict(zip(_MARKS, (query, document), strict=True))
        return vocabulary.tokenise_bare(_filled(template, given))
    eos = vocabulary.eos if vocabulary.eos >= 0 else vocabulary.sep
    end = [eos] if vocabulary.adds_eos and eos >= 0 else []
    return [
        *([vocabulary.bos] if vocabulary.adds_bos else []),
        *vocabulary.tokenise_bare([(query, False)]),
        *end,
        *([vocabulary.sep] if vocabulary.adds_sep else []),
        *vocabulary.tokenise_bare([(document, False)]),
        *end,
    ]


def _filled(template: str, given: dict[str, str]) -> Iterator[tuple[str, bool]]:
    """The segments of a template: its own text, and what is put in place of the marks."""
    while template:
        at, mark = min(
            ((found, each) for each in _MARKS if (found := template.find(each)) >= 0),
            default=(len(template), ""),
        )
        yield template[:at], True
        yield given.get(mark, ""), False
        template = template[at + len(mark) :]


def normalised(vectors: Floats, norm: int) -> Floats:
    """Vectors (inputs, width) scaled as `wire.Embed.norm` says; a vector of zeros stays one."""
    if norm < 0:
        return vectors
    exact = vectors.astype(np.float64)  # the 64th power of a small number is 0 as float32
    if norm == 0:
        size = np.abs(exact).max(axis=1) / _INT16
    else:
        size = np.linalg.norm(exact, ord=norm, axis=1)
    scale = np.divide(1.0, size, out=np.zeros_like(size), where=size > 0)
    scaled: Floats = (exact * scale[:, None]).astype(np.float32)
    return scaled
