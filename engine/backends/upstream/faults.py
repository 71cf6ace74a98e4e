"""Errors of upstreams as failures with stable codes.

    code                          family       what happened
    upstream_unreachable          Unavailable  no connection: refused, no such host, TLS
    upstream_timeout              Unavailable  no token within the deadline
    upstream_late                 Unavailable  an answer that comes whole was not complete in time
    upstream_stalled              Unavailable  no event for the read timeout, mid-answer
    upstream_lost                 Unavailable  the connection ended before the answer did
    upstream_unavailable          Unavailable  502, 503 or 504, or an error that says so
    upstream_overloaded           Overloaded   429; `retry_after_us` is the upstream's
    upstream_rejects_key          Broken       401 or 403
    upstream_model_unknown        Broken       404: the release asks for a model it does not have
    upstream_loop                 Broken       the request came back to a gateway that it had passed
    upstream_malformed            Broken       violates the API: HTML, invalid JSON, endless lines
    upstream_error                Broken       500, or an error inside an answer
    context_length_exceeded       Invalid      the prompt is too long for the model
    upstream_refused              Invalid      any other 4xx, or 501; the message is the upstream's

Pure. Imported by its neighbours.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final

import msgspec

from engine.execution import failures
from engine.execution.failures import Failure

RETRY_US: Final = 1_000_000
"""When to retry if the upstream does not say."""
_RETRY_LIMIT_US: Final = 3600 * 1_000_000
_MESSAGE_LIMIT: Final = 500
_CONTEXT: Final = re.compile(
    r"context[ _-]?(length|size|window)|maximum (input|prompt|sequence) length|prompt is too long",
    re.IGNORECASE,
)
_CONTEXT_CODES: Final = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_CONTEXT_STATUSES: Final = frozenset({0, 400, 413, 422})
_BUSY: Final = frozenset(
    {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
)
_LOOP: Final = "upstream_loop"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]+")


@dataclass(frozen=True, slots=True)
class Complaint:
    """An error as an upstream describes it; `status` is 0 if it gives none."""

    message: str
    code: str = ""
    status: int = 0


def unreachable(upstream: str, why: str) -> Failure:
    """No connection could be made."""
    return failures.Unavailable(
        f"upstream {upstream} is unreachable: {why}",
        code="upstream_unreachable",
        retry_after_us=RETRY_US,
    )


def timed_out(upstream: str, after_s: float) -> Failure:
    """No token arrived in time."""
    return failures.Unavailable(
        f"upstream {upstream} sent no token within {after_s:.3g} s",
        code="upstream_timeout",
        retry_after_us=RETRY_US,
    )


def late(upstream: str, after_s: float) -> Failure:
    """An answer that is not streamed was incomplete at the deadline; it may just be long."""
    return failures.Unavailable(
        f"upstream {upstream} did not complete an answer with echo, which is not streamed, within "
        f"{after_s:.3g} s; ask for fewer tokens, or without echo",
        code="upstream_late",
        retry_after_us=RETRY_US,
    )


def stalled(upstream: str, after_s: float) -> Failure:
    """An answer started and then stopped."""
    return failures.Unavailable(
        f"upstream {upstream} stopped in the middle of an answer: nothing for {after_s:.3g} s",
        code="upstream_stalled",
        retry_after_us=RETRY_US,
    )


def lost(upstream: str, why: str = "") -> Failure:
    """The connection ended before the answer did."""
    detail = f" ({why})" if why else ""
    return failures.Unavailable(
        f"upstream {upstream} closed the connection before the answer was complete{detail}",
        code="upstream_lost",
        retry_after_us=RETRY_US,
    )


def malformed(upstream: str, what: str) -> Failure:
    """The response violates the API."""
    return failures.Broken(
        f"upstream {upstream} does not answer as an OpenAI-compatible server: {what}",
        code="upstream_malformed",
    )


def refusal(upstream: str, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """The failure for an HTTP error."""
    complaint = read(body)
    if complaint.code == _LOOP:  # each gateway on the way passes it on unchanged
        return failures.Broken(complaint.message, code=_LOOP, release_fault=True)
    return _failure(upstream, status, complaint, wait_us(headers))


def inside(upstream: str, complaint: Complaint) -> Failure:
    """The failure for an error object in a response with status 200."""
    status = complaint.status if complaint.status >= HTTPStatus.BAD_REQUEST else 0
    return _failure(upstream, status, complaint, RETRY_US)


def read(body: bytes) -> Complaint:
    """The error that a body describes, in any of the known formats."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Complaint("")
    return described(document) or Complaint("")


