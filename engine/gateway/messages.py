"""POST /v1/messages: Anthropic's door to the same services.

Imported by the routes.
"""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from engine.gateway import anthropic_bodies, completions, request_bodies
from engine.gateway.anthropic_format import DIALECT, MessageFormat
from engine.gateway.context import Context
from engine.gateway.formats import Format, Head

_MESSAGE: Final = request_bodies.Reader(
    anthropic_bodies.Message,
    ignored=anthropic_bodies.IGNORED,
    unchanging=anthropic_bodies.UNCHANGING,
)


async def create(context: Context, request: Request) -> Response:
    """POST /v1/messages."""

    def format(head: Head, _: anthropic_bodies.Message) -> Format:
        return MessageFormat(head)

    response = await completions.complete(context, request, _MESSAGE, format)
    response.headers[DIALECT.id_header] = f"req_{request.state.id}"
    return response
