"""Verbs of replays: recorded requests asked again."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from storage.control_socket.verbs.verb import (
    Arguments,
    Danger,
    Name,
    Process,
    Reference,
    Release,
    Verb,
)
from storage.keys import Role
from storage.rollout_steps import HOUR_S


class Request(Arguments, frozen=True, kw_only=True):
    """The release on which the recorded request that is the target is asked again."""

    release: Release


class Sample(Arguments, frozen=True, kw_only=True):
    """A sample of a service's recorded requests, to ask the target, a release.

    `since_s` is how far back the requests may have arrived, None: as far as texts are kept.
    """

    service: Name
    sample: Annotated[int, Meta(ge=1, le=2_000)] = 100
    since_s: Annotated[int, Meta(ge=1, le=10 * 365 * 24 * HOUR_S)] | None = None


class Bisect(Arguments, frozen=True, kw_only=True):
    """The recorded request to ask the releases of the target, a service, until one differs.

    `expect` is a text that the good answers contain; without it they are those that equal the
    answer of the oldest release.
    """

    request: Reference
    expect: Annotated[str, Meta(min_length=1, max_length=10_000)] | None = None


ROWS: Final[tuple[Verb, ...]] = (
    Verb(
        "replays.request", Request, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Ask a recorded request again, on a release",
        "requests replay REQUEST --on r2",
    ),
    Verb(
        "replays.sample", Sample, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Ask a release a sample of recorded requests",
        "releases replay r2 --service NAME [--sample 100] [--since 1h]",
    ),
    Verb(
        "replays.bisect", Bisect, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Find the release that changed an answer",
        "releases bisect SERVICE REQUEST [--expect TEXT]",
    ),
)  # fmt: skip
