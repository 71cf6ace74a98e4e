"""Quarantined templates, between the renderer that finds them and the store that keeps them.

What cannot be stored now is tried again each second. Imported by `engine.gateway.server`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from engine.execution.snapshot import Snapshot
from engine.prompting.renderer.protocol import ChatSource, Keyed, Source
from storage import errors, quarantine
from storage.quarantine import Kind
from storage.store import Store

_log = structlog.get_logger("gateway.quarantine")


class Quarantine:
    """Those that the store does not have yet."""

    def __init__(self, store: Store, snapshot: Callable[[], Snapshot]) -> None:
        self._store = store
        self._snapshot = snapshot
        self._found: dict[str, tuple[Keyed[Source], str, int]] = {}

    def note(self, template: Keyed[Source], reason: str, at_us: int) -> None:
        """A template took its process along."""
        self._found.setdefault(template.key.hex(), (template, reason, at_us))

    async def write(self) -> None:
        """Store what is not stored yet."""
        for key, (template, reason, at_us) in list(self._found.items()):
            kind = Kind.MODEL if isinstance(template.source, ChatSource) else Kind.PROMPT
            subject = _subject(template, kind, self._snapshot())
            try:
                await self._store.write(
                    lambda s, k=key, i=kind, n=subject, r=reason, a=at_us: quarantine.add(  # type: ignore[misc]
                        s, key=k, kind=i, subject=n, reason=r, at_us=a
                    )
                )
            except errors.StorageError as error:
                _log.warning("a quarantined template is not stored yet", reason=str(error))
                return
            del self._found[key]


def stored(snapshot: Snapshot) -> Mapping[bytes, str]:
    """The reasons of what the store has, by key."""
    return {bytes.fromhex(each.key): each.reason for each in snapshot.quarantined}


def _subject(template: Keyed[Source], kind: Kind, snapshot: Snapshot) -> str:
    """The version by its name, as people know it."""
    if kind is Kind.PROMPT:
        return template.of
    named = (each.name for each in snapshot.models.values() if each.sha256 == template.of)
    return next(named, template.of)
