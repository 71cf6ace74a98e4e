"""Verbs of releases: created, tried, retired."""

from __future__ import annotations

from typing import Final

from storage.control_socket.verbs.verb import (
    Arguments,
    Danger,
    Line,
    NoArguments,
    Process,
    Reference,
    Verb,
    Why,
)
from storage.keys import Role
from storage.releases import Engine, Limits, Sampling, Server, Upstream


class Create(Arguments, frozen=True, kw_only=True):
    """What answers: a model version, an upstream or a server; a prompt version; settings.

    Without `upstream` and `server` the release is local, with the defaults of `engine` if omitted.
    `follow`: `prompt` names a label, and each of its moves makes the next release.
    """

    model: Reference | None = None
    prompt: Reference | None = None
    follow: bool = False
    sampling: Sampling = Sampling()
    limits: Limits = Limits()
    engine: Engine | None = None
    upstream: Upstream | None = None
    server: Server | None = None
    comment: Line = ""


ROWS: Final[tuple[Verb, ...]] = (
    Verb(
        "releases.create", Create, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Create a release",
        "releases create --model NAME@1.0.0 [--prompt NAME@1]",
    ),
    Verb(
        "releases.smoke", NoArguments, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Ask a release a few requests, all of which it must answer",
        "releases smoke r2",
    ),
    Verb(
        "releases.retire", NoArguments, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Retire a release: it gets no traffic any more",
        "releases retire r2",
        Why.ASKED,
    ),
    Verb(
        "releases.unretire", NoArguments, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Bring a retired release back",
        "releases unretire r2",
        Why.ASKED,
    ),
)  # fmt: skip
