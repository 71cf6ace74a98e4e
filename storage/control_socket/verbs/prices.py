"""Verbs of prices: set and unset."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from storage.control_socket.verbs.verb import Arguments, Danger, Process, Verb
from storage.keys import Role
from storage.prices import MOST_MICRO, MOST_S

_Micro = Annotated[int, Meta(ge=0, le=MOST_MICRO)]


class Set(Arguments, frozen=True, kw_only=True):
    """The price of the target from a second on, in micro-units; without a figure it is unset.

    The target is gpu-hour or kwh, priced by `micro`, or an upstream or one of its models
    (cloud/gpt-4o), priced by a million tokens.
    """

    from_s: Annotated[int, Meta(ge=0, le=MOST_S)]
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}\Z")] | None = None
    micro: _Micro | None = None
    input_micro: _Micro | None = None
    output_micro: _Micro | None = None
    cached_micro: _Micro | None = None


ROWS: Final[tuple[Verb, ...]] = (
    Verb(
        "prices.set", Set, Role.ADMIN, Danger.REVERSIBLE, Process.CONTROL,
        "Set or unset a price from a time on",
        "prices set gpu-hour 2.50 [--from TIME]",
    ),
)  # fmt: skip
