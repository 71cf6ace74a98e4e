"""The base address of an OpenAI-compatible API: what is accepted as one, and its canonical form.

Pure. Imported by `storage.upstreams`, its verbs and its commands.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

from storage import errors

_LIMIT: Final = 2048
_NOT_IN_A_URL: Final = re.compile(r"[\s\x00-\x20\x7f-\U0010ffff]")


def normalised(url: str) -> str:
    """The base address of an API, ready to have paths appended; `/v1` where none is given.

    Raises:
        Invalid: it is not the address of an HTTP server; the message says why.
    """
    parts = _split(url.strip())
    if parts.scheme.lower() not in {"http", "https"}:
        raise _bad("its scheme is neither http nor https")
    if not parts.hostname:
        raise _bad("it names no host")
    if parts.username is not None or parts.password is not None:
        raise _bad("it holds a user or a password; give the key with --key-file instead")
    if parts.query or parts.fragment:
        raise _bad("it has a query or a fragment; give a key with --key-file instead")
    path = parts.path.rstrip("/") or "/v1"
    return f"{parts.scheme.lower()}://{parts.netloc}{path}"


def _split(url: str) -> SplitResult:
    if len(url) > _LIMIT:
        raise errors.Invalid(f"The url of an upstream has at most {_LIMIT} characters.")
    if not url or _NOT_IN_A_URL.search(url):
        raise _bad("it is empty, or holds spaces or other than ASCII characters")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise _bad(str(error)) from error
    return parts


def _bad(why: str) -> errors.Invalid:
    """Does not repeat the url: it may hold a key."""
    return errors.Invalid(
        f"The url of the upstream cannot be used: {why}. "
        "Give the base address of its API, as in http://127.0.0.1:8000/v1."
    )
