"""What a nursery is asked for: one process, as Popen would start it.

Imported by `tests.warm_starts`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final, Self

LIMIT: Final = 1 << 17
"""Bytes of an encoded request."""


@dataclass(frozen=True, slots=True)
class Request:
    """The command line, environment and working directory of a process.

    `umask` is -1 to inherit the nursery's; with `session` the process leads a new session.
    """

    words: tuple[str, ...]
    environment: dict[str, str]
    folder: str
    umask: int = -1
    session: bool = False

    def encode(self) -> bytes:
        """As JSON, which can hold names and values that are not UTF-8."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """The request in these bytes."""
        fields = json.loads(raw)
        return cls(**fields | {"words": tuple(fields["words"])})
