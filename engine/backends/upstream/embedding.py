"""Embeddings and rerankings: the requests to a server, and its answers as vectors.

OpenAI's form of embeddings, which vLLM, SGLang, llama-server and cloud endpoints answer, and Jina's
of rerankings, which they and Cohere answer; SGLang's bare list is read, too. Vectors are passed on
unchanged. Pure. Imported by its neighbours.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final

import msgspec

from engine.backends.upstream import faults, maker
from engine.backends.upstream.request import Call
from engine.execution import failures
from engine.execution.job import Embed, Finished, Job, Rerank, Vectors

PART: Final = 64
"""Inputs per request: some servers take no more, and the size of an answer is limited."""
EMBEDDINGS: Final = "embeddings"
RERANK: Final = "rerank"
_FLOAT_BYTES: Final = 4
_NORM: Final = 2
_LIKE_LLAMA: Final = frozenset({maker.LLAMA, maker.PADDOCK})

_Place = Annotated[int, msgspec.Meta(ge=0)]
_Tokens = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class _Usage(msgspec.Struct):
    prompt_tokens: _Tokens = 0
    total_tokens: _Tokens = 0


class _Embedding(msgspec.Struct):
    index: _Place
    embedding: str | list[float]


class _Embedded(msgspec.Struct):
    data: list[_Embedding]
    usage: _Usage | None = None


class _Score(msgspec.Struct):
    index: _Place
    relevance_score: float | None = None
    score: float | None = None


class _Ranked(msgspec.Struct):
    results: list[_Score]
    usage: _Usage | None = None


_embedded: Final = msgspec.json.Decoder(_Embedded)
_ranked: Final = msgspec.json.Decoder(_Ranked | list[_Score])


def calls(input: Embed | Rerank, *, model: str, made_by: str) -> Iterator[Call]:
    """The requests for a job, each for some of its inputs in their order.

    Raises:
        failures.Invalid: the server does not take a form or a setting that would change the answer.
    """
    if isinstance(input, Rerank):
        for at in range(0, len(input.documents), PART):
            documents = input.documents[at : at + PART]
            ranked = {"model": model, "query": input.query, "documents": documents}
            yield Call(RERANK, msgspec.json.encode(ranked))
        return
    fields: dict[str, Any] = {"model": model, "encoding_format": "base64"}
    if input.dimensions:
        fields["dimensions"] = input.dimensions
    if input.norm != _NORM:
        if made_by not in _LIKE_LLAMA:
            raise _unsupported("embd_normalize", made_by)
        fields["embd_normalize"] = input.norm
    written = [_written(parts, at, made_by) for at, parts in enumerate(input.inputs)]
    for at in range(0, len(written), PART):
        body = {**fields, "input": written[at : at + PART]}
        yield Call(EMBEDDINGS, msgspec.json.encode(body))


def needs_maker(input: Embed | Rerank) -> bool:
    """Whether the requests depend on the server."""
    if isinstance(input, Rerank):
        return False
    mixed = (len({type(part) for part in parts}) > 1 or not parts for parts in input.inputs)
    return input.norm != _NORM or any(mixed)


def read(upstream: str, input: Embed | Rerank, count: int, body: bytes) -> tuple[list[bytes], int]:
    """The values of `count` inputs, as float32 each, and their prompt tokens, 0 if unknown.

    Raises:
        failures.Failure: the answer reports an error, or is not what was asked for.
    """
    try:
        if isinstance(input, Rerank):
            ranked = _ranked.decode(body)
            results = ranked if isinstance(ranked, list) else ranked.results
            found = [(each.index, _score(each)) for each in results]
            usage = None if isinstance(ranked, list) else ranked.usage
        else:
            embedded = _embedded.decode(body)
            found = [(each.index, _vector(each.embedding)) for each in embedded.data]
            usage = embedded.usage
    except (
        msgspec.MsgspecError, UnicodeDecodeError, RecursionError, binascii.Error, struct.error,
        ValueError, OverflowError,
    ) as error:  # fmt: skip
        if (complaint := faults.read(body)).message:
            raise faults.inside(upstream, complaint) from error
        raise faults.malformed(
            upstream, f"its answer violates the API ({str(error)[:200]})"
        ) from error
    values = dict(found)
    sizes = {len(value) for value in values.values()}
    if values.keys() != set(range(count)) or len(sizes) != 1 or not sizes - {0}:
        raise faults.malformed(
            upstream, f"its answer does not hold one vector for each of the {count} inputs"
        )
    tokens = 0 if usage is None else usage.prompt_tokens or usage.total_tokens
    return [values[index] for index in range(count)], tokens


def vectors(upstream: str, values: Sequence[bytes]) -> Vectors:
    """The event of all values.

    Raises:
        failures.Broken: they differ in length.
    """
    sizes = sorted({len(value) // _FLOAT_BYTES for value in values})
    if len(sizes) != 1:
        raise faults.malformed(
            upstream, f"its vectors have {sizes[0]} values in one answer and {sizes[-1]} in another"
        )
    return Vectors(b"".join(values), sizes[0])


def finished(tokens: int, *, queue_us: int, instance: str) -> Finished:
    """The end of the job."""
    return Finished(0, "stop", tokens, 0, queue_us, 0, instance)


def blameless(failure: failures.Failure, job: Job) -> failures.Failure:
    """A refusal that does not count against the release.

    Its server may not compute embeddings at all, and clients could otherwise make a chat release
    fail by asking it for them.
    """
    refused = failure.code in {"upstream_refused", "upstream_model_unknown"}
    if not refused:
        return failure
    path = "v1/rerank" if isinstance(job.input, Rerank) else "v1/embeddings"
    return failures.Invalid(
        f"{failure.message}; does its model answer {path}?", code="unsupported_task", param="model"
    )


def _written(parts: Sequence[str | int], at: int, made_by: str) -> object:
    """An input as the server takes it: a text, token ids, or for llama-server both."""
    if len(parts) == 1 and isinstance(parts[0], str):
        return parts[0]
    if not all(isinstance(part, int) for part in parts) and made_by not in _LIKE_LLAMA:
        raise _unsupported(f"input[{at}]", made_by)
    return list(parts)


def _vector(given: str | list[float]) -> bytes:
    if isinstance(given, list):
        return struct.pack(f"<{len(given)}f", *given)
    raw = base64.b64decode(given, validate=True)
    if len(raw) % _FLOAT_BYTES:
        raise ValueError("a vector is cut")
    if not math.isfinite(sum(struct.unpack(f"<{len(raw) // _FLOAT_BYTES}f", raw))):
        raise ValueError("a vector has a value that is NaN or infinite")
    return raw


def _score(given: _Score) -> bytes:
    score = given.score if given.relevance_score is None else given.relevance_score
    if score is None:
        raise ValueError("a result has no score")
    return struct.pack("<f", score)


def _unsupported(field: str, made_by: str) -> failures.Failure:
    what = made_by or "a server that does not say what it is"
    return failures.Invalid(
        f"the release is answered by {what}, which cannot be sent {field} in this form",
        code="unsupported_parameter",
        param=field,
    )
