"""POST /v1/responses and /v1/responses/input_tokens: OpenAI's newer API at the same services.

A response may continue an earlier one of the same tenant as long as its texts are kept. Imported by
the routes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from engine.execution import continuation
from engine.execution.job import Chat, Job, Message, Options
from engine.gateway import completions, errors, request_bodies, responses_bodies, tokens
from engine.gateway.context import Context
from engine.gateway.formats import Format, Head
from engine.gateway.responses_format import ResponseFormat
from storage import errors as faults
from storage import requests
from storage.keys import Key

_RESPONSE: Final = request_bodies.Reader(
    responses_bodies.Response,
    ignored=responses_bodies.IGNORED,
    unchanging=responses_bodies.UNCHANGING,
)


@dataclass(frozen=True, slots=True)
class Continued:
    """A body, and the conversation that it continues."""

    body: responses_bodies.Response
    past: tuple[Message, ...]

    @property
    def model(self) -> str:
        """The name of the service."""
        return self.body.model

    @property
    def stream(self) -> bool | None:
        """Whether the answer is to be sent as it grows."""
        return self.body.stream

    @property
    def prompt_variables(self) -> dict[str, Any] | None:
        """The variables of the release's prompt."""
        return self.body.prompt_variables

    @property
    def unit(self) -> str | None:
        """The user who stays on one arm of a split."""
        return self.body.user

    def input(self) -> Chat:
        """The whole conversation."""
        return self.body.conversation(self.past)

    def options(self) -> Options:
        """What the caller sets."""
        return self.body.options()


async def create(context: Context, request: Request) -> Response:
    """POST /v1/responses."""

    def format(head: Head, continued: Continued, job: Job) -> Format:
        return ResponseFormat(head, continued.body, job)

    return await completions.complete(context, request, _RESPONSE, format, _continued)


async def input_tokens(context: Context, request: Request) -> Response:
    """POST /v1/responses/input_tokens: of the same body, what it would be charged for its input."""
    return await tokens.counted(context, request, _RESPONSE, _continued)


async def _continued(context: Context, key: Key, body: responses_bodies.Response) -> Continued:
    """The body with what it continues.

    Raises:
        errors.BadRequest: there is no such response, or its texts are not kept.
    """
    id = body.previous_response_id
    if id is None:
        return Continued(body, ())
    await context.recorder.flush()  # it may have ended just now
    try:
        async with context.store.read() as s:
            found = await requests.find(s, id)
            text = await requests.text_of(s, found.id) if found.tenant == key.tenant else None
            past = () if text is None else continuation.of(text)
    except (faults.NotFound, continuation.NotKept):
        past = ()
    except faults.Unavailable as error:
        raise errors.Unavailable(errors.outside(str(error)), code="store_unavailable") from error
    if not past:
        raise errors.BadRequest(
            f"There is no response {id[:64]!r} of yours whose texts are kept; send the whole "
            "conversation as input. A service keeps texts if it records them.",
            code="previous_response_not_found",
            param="previous_response_id",
        )
    return Continued(body, past)
