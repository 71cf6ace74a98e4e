"""Sources that killed their renderer process, and fail at once from then on.

Those that the store keeps are followed, the rest is forgotten with this process. Imported by
`pool`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from engine.prompting.renderer.protocol import Keyed, Source

MOST: Final = 1000
"""Quarantined sources that are kept; the oldest go first."""

_log = structlog.get_logger("renderer")


class Quarantine:
    """Reasons by the key of a source; `on_add` is called with each new source and its reason."""

    def __init__(self, on_add: Callable[[Keyed[Source], str], None]) -> None:
        self._on_add = on_add
        self._reasons: OrderedDict[bytes, str] = OrderedDict()
        self._stored: frozenset[bytes] = frozenset()

    def reason(self, key: bytes) -> str | None:
        """Why a source is quarantined, None if it is not."""
        return self._reasons.get(key)

    def add(self, source: Keyed[Source], reason: str) -> None:
        """Quarantine a source."""
        self._reasons[source.key] = reason
        self._on_add(source, reason)
        if len(self._reasons) > MOST:
            self._reasons.popitem(last=False)
        _log.error("a template is quarantined", template=source.key.hex(), reason=reason)

    def follow(self, stored: Mapping[bytes, str]) -> None:
        """Quarantine the sources with these keys, and release those no longer among them."""
        for key in self._stored - stored.keys():
            self._reasons.pop(key, None)
        self._stored = frozenset(stored)
        self._reasons.update(stored)
