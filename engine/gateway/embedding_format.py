"""The documents of embeddings and rerankings, written piece by piece.

Imported by `engine.gateway.embeddings`.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from engine.execution.answers import Answer
from engine.gateway.formats import Document, Head

_FLOAT_BYTES: Final = 4
_encode: Final = msgspec.json.Encoder().encode


class EmbeddingFormat(Document):
    """The answer to POST /v1/embeddings."""

    def __init__(self, head: Head, *, as_base64: bool) -> None:
        """Vectors are lists of numbers, or the base64 of their little-endian float32."""
        self._head = head
        self._as_base64 = as_base64

    def pieces(self, answer: Answer) -> Iterator[bytes]:
        """One piece for each vector."""
        assert answer.vectors is not None  # noqa: S101 the job was answered
        values, size = answer.vectors.values, answer.vectors.width * _FLOAT_BYTES
        yield b'{"object":"list","data":['
        for index, at in enumerate(range(0, len(values), size)):
            raw = values[at : at + size]
            written = b'"%b"' % base64.b64encode(raw) if self._as_base64 else _encode(_floats(raw))
            comma = b"," if index else b""
            yield b'%b{"object":"embedding","index":%d,"embedding":%b}' % (comma, index, written)
        usage = _encode(_usage(answer))
        yield b'],"model":%b,"usage":%b}' % (_encode(self._head.model), usage)


class RerankFormat(Document):
    """The answer to POST /v1/rerank: the documents by their scores, the best first."""

    def __init__(
        self, head: Head, *, top: int | None, documents: Sequence[str] | None, bare: bool
    ) -> None:
        """At most `top` of them, with their texts where `documents` is given.

        `bare` is the form of text-embeddings-inference: the list alone.
        """
        self._head = head
        self._top = top
        self._documents = documents
        self._bare = bare

    def pieces(self, answer: Answer) -> Iterator[bytes]:
        """All in one."""
        assert answer.vectors is not None  # noqa: S101 the job was answered
        scores = _floats(answer.vectors.values)
        best = sorted(range(len(scores)), key=lambda index: -scores[index])[: self._top]
        results = [self._result(index, scores[index]) for index in best]
        if self._bare:
            yield _encode(results)
            return
        yield _encode(
            {
                "id": f"rerank-{self._head.id}",
                "object": "list",
                "model": self._head.model,
                "usage": _usage(answer),
                "results": results,
            }
        )

    def _result(self, index: int, score: float) -> dict[str, Any]:
        result: dict[str, Any] = {
            "index": index,
            "score" if self._bare else "relevance_score": score,
        }
        if self._documents is not None:
            text = self._documents[index]
            result |= {"text": text} if self._bare else {"document": {"text": text}}
        return result


def _floats(raw: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(raw) // _FLOAT_BYTES}f", raw)


def _usage(answer: Answer) -> dict[str, int]:
    return {"prompt_tokens": answer.prompt_tokens, "total_tokens": answer.prompt_tokens}
