"""POST /v1/messages and /v1/messages/count_tokens: Anthropic's clients at the same services.

Imported by the routes.
"""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from engine.execution.job import Job
from engine.gateway import anthropic_bodies, completions, request_bodies, tokens
from engine.gateway.anthropic_format import DIALECT, MessageFormat
from engine.gateway.context import Context
from engine.gateway.formats import Format, Head

_MESSAGE: Final = request_bodies.Reader(
    anthropic_bodies.Message,
    ignored=anthropic_bodies.IGNORED,
    unchanging=anthropic_bodies.UNCHANGING,
)
_COUNT: Final = request_bodies.Reader(
    anthropic_bodies.TokenCount,
    ignored=anthropic_bodies.IGNORED,
    unchanging=anthropic_bodies.UNCHANGING,
)


async def create(context: Context, request: Request) -> Response:
    """POST /v1/messages."""

    def format(head: Head, body: anthropic_bodies.Message, _: Job) -> Format:
        return MessageFormat(head, thoughts=body.shows_thoughts)

    response = await completions.complete(context, request, _MESSAGE, format)
    response.headers[DIALECT.id_header] = f"req_{request.state.id}"
    return response


async def count_tokens(context: Context, request: Request) -> Response:
    """POST /v1/messages/count_tokens: with the prompt of the release, as it would be charged."""
    _, job = await tokens.read(context, request, _COUNT)
    told = await tokens.tokens(context, job)
    body = msgspec.json.encode({"input_tokens": len(told.tokens)})
    headers = {DIALECT.id_header: f"req_{request.state.id}"}
    return Response(body, headers=headers, media_type="application/json")
