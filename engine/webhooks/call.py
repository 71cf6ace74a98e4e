"""Calls a webhook, and interprets its response: yes, no, or no answer.

    Exception
      CallError
        Unanswered  temporary: no response, or one that asks to try again later
        Misdirected permanent: another call would fail in the same way

A response of 2xx is a yes, unless its JSON body says `"proceed": false`; other responses of 4xx are
a no. Redirects are not followed: the operator agreed to one address. Time and size are bounded, and
nothing is sent to `storage.blocked_addresses`.
Reads no store. Imported by the job `call_webhook`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
import msgspec

from engine.registry import server_responses
from storage import blocked_addresses

TRY_S: Final = 30.0
"""How long one call may take, from the connection to the last byte of the response."""
BODY_LIMIT: Final = 64 * 1024
SAID_LIMIT: Final = 200
_LATER: Final = frozenset({202, 408, 425, 429})
"""Statuses of webhooks that have not decided or want to be asked again."""


class CallError(Exception):
    """The webhook has not answered; the message is a sentence."""


class Unanswered(CallError):
    """A temporary failure; to be tried again, after `after_s` if the server said so."""

    def __init__(self, message: str, after_s: float | None = None) -> None:
        super().__init__(message)
        self.after_s = after_s


class Misdirected(CallError):
    """A permanent failure; calling again does not help."""


class _Body(msgspec.Struct, frozen=True):
    """What a response may say; anything else in it is ignored."""

    proceed: bool = True
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer: whether to proceed, the HTTP status, and the reason that the server gave."""

    proceed: bool
    status: int
    reason: str


async def post(
    url: str, body: bytes, headers: Mapping[str, str], *, limit_s: float = TRY_S
) -> Response:
    """Send one message and read the answer.

    Raises:
        Unanswered, Misdirected: there is no answer.
    """
    fixed = {
        "content-type": "application/json", "accept-encoding": "identity", "user-agent": "paddock",
    }  # fmt: skip
    remote = url.startswith("https:")
    with _translated(limit_s):
        if blocked_addresses.blocked(httpx.URL(url).host):
            raise Misdirected(blocked_addresses.WHY)
        async with (
            asyncio.timeout(limit_s),
            httpx.AsyncClient(
                trust_env=remote,
                verify=remote,  # plain HTTP, for which loading certificates takes 20 ms
                follow_redirects=False,
                timeout=limit_s,
            ) as client,
            client.stream(
                "POST",
                url,
                content=body,
                headers={**fixed, **headers},
                extensions={"trace": _connected},
            ) as response,
        ):
            _check_status(response)
            return _answer(response.status_code, await _read(response))


async def _connected(event: str, info: Mapping[str, Any]) -> None:
    """Close a new connection to a blocked address before anything is sent over it.

    Here and not by the name: what a name resolves to may change between a check and the use.
    """
    if not event.endswith("connect_tcp.complete"):
        return
    stream = info["return_value"]  # httpcore's
    peer = stream.get_extra_info("server_addr")
    if peer is None or blocked_addresses.blocked(str(peer[0])):
        await stream.aclose()
        raise Misdirected(blocked_addresses.WHY)


def _check_status(response: httpx.Response) -> None:
    """Raise unless the status is a yes or a no."""
    status = response.status_code
    if 300 <= status < 400:  # noqa: PLR2004 the class of redirects
        raise Misdirected(
            f"it redirects {_to(response)}, which is not followed; give its final address"
        )
    if status in _LATER or status >= httpx.codes.INTERNAL_SERVER_ERROR:
        after_s = server_responses.retry_after_s(response.headers.get("retry-after"))
        raise Unanswered(f"it answered {status}", after_s)


def _to(response: httpx.Response) -> str:
    """The server that a redirect leads to; its path may repeat a token of the address."""
    try:
        url = response.url.join(response.headers.get("location", ""))
    except httpx.InvalidURL:
        return "to no address"
    same = (url.scheme, url.netloc) == (response.url.scheme, response.url.netloc)
    return (
        "to another path there" if same else f"to {url.scheme}://{_printable(url.netloc.decode())}"
    )


async def _read(response: httpx.Response) -> bytes:
    """The body, read only up to the longest valid answer."""
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > BODY_LIMIT:
            raise Misdirected(f"its answer is longer than {BODY_LIMIT // 1024} KiB")
    return bytes(body)


def _answer(status: int, body: bytes) -> Response:
    said = _Body()
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
        said = msgspec.json.decode(body, type=_Body)
    return Response(
        proceed=said.proceed and status < httpx.codes.BAD_REQUEST,
        status=status,
        reason=_printable(said.reason),
    )


def _printable(text: str) -> str:
    """A text from outside as part of one line."""
    line = "".join(each if each.isprintable() else " " for each in text[: 2 * SAID_LIMIT])
    return " ".join(line.split())[:SAID_LIMIT]


@contextlib.contextmanager
def _translated(limit_s: float) -> Iterator[None]:
    """Turn network errors into those of a call."""
    try:
        yield
    except (TimeoutError, httpx.TimeoutException) as error:
        raise Unanswered(f"it did not answer within {limit_s:g} s") from error
    except httpx.ConnectError as error:
        if isinstance(error.__cause__, ssl.SSLError) or "CERTIFICATE" in str(error):
            raise Misdirected(f"its certificate is not trusted ({error})") from error
        raise Unanswered(f"no connection to it ({_printable(str(error))})") from error
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise Misdirected(f"its address is not usable ({error})") from error
    except httpx.HTTPError as error:
        raise Unanswered(f"the connection was cut off ({_printable(str(error))})") from error
