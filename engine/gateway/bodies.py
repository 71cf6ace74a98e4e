"""The bodies of requests while they arrive: bounded each, for each key, and in all.

Imported by the endpoints.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from starlette.requests import Request

from engine.gateway import errors
from engine.gateway.body_turns import BodyTurns
from engine.gateway.http.refusals import Reason, Refusals
from storage.keys import Key

_KEY_SHARE: Final = 4
_RETRY_US: Final = 1_000_000


class Bodies:
    """`limit` bounds one body in bytes, `total` those of all requests that are being planned."""

    def __init__(self, limit: int, total: int, refusals: Refusals) -> None:
        """A key may have a quarter of `total`, and always one body."""
        self.limit = limit
        self._total = max(limit, total)
        self._share = max(limit, total // _KEY_SHARE)
        self._refusals = refusals
        self._held: Counter[int] = Counter()
        self._sum = 0
        self.turns = BodyTurns()

    @property
    def held(self) -> int:
        """Bytes that are held now."""
        return self._sum

    @contextmanager
    def account(self, key: Key) -> Iterator[Account]:
        """Count what is read during the block; it is released at its end."""
        account = Account(self, key.id)
        try:
            yield account
        finally:
            account.release()

    def take(self, key: int, size: int, client: str) -> None:
        """Count bytes that a request of a key has received.

        Raises:
            errors.Overloaded: too many are held.
        """
        whose = ""
        if self._held[key] + size > self._share:
            whose = f"of this key exceed {self._share} bytes"
        elif self._sum + size > self._total:
            whose = f"of all keys exceed {self._total} bytes"
        if whose:
            self._refusals.count(Reason.BODIES, client)
            raise errors.Overloaded(
                f"The bodies that are being received {whose}; send fewer requests at once "
                "(gateway.bodies_limit_bytes in config.toml).",
                code=Reason.BODIES.value,
                retry_after_us=_RETRY_US,
            )
        self._held[key] += size
        self._sum += size

    def give(self, key: int, size: int) -> None:
        """Release what was taken."""
        self._sum -= size
        self._held[key] -= size
        if not self._held[key]:
            del self._held[key]


class Account:
    """What one request holds."""

    def __init__(self, bodies: Bodies, key: int) -> None:
        self._bodies = bodies
        self._key = key
        self._size = 0

    async def read(self, request: Request) -> bytes:
        """The whole body.

        Raises:
            errors.Unsupported: it is compressed.
            errors.TooLarge: it exceeds the limit.
            errors.Overloaded: too many bytes of bodies are held.
            starlette.requests.ClientDisconnect: it did not arrive.
        """
        encoding = request.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in {"", "identity"}:
            raise errors.Unsupported(
                f"The body of your request has content-encoding {encoding[:64]!r}, which is not "
                "supported; send it uncompressed.",
                code="unsupported_encoding",
            )
        limit = self._bodies.limit
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced[:20]) > limit:
            raise _too_large(limit)
        host = request.client.host if request.client else ""
        parts: list[bytes] = []
        async for part in request.stream():
            if self._size + len(part) > limit:
                raise _too_large(limit)
            self._bodies.take(self._key, len(part), host)
            self._size += len(part)
            parts.append(part)
        return b"".join(parts)

    async def turn(self) -> None:
        """Wait for the turn of a large body before each part of the work on it."""
        await self._bodies.turns.wait(self._key, self._size)

    def release(self) -> None:
        """Nothing of it is held any more."""
        self._bodies.give(self._key, self._size)
        self._size = 0


def _too_large(limit: int) -> errors.TooLarge:
    return errors.TooLarge(
        f"The body of your request exceeds the limit of {limit} bytes "
        "(gateway.body_limit_bytes in config.toml).",
        code="body_too_large",
    )
