"""What a client can be told, as OpenAI error objects; `of` turns a job's failure into one.

Problem
├── BadRequest          400  the request itself; sending it again does not help
├── Unauthenticated     401  no key, or none that is known here
├── Forbidden           403  the key's role does not allow it
├── NotFound            404  no such model, request or path
├── WrongMethod         405  the path exists, the method does not
├── TooSlow             408  the body did not come in time
├── TooLarge            413  the body exceeds the limit
├── Overloaded          429  the queue is full; Retry-After says when to come again
├── Broken              500  something here is faulty; an operator has to look
└── Unavailable         503  the worker is not there or not in time; come again

The unmodified `openai` client raises its own class for each status. Imported by the gateway.
"""

from __future__ import annotations

import math
import re
from http import HTTPStatus
from typing import ClassVar, Final

import msgspec

from engine.execution import failures

_INVALID: Final = "invalid_request_error"
_MESSAGE_LIMIT: Final = 1000
_PARAM_LIMIT: Final = 200
_PATH: Final = re.compile(r"(?<![\w/])/(?:[^\s/'\":;,()]+/)*([^\s/'\":;,()]+)/?")


class Problem(Exception):
    """One error, ready to be sent; `param` names the field that is meant."""

    status: ClassVar[int] = HTTPStatus.INTERNAL_SERVER_ERROR
    type: ClassVar[str] = "server_error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_us: int = 0,
    ) -> None:
        message = _cut(message, _MESSAGE_LIMIT)
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = None if param is None else _cut(param, _PARAM_LIMIT)
        self.retry_after_us = retry_after_us

    def document(self) -> bytes:
        """The JSON object that OpenAI's clients read."""
        return msgspec.json.encode(
            {
                "error": {
                    "message": self.message,
                    "type": self.type,
                    "param": self.param,
                    "code": self.code,
                }
            }
        )

    def headers(self) -> dict[str, str]:
        """What goes with it: when to come again, and how to prove who you are."""
        headers = {}
        if self.retry_after_us:
            headers["retry-after"] = str(math.ceil(self.retry_after_us / 1_000_000))
            headers["retry-after-ms"] = str(math.ceil(self.retry_after_us / 1000))
        if self.status == HTTPStatus.UNAUTHORIZED:
            headers["www-authenticate"] = "Bearer"
        return headers


class BadRequest(Problem):
    """The request cannot be served as it is."""

    status = HTTPStatus.BAD_REQUEST
    type = _INVALID


class Unauthenticated(Problem):
    """No key, or one that is unknown or revoked."""

    status = HTTPStatus.UNAUTHORIZED
    type = _INVALID


class Forbidden(Problem):
    """The key is known, its role does not allow this."""

    status = HTTPStatus.FORBIDDEN
    type = "permission_error"


class NotFound(Problem):
    """What the request names does not exist."""

    status = HTTPStatus.NOT_FOUND
    type = _INVALID


class WrongMethod(Problem):
    """The path takes another method."""

    status = HTTPStatus.METHOD_NOT_ALLOWED
    type = _INVALID


class TooSlow(Problem):
    """The body did not come in time."""

    status = HTTPStatus.REQUEST_TIMEOUT
    type = _INVALID


class TooLarge(Problem):
    """The body exceeds the limit that is configured."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    type = _INVALID


class Overloaded(Problem):
    """More than the box takes; come again."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    type = "rate_limit_error"


class Broken(Problem):
    """Something here is faulty; the box's operators see it in their logs."""


class Unavailable(Problem):
    """Nobody can answer just now; come again."""

    status = HTTPStatus.SERVICE_UNAVAILABLE


def _cut(text: str, limit: int) -> str:
    """What a client sent is repeated in bounds."""
    return text if len(text) <= limit else f"{text[:limit]}…"


_KINDS: Final[tuple[tuple[type[failures.Failure], type[Problem]], ...]] = (
    (failures.Unknown, NotFound),
    (failures.Invalid, BadRequest),
    (failures.Overloaded, Overloaded),
    (failures.Unavailable, Unavailable),
    (failures.Failure, Broken),
)


def of(failure: failures.Failure) -> Problem:
    """A failed job as its client reads it."""
    kind = next(kind for family, kind in _KINDS if isinstance(failure, family))
    return kind(
        sentence(outside(failure.message)),
        code=failure.code,
        param=failure.param,
        retry_after_us=failure.retry_after_us,
    )


def outside(said: str) -> str:
    """A reason as everybody may read it: of a file it tells the name and not where it lies."""
    return _PATH.sub(r"\1", said)


def sentence(said: object) -> str:
    """A message as a client reads it."""
    text = str(said)
    return text[:1].upper() + text[1:].rstrip(".") + "."
