"""API keys, roles, and the headers of a request.

Every role may ask for completions. Reading the metrics requires a viewer's key, naming the release
an operator's. Imported by the gateway.
"""

from __future__ import annotations

from typing import Final

from starlette.requests import Request

from engine.execution.catalog import Catalog
from engine.gateway import errors
from engine.gateway.http.parser import Head
from storage.keys import Key, Role
from storage.requests import Class

VIA: Final = "x-paddock-via"
PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})
_SESSION_LIMIT: Final = 512
_GATEWAYS_LIMIT: Final = 8


async def key(request: Request, catalog: Catalog) -> Key:
    """The caller's key, as OpenAI's clients send it or as Anthropic's do (x-api-key).

    Raises:
        errors.Unauthenticated: it is missing, unknown or revoked.
    """
    secret = _bearer(request.headers.get("authorization", ""))
    secret = secret or request.headers.get("x-api-key", "").strip()
    if not secret:
        raise errors.Unauthenticated(
            "You did not provide an API key. Send it as `Authorization: Bearer pk-…`; "
            "`paddock keys create` makes one.",
            code="missing_api_key",
        )
    key = await catalog.key(secret)
    if key is None:
        raise errors.Unauthenticated(
            "Incorrect API key provided: it is unknown here or was revoked.",
            code="invalid_api_key",
        )
    return key


def urgent(head: Head, catalog: Catalog) -> bool:
    """Whether a request is a probe's or an operator's, for which places are reserved."""
    if head.path in PROBES:
        return True
    sent = {name: value.decode("latin-1") for name, value in reversed(head.headers)}
    secret = _bearer(sent.get(b"authorization", "")) or sent.get(b"x-api-key", "").strip()
    found = catalog.known(secret) if secret else None
    return found is not None and found.role.may(Role.OPERATOR)


def _bearer(authorization: str) -> str:
    """The key in an Authorization header, "" where there is none."""
    scheme, _, secret = authorization.partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def check_role(key: Key, needed: Role, what: str) -> None:
    """Forbidden unless the key's role suffices for `what`."""
    if not key.role.may(needed):
        raise errors.Forbidden(
            f"{what} requires a key of role {needed.value}; {key.name} is {key.role.value}.",
            code="insufficient_role",
        )


def class_(request: Request) -> Class:
    """The requested priority class."""
    value = request.headers.get("x-paddock-class", Class.INTERACTIVE.value)
    try:
        return Class(value)
    except ValueError:
        classes = ", ".join(each.value for each in Class)
        raise errors.BadRequest(
            f"x-paddock-class must be one of {classes}.",
            code="invalid_value",
            param="x-paddock-class",
        ) from None


def session(request: Request) -> str | None:
    """The session, which keeps a caller on one arm where the body names no user."""
    value = request.headers.get("x-paddock-session")
    if value is not None and len(value) > _SESSION_LIMIT:
        raise errors.BadRequest(
            f"x-paddock-session is longer than {_SESSION_LIMIT} characters.",
            code="invalid_value",
            param="x-paddock-session",
        )
    return value or None


def pinned(request: Request, key: Key) -> str | None:
    """The release that an operator has named."""
    value = request.headers.get("x-paddock-release")
    if value is not None:
        check_role(key, Role.OPERATOR, "Naming the release (x-paddock-release)")
    return value


def via(request: Request, gateway: str) -> tuple[str, ...]:
    """The gateways that the request has passed, this one last.

    Raises:
        errors.Broken: it has passed this gateway before, or too many.
    """
    passed = [each.strip() for each in request.headers.get(VIA, "").split(",") if each.strip()]
    if gateway in passed or len(passed) >= _GATEWAYS_LIMIT:
        raise errors.Broken(
            "This request has come back to a gateway that sent it to an upstream; change the "
            "release or the upstream that points back here.",
            code="upstream_loop",
        )
    return (*passed, gateway)
