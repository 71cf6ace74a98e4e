"""The requests of the control socket: their form, who makes them, and how they are rejected.

Imported by `engine.node`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec

from storage.keys import Role

DEPTH: Final = 32
"""How deep the arguments of a request may be nested."""
TOO_DEEP: Final = f"The line is not a request: it is nested more than {DEPTH} deep."
TEXT_LIMIT: Final = 2000
"""Characters of a target or a reason."""

Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""An integer that the store can hold."""
_Key = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Request(msgspec.Struct, frozen=True):
    """One line from a client."""

    do: str
    verb: str = ""
    target: str = ""
    arguments: dict[str, Any] = {}
    reason: str = ""
    expected_version: Number | None = None
    on_behalf_of: Number | None = None
    idempotency_key: _Key | None = None
    confirm: str = ""


class Rejected(Exception):
    """A request that is answered with an error; `code` is for machines."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Actor:
    """The person on whose authority something is asked, with their role on this box."""

    name: str
    role: Role

    def need(self, role: Role, what: str) -> None:
        """Require a role; `what` completes "to …".

        Raises:
            Rejected: the person's role is lower.
        """
        if not self.role.may(role):
            raise Rejected(
                "not_allowed",
                f"{self.name} is {self.role.value}; to {what} one must be {role.value}.",
            )


def shallow(value: object, left: int = DEPTH) -> bool:
    """Whether a value is nested at most `left` deep, so that the store can decode it again."""
    if isinstance(value, dict):
        return left > 0 and all(shallow(each, left - 1) for each in value.values())
    if isinstance(value, list):
        return left > 0 and all(shallow(each, left - 1) for each in value)
    return True
