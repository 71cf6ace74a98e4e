"""What a server's answers mean for a download: usable, worth another try, or refused, and why.

Turns statuses, headers and faults of the network into errors with a sentence. Sends nothing.
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
    """The file did not arrive; the message is a sentence."""


class Unavailable(DownloadError):
    """It did not arrive this time; trying again may help, after `after_s` where that is known."""

    def __init__(self, message: str, after_s: float | None = None) -> None:
        super().__init__(message)
        self.after_s = after_s


class Refused(DownloadError):
    """It cannot be had so; trying again changes nothing."""


def accept(response: httpx.Response, what: str, *, hub: bool) -> None:
    """Turn an answer that carries no file into the error it is; `hub`: it is a Hub's answer."""
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
            "use the file's direct address."
        )
    if response.headers.get("content-encoding", "identity").lower() not in {"", "identity"}:
        raise Refused(f"{what}: the server compresses the file, so that it cannot be resumed.")


def total(response: httpx.Response, what: str, offset: int) -> int | None:
    """The whole size that a partial answer names."""
    found = _RANGE.fullmatch(response.headers.get("content-range", "").strip())
    if found is None or int(found[1]) != offset:
        shown = response.headers.get("content-range", "none")[:80]
        raise Refused(f"{what}: asked for byte {offset} on, the answer's range is {shown}.")
    return None if found[3] == "*" else int(found[3])


def whole(response: httpx.Response) -> int | None:
    """The whole size that an answer names which has nothing beyond the bytes asked for."""
    named: str = response.headers.get("content-range", "")
    size = named.removeprefix("bytes */").strip()
    return int(size) if size.isdecimal() and len(size) <= 15 else None  # noqa: PLR2004 as above


def validator(response: httpx.Response) -> str | None:
    """The strong ETag, else Last-Modified; None where nothing tells two versions apart."""
    etag: str = response.headers.get("etag", "").strip()
    if etag.startswith('"') and etag.endswith('"') and len(etag) > 2:  # noqa: PLR2004 two quotes
        return etag
    modified = response.headers.get("last-modified")
    return None if modified is None else str(modified)


def etag(raw: str | None) -> str | None:
    """The text of an ETag, without its quotes and the mark of a weak one."""
    return None if raw is None else raw.strip().removeprefix("W/").strip('"')


def size(raw: str | None) -> int | None:
    """A Content-Length in bytes; Refused if it is none."""
    if raw is None:
        return None
    if not raw.isdecimal() or int(raw) > _LIMIT:
        raise Refused(f"The server says that the file has {raw[:40]!r} bytes.")
    return int(raw)


def retry_after_s(header: str | None, now: datetime | None = None) -> float | None:
    """The seconds that a Retry-After header asks for, None where it is absent or unreadable."""
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
    """Faults of the network and the disk as errors of a download."""
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
    """Why a certificate was not trusted, where that is what went wrong."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return str(cause.verify_message)
        cause = cause.__cause__ or cause.__context__
    return "handshake failed" if "SSL" in str(error).upper() else None
