"""Errors as OpenAI error objects; `of` turns a job's failure into one.

Problem
├── BadRequest          400  the request is invalid; retrying does not help
├── Unauthenticated     401  the key is missing, unknown or revoked
├── Forbidden           403  the key's role does not allow it
├── NotFound            404  no such model, request or path
├── WrongMethod         405  the path exists, the method does not
├── TooSlow             408  the head or the body did not arrive in time
├── TooLarge            413  the head or the body exceeds its limit
├── Unsupported         415  the body is compressed
├── Overloaded          429  the queue is full; Retry-After says when to retry
├── Broken              500  this box is faulty; an operator has to look
└── Unavailable         503  nothing can answer now, or not in time; retry

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
    """One error response; `param` names the field it concerns."""

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
        """Its headers: when to retry, how to authenticate."""
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
    """The body did not arrive in time."""

    status = HTTPStatus.REQUEST_TIMEOUT
    type = _INVALID


class TooLarge(Problem):
    """The body exceeds the configured limit."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    type = _INVALID


class Unsupported(Problem):
    """The body is in a form that is not read here."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    type = _INVALID


class Overloaded(Problem):
    """The box is overloaded; retry later."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    type = "rate_limit_error"


class Broken(Problem):
    """This box is faulty; its logs say how."""


class Unavailable(Problem):
    """Nothing can answer now; retry later."""

    status = HTTPStatus.SERVICE_UNAVAILABLE


def _cut(text: str, limit: int) -> str:
    """A text of bounded length: messages repeat what clients sent."""
    return text if len(text) <= limit else f"{text[:limit]}…"


_KINDS: Final[tuple[tuple[type[failures.Failure], type[Problem]], ...]] = (
    (failures.Unknown, NotFound),
    (failures.Invalid, BadRequest),
    (failures.Overloaded, Overloaded),
    (failures.Unavailable, Unavailable),
    (failures.Failure, Broken),
)


def of(failure: failures.Failure) -> Problem:
    """The error for a failed job."""
    kind = next(kind for family, kind in _KINDS if isinstance(failure, family))
    return kind(
        sentence(outside(failure.message)),
        code=failure.code,
        param=failure.param,
        retry_after_us=failure.retry_after_us,
    )


def invalid(where: str, what: str) -> BadRequest:
    """A field has a value that cannot be used; `where` is its place in the body."""
    return BadRequest(f"{where}: {what}.", code="invalid_value", param=where)


def unsupported(where: str, what: str) -> BadRequest:
    """A field asks for something that is not offered here."""
    return BadRequest(f"{where}: {what}.", code="unsupported_parameter", param=where)


def outside(reason: str) -> str:
    """A reason for clients: of a file it keeps the name and drops the folder."""
    return _PATH.sub(r"\1", reason)


def sentence(message: object) -> str:
    """A message as a sentence."""
    text = str(message)
    return text[:1].upper() + text[1:].rstrip(".") + "."
