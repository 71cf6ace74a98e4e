"""Verbs of upstreams: registered, given another key, removed."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from storage import upstream_urls, upstreams
from storage.control_socket.verbs.verb import Arguments, Danger, NoArguments, Process, Verb, Why
from storage.errors import Invalid
from storage.home import secrets
from storage.keys import Role

_Seconds = Annotated[float, Meta(gt=0, le=3600)]
_UrlPath = Annotated[str, Meta(min_length=1, max_length=512)]


class Add(Arguments, frozen=True, kw_only=True):
    """The target is an OpenAI-compatible server; `secret` refers to its deposited API key."""

    url: Annotated[str, Meta(min_length=1, max_length=2048)]
    secret: Annotated[str, Meta(pattern=rf"^{secrets.PATTERN}\Z")] | None = None
    max_connections: int = upstreams.MAX_CONNECTIONS
    connect_s: _Seconds = upstreams.CONNECT_US / 1e6
    first_event_s: _Seconds = upstreams.FIRST_EVENT_US / 1e6
    read_s: _Seconds = upstreams.READ_US / 1e6
    health_path: _UrlPath = upstreams.HEALTH_PATH
    metrics_path: _UrlPath | None = None
    extensions: bool = True
    scores: bool | None = None

    def __post_init__(self) -> None:
        """Refuse a url that cannot be used before it is stored: it may hold a password."""
        try:
            upstream_urls.normalised(self.url)
        except Invalid as error:
            raise ValueError(f"{str(error).rstrip('.')} - at `$.url`") from error


class Rekey(Arguments, frozen=True, kw_only=True):
    """The deposited API key that the target uses from now on; None is no key."""

    secret: Annotated[str, Meta(pattern=rf"^{secrets.PATTERN}\Z")] | None


ROWS: Final[tuple[Verb, ...]] = (
    Verb(
        "upstreams.add", Add, Role.ADMIN, Danger.REVERSIBLE, Process.CONTROL,
        "Register an upstream",
        "upstreams add NAME URL [--key-file FILE]",
    ),
    Verb(
        "upstreams.rekey", Rekey, Role.ADMIN, Danger.REVERSIBLE, Process.CONTROL,
        "Replace an upstream's key",
        "upstreams rekey NAME --key-file FILE",
    ),
    Verb(
        "upstreams.remove", NoArguments, Role.ADMIN, Danger.REVERSIBLE, Process.CONTROL,
        "Remove an upstream",
        "upstreams remove NAME",
        Why.ASKED,
    ),
)  # fmt: skip
