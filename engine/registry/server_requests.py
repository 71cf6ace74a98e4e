"""Requests to the servers that files are downloaded from: redirects followed, credentials kept.

Credentials go to the host they were given for and to no other, and never from https to http. What
the responses mean is in `server_responses`. Imported by `engine.registry` and `engine.jobs`.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import urljoin, urlsplit

import httpx

from engine.registry import server_responses
from engine.registry.sources import Remote

_REDIRECTS: Final = 8
_TIMEOUT: Final = httpx.Timeout(30.0, connect=15.0)


def client(verify: ssl.SSLContext | bool = True) -> httpx.AsyncClient:
    """A client for downloads: no automatic redirects, read timeouts, no compression."""
    return httpx.AsyncClient(
        timeout=_TIMEOUT, verify=verify, headers={"accept-encoding": "identity"}
    )


async def head(http: httpx.AsyncClient, source: Remote) -> httpx.Response:
    """The Hub's response to HEAD. Redirects within its host are followed, those to files are not.

    Raises:
        server_responses.Refused: it redirects too often.
    """
    url = source.url
    for _ in range(_REDIRECTS):
        response = await http.head(url, headers=_credentials(source, url))
        location = response.headers.get("location", "")
        if not response.is_redirect or not location or urlsplit(location).netloc:
            return response
        if "x-linked-etag" in response.headers:
            return response
        url = urljoin(url, location)
    raise server_responses.Refused(f"{source.shown} redirects more than {_REDIRECTS} times.")


async def ask_size(http: httpx.AsyncClient, source: Remote) -> httpx.Response:
    """The response to HEAD, without following redirects."""
    headers = _credentials(source, source.url)
    return await http.head(source.url, headers=headers, follow_redirects=False)


@contextlib.asynccontextmanager
async def get(
    http: httpx.AsyncClient, source: Remote, headers: dict[str, str]
) -> AsyncIterator[httpx.Response]:
    """The response to GET, after redirects. Credentials are sent to the first host only.

    Raises:
        server_responses.Refused: it redirects too often, or from https to http.
    """
    url = source.url
    for _ in range(_REDIRECTS):
        credentials = _credentials(source, url)
        async with http.stream("GET", url, headers={**headers, **credentials}) as response:
            location = response.headers.get("location")
            if not response.is_redirect or location is None:
                yield response
                return
        onward = urljoin(url, location)
        was, now = urlsplit(url).scheme, urlsplit(onward).scheme
        if now not in {"http", "https"} or (was == "https" and now == "http"):
            raise server_responses.Refused(
                f"{source.shown} redirects to {now}://, which is not encrypted."
            )
        url = onward
    raise server_responses.Refused(f"{source.shown} redirects more than {_REDIRECTS} times.")


def _credentials(source: Remote, url: str) -> dict[str, str]:
    first, here = urlsplit(source.url), urlsplit(url)
    if source.authorization is None or (first.scheme, first.netloc) != (here.scheme, here.netloc):
        return {}
    return {"authorization": source.authorization}
