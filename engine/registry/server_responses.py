"""Judges the responses of download servers: usable, worth a retry, or refused, and why.

Turns statuses, headers and network errors into errors with a message. Sends nothing.
Imported by `engine.registry.downloads`.
"""

from __future__ import annotations

import contextlib
import email.utils
import errno
import re
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import httpx

_LIMIT: Final = 10**15
_RANGE: Final = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15}|\*)")


class DownloadError(Exception):
    """The download failed; the message is a sentence."""


class Unavailable(DownloadError):
    """A temporary failure; retrying may help, after `after_s` if the server said so."""

    def __init__(self, message: str, after_s: float | None = None) -> None:
        super().__init__(message)
        self.after_s = after_s


class Refused(DownloadError):
    """A permanent failure; retrying does not help."""


def accept(response: httpx.Response, what: str, *, hub: bool) -> None:
    """Raise the error of a response that has no file; `hub`: it comes from a Hub."""
    status = response.status_code
    code = response.headers.get("x-error-code", "")
    if status in {401, 403}:
        advice = (
            "A private or gated repository needs HF_TOKEN in the node's environment, "
            "and its licence accepted by the token's owner."
            if hub
            else "Download the file yourself and add it by its path."
        )
        raise Refused(f"{what}: the server answered {status} {response.reason_phrase}. {advice}")
    if status in {httpx.codes.NOT_FOUND, httpx.codes.GONE}:
        why = {
            "RepoNotFound": "there is no such repository",
            "RevisionNotFound": "the repository has no such revision",
            "EntryNotFound": "the repository has no such file at this revision",
        }.get(code, "there is no such file")
        raise Refused(f"{what}: {why} (the server answered {status}).")
    if status == httpx.codes.TOO_MANY_REQUESTS or status >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise Unavailable(
            f"{what}: the server answered {status} {response.reason_phrase}.",
            retry_after_s(response.headers.get("retry-after")),
        )
    if status not in {200, 206} and not response.is_redirect:
        raise Refused(f"{what}: the server answered {status} {response.reason_phrase}.")
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in {"text/html", "application/xhtml+xml"} and not response.is_redirect:
        raise Refused(
            f"{what}: the server answered with a web page, not with a file; "
            "use the direct address of the file."
        )
    if response.headers.get("content-encoding", "identity").lower() not in {"", "identity"}:
        raise Refused(f"{what}: the server compresses the file, which cannot be resumed.")


def total(response: httpx.Response, what: str, offset: int) -> int | None:
    """The total size according to a partial response."""
    found = _RANGE.fullmatch(response.headers.get("content-range", "").strip())
    if found is None or int(found[1]) != offset:
        shown = response.headers.get("content-range", "none")[:80]
        raise Refused(f"{what}: asked for byte {offset} on, the answer's range is {shown}.")
    return None if found[3] == "*" else int(found[3])


def whole(response: httpx.Response) -> int | None:
    """The total size according to a 416 response."""
    named: str = response.headers.get("content-range", "")
    size = named.removeprefix("bytes */").strip()
    return int(size) if size.isdecimal() and len(size) <= 15 else None  # noqa: PLR2004 as above


def validator(response: httpx.Response) -> str | None:
    """The strong ETag, or else Last-Modified; None if neither identifies the version."""
    etag: str = response.headers.get("etag", "").strip()
    if etag.startswith('"') and etag.endswith('"') and len(etag) > 2:  # noqa: PLR2004 two quotes
        return etag
    modified = response.headers.get("last-modified")
    return None if modified is None else str(modified)


def etag(raw: str | None) -> str | None:
    """An ETag without its quotes and the prefix of a weak one."""
    return None if raw is None else raw.strip().removeprefix("W/").strip('"')


def size(raw: str | None) -> int | None:
    """A Content-Length in bytes; Refused if it is malformed."""
    if raw is None:
        return None
    if not raw.isdecimal() or int(raw) > _LIMIT:
        raise Refused(f"The server sent a malformed size: {raw[:40]!r}.")
    return int(raw)


def retry_after_s(header: str | None, now: datetime | None = None) -> float | None:
    """The seconds of a Retry-After header; None if it is absent or malformed."""
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header.strip()[:6])
    try:
        at = email.utils.parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (at - (now or datetime.now(UTC))).total_seconds())


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn network and disk errors into download errors."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise Unavailable(f"{what}: the server did not answer in time.") from error
    except httpx.ConnectError as error:
        if (fault := _certificate(error)) is not None:
            raise Refused(f"{what}: the server's certificate is not trusted: {fault}.") from error
        raise Unavailable(f"{what}: no connection ({error}).") from error
    except httpx.TransportError as error:
        raise Unavailable(f"{what}: the connection was cut off ({error}).") from error
    except (httpx.InvalidURL, httpx.HTTPError) as error:
        raise Refused(f"{what}: {error}.") from error
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise Refused(f"{what}: the disk is full.") from error
        raise


def _certificate(error: BaseException) -> str | None:
    """Why the certificate was rejected; None if that is not the cause."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return str(cause.verify_message)
        cause = cause.__cause__ or cause.__context__
    return "handshake failed" if "SSL" in str(error).upper() else None