def described(document: Any) -> Complaint | None:
    """The error object of a document; None when it has none.

    OpenAI and llama-server nest `error`, vLLM has had it flat with `object: error`, FastAPI has
    `detail`, and others give `error` as a string.
    """
    if not isinstance(document, dict):
        return None
    error = document.get("error")
    if error is None and document.get("object") == "error":
        error = document
    if error is None:
        error = document.get("detail")
    if not error:
        return None
    if not isinstance(error, dict):
        return Complaint(_line(error if isinstance(error, str) else msgspec.json.encode(error)))
    code, kind = error.get("code"), error.get("type")
    number = code if isinstance(code, int) and not isinstance(code, bool) else 0
    if isinstance(code, str) and code.isdecimal() and len(code) == 3:  # noqa: PLR2004 a status
        number = int(code)
    named = code if isinstance(code, str) and not number else kind
    return Complaint(
        _line(error.get("message") or ""), named if isinstance(named, str) else "", number
    )


def wait_us(headers: Mapping[str, str]) -> int:
    """When to retry, by `retry-after-ms` or by either form of `Retry-After`."""
    wait: float = RETRY_US
    try:
        if (exact := headers.get("retry-after-ms")) is not None:
            wait = float(exact) * 1000
        elif (value := headers.get("retry-after")) is not None:
            try:
                wait = float(value) * 1_000_000
            except ValueError:
                wait = (parsedate_to_datetime(value).timestamp() - time.time()) * 1_000_000
    except (ValueError, OverflowError):
        return RETRY_US
    return int(min(max(wait, 1), _RETRY_LIMIT_US)) if wait == wait else RETRY_US  # noqa: PLR0124 NaN


def _failure(upstream: str, status: int, complaint: Complaint, wait: int) -> Failure:
    message = complaint.message or (f"HTTP {status}" if status else "an error without a message")
    if _is_about_context(status, complaint):
        return failures.Invalid(
            f"the prompt does not fit: {message}", code="context_length_exceeded"
        )
    if status == HTTPStatus.TOO_MANY_REQUESTS or complaint.code == "rate_limit_exceeded":
        return failures.Overloaded(
            f"upstream {upstream} is overloaded: {message}",
            code="upstream_overloaded",
            retry_after_us=wait,
        )
    if status in _BUSY:
        return failures.Unavailable(
            f"upstream {upstream} is unavailable: {message}",
            code="upstream_unavailable",
            retry_after_us=wait,
        )
    if 400 <= status < 500 or status == HTTPStatus.NOT_IMPLEMENTED:  # noqa: PLR2004 the family
        return _refused(upstream, status, message)
    if 0 < status < HTTPStatus.BAD_REQUEST:
        return malformed(upstream, f"HTTP {status} where an answer was due")
    return failures.Broken(f"upstream {upstream} failed: {message}", code="upstream_error")


def _refused(upstream: str, status: int, message: str) -> Failure:
    """A 4xx that concerns neither load nor length."""
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return failures.Broken(
            f"upstream {upstream} rejects the key; replace it with `paddock upstreams rekey`",
            code="upstream_rejects_key",
        )
    if status == HTTPStatus.NOT_FOUND:
        return failures.Broken(
            f"upstream {upstream} does not have what the release asks for: {message}",
            code="upstream_model_unknown",
            release_fault=True,
        )
    return failures.Invalid(
        f"upstream {upstream} refused the request: {message}",
        code="upstream_refused",
        release_fault=True,
    )


def _is_about_context(status: int, complaint: Complaint) -> bool:
    if complaint.code in _CONTEXT_CODES:
        return True
    return status in _CONTEXT_STATUSES and _CONTEXT.search(complaint.message) is not None


def _line(text: object) -> str:
    """Foreign text for use in a message: one line of bounded length."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    line = _CONTROL.sub(" ", str(text)).strip()
    return line if len(line) <= _MESSAGE_LIMIT else f"{line[:_MESSAGE_LIMIT]}…"
