"""POST /v1/embeddings and /v1/rerank: a vector of each input, or how relevant documents are.

Requests for them are planned, executed and recorded as those for text are. Imported by the routes.
"""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from engine.execution.job import Job
from engine.gateway import completions, embedding_bodies
from engine.gateway.context import Context
from engine.gateway.embedding_format import EmbeddingFormat, RerankFormat
from engine.gateway.formats import Document, Head

RERANK_PATHS: Final = (
    "/v1/rerank", "/v2/rerank", "/rerank", "/v1/reranking", "/reranking",
)  # fmt: skip
"""Where the clients of Jina, Cohere, text-embeddings-inference and llama-server ask."""


async def create(context: Context, request: Request) -> Response:
    """POST /v1/embeddings."""

    def format(head: Head, body: embedding_bodies.Embeddings, _: Job) -> Document:
        return EmbeddingFormat(head, as_base64=body.encoding_format == "base64")

    return await completions.complete(context, request, embedding_bodies.EMBEDDINGS, format)


async def rerank(context: Context, request: Request) -> Response:
    """POST /v1/rerank, and the other paths under which clients look for it."""

    def format(head: Head, body: embedding_bodies.Rerank, _: Job) -> Document:
        bare = body.texts is not None
        returned = body.return_text if bare else body.return_documents
        return RerankFormat(
            head, top=body.top_n, documents=body.given if returned else None, bare=bare
        )

    return await completions.complete(context, request, embedding_bodies.RERANK, format)
